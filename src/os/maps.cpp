#include "os/maps.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>

namespace libprobe::os {
namespace {

// Takes a number off the front of the text, and the separator behind it.
template <class Number>
bool take(std::string_view& text, Number& number, int base, char separator) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  if (text.empty() || text.front() != separator) return false;
  text.remove_prefix(1);
  return true;
}

// Calls visit(line) until it returns false.
template <class Visit>
void each_line(Visit visit) {
  const int file = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  std::string pending;
  char chunk[4096];
  for (bool more = true; more;) {
    const ssize_t count = ::read(file, chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    pending.append(chunk, static_cast<std::size_t>(count));
    std::size_t begin = 0;
    for (std::size_t end; more && (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1) {
      more = visit(std::string_view{pending}.substr(begin, end - begin));
    }
    pending.erase(0, begin);
  }
  ::close(file);
}

}  // namespace

std::optional<mapping> parse_mapping(std::string_view line) {
  mapping found;
  if (!take(line, found.start, 16, '-') || !take(line, found.end, 16, ' ')) return std::nullopt;
  if (found.end <= found.start || line.size() < 5 || line[4] != ' ') return std::nullopt;
  found.readable = line[0] == 'r';
  found.writable = line[1] == 'w';
  found.executable = line[2] == 'x';
  found.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!take(line, found.offset, 16, ' ')) return std::nullopt;
  // The device and the inode are of no use here; the path is padded to a column.
  for (int field = 0; field < 2; ++field) {
    line.remove_prefix(line.find(' ') < line.size() ? line.find(' ') + 1 : line.size());
  }
  const std::size_t path = line.find_first_not_of(' ');
  if (path != std::string_view::npos) found.path = line.substr(path);
  return found;
}

std::vector<mapping> read_maps() {
  std::vector<mapping> all;
  each_line([&](std::string_view line) {
    if (auto one = parse_mapping(line)) all.push_back(std::move(*one));
    return true;
  });
  return all;
}

std::optional<mapping> mapping_at(std::uintptr_t address) {
  std::optional<mapping> found;
  each_line([&](std::string_view line) {
    auto one = parse_mapping(line);
    if (!one || one->end <= address) return true;
    // Only [vsyscall] breaks the order, and it is the last.
    if (one->start <= address) found = std::move(one);
    return false;
  });
  return found;
}

}  // namespace libprobe::os
