#include "os/maps.hpp"

#include <link.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <exception>

#include "os/pages.hpp"
#include "os/raw.hpp"

namespace libprobe::os {
namespace {

// Takes a number off the front of the text, and the separator behind it.
template <class Number>
bool take(std::string_view& text, Number& number, int base, char separator) noexcept {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  if (text.empty() || text.front() != separator) return false;
  text.remove_prefix(1);
  return true;
}

mapping owned(const mapping_view& seen) {
  return {seen.start,      seen.end,    seen.readable, seen.writable,
          seen.executable, seen.shared, seen.offset,   std::string{seen.path}};
}

raw::file open_maps() noexcept { return {"/proc/self/maps", O_RDONLY}; }

// Calls visit(mapping_view) for each line until it returns false. False: not all of them could be read.
// Allocates nothing of its own. A path that is too long for the buffer is cut short.
template <class Visit>
bool each_in_proc(Visit visit) {
  const raw::file file = open_maps();
  if (!file) return false;
  char buffer[8192];
  std::size_t used = 0;
  for (;;) {
    const long count = file.read(buffer + used, sizeof buffer - used);
    if (count <= 0) return count == 0;
    used += static_cast<std::size_t>(count);
    std::size_t begin = 0;
    while (const void* const newline = std::memchr(buffer + begin, '\n', used - begin)) {
      const auto end = static_cast<std::size_t>(static_cast<const char*>(newline) - buffer);
      const auto one = parse_mapping({buffer + begin, end - begin});
      if (one && !visit(*one)) return true;
      begin = end + 1;
    }
    if (begin == 0 && used == sizeof buffer) begin = used / 2;  // the rest of such a path is no mapping
    std::memmove(buffer, buffer + begin, used - begin);
    used -= begin;
  }
}

// The same for what the loader knows: in its order, and without what it has mapped besides segments.
template <class Visit>
void each_segment(Visit visit) {
  struct {
    Visit& visit;
    std::exception_ptr failure;
  } call{visit, nullptr};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* context) {
        auto& self = *static_cast<decltype(call)*>(context);
        try {
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr)& header = info->dlpi_phdr[i];
            if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
            mapping_view one;
            one.start = page_start(info->dlpi_addr + header.p_vaddr);
            one.end = page_end(info->dlpi_addr + header.p_vaddr + header.p_memsz);
            one.readable = (header.p_flags & PF_R) != 0;
            one.writable = (header.p_flags & PF_W) != 0;
            one.executable = (header.p_flags & PF_X) != 0;
            one.offset = page_start(header.p_offset);
            if (info->dlpi_name != nullptr) one.path = info->dlpi_name;
            if (!self.visit(one)) return 1;
          }
          return 0;
        } catch (...) {  // the loader is C
          self.failure = std::current_exception();
          return 1;
        }
      },
      &call);
  if (call.failure) std::rethrow_exception(call.failure);
}

}  // namespace

std::optional<mapping_view> parse_mapping(std::string_view line) noexcept {
  mapping_view found;
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

std::optional<std::vector<mapping>> read_maps() {
  std::vector<mapping> all;
  const bool complete = each_in_proc([&](const mapping_view& one) {
    all.push_back(owned(one));
    return true;
  });
  return complete && !all.empty() ? std::optional{std::move(all)} : std::nullopt;
}

std::vector<mapping> known_maps() {
  if (auto all = read_maps()) return std::move(*all);
  std::vector<mapping> known;
  const auto add_page_of = [&known](std::uintptr_t address, const char* name) {
    const auto page = page_start(address);
    known.push_back({page, page + page_size(), true, true, false, false, 0, name});
  };
  each_segment([&](const mapping_view& one) {
    known.push_back(owned(one));
    return true;
  });
  // Where the heap ends and the stack begins is as much as can be known of them, and as much as is needed to
  // keep out of their way.
  add_page_of(reinterpret_cast<std::uintptr_t>(::sbrk(0)) - 1, "[heap]");
  add_page_of(::getauxval(AT_RANDOM), "[stack]");
  std::ranges::sort(known, {}, &mapping::start);
  return known;
}

std::optional<mapping> mapping_at(std::uintptr_t address) {
  std::optional<mapping> found;
  const auto look = [&](const mapping_view& one) {
    if (one.start > address || one.end <= address) return true;
    found = owned(one);
    return false;
  };
  if (!each_in_proc(look) && !found) each_segment(look);
  return found;
}

bool maps_are_readable() noexcept { return static_cast<bool>(open_maps()); }

std::string mappings_used_up() {
  const raw::file limit_file{"/proc/sys/vm/max_map_count", O_RDONLY};
  std::array<char, 32> text{};
  const long read = limit_file ? limit_file.read(text.data(), text.size()) : 0;
  std::size_t limit = 0;
  if (read <= 0 || std::from_chars(text.data(), text.data() + read, limit).ec != std::errc{}) return {};
  std::size_t count = 0;
  each_in_proc([&count](const mapping_view& /*unused*/) {
    ++count;
    return true;
  });
  constexpr std::size_t few = 8;  // one that is split becomes three
  if (count + few < limit) return {};
  return "the process has " + std::to_string(count) + " mappings, and the kernel allows " +
         std::to_string(limit) + " (vm.max_map_count)";
}

bool is_writable(std::uintptr_t address) noexcept {
  bool answer = false;
  const auto look = [&](const mapping_view& one) {
    if (one.start > address || one.end <= address) return true;
    answer = one.writable;
    return false;
  };
  if (!each_in_proc(look)) each_segment(look);
  return answer;
}

}  // namespace libprobe::os
