#include "os/threads.hpp"

#include <pthread.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "os/signals.hpp"

namespace libprobe::os {

namespace {

std::string read_line(const std::filesystem::path& file) {
  std::string line;
  std::getline(std::ifstream{file}, line);
  return line;
}

/// The last word but `back` of a line, a hexadecimal number with 0x.
std::optional<std::uintptr_t> word_from_end(std::string_view line, int back) {
  for (; back > 0; --back) {
    const auto space = line.rfind(' ');
    if (space == std::string_view::npos) return std::nullopt;
    line = line.substr(0, space);
  }
  const auto word = line.substr(line.rfind(' ') + 1);
  std::uintptr_t value = 0;
  if (!word.starts_with("0x")) return std::nullopt;
  const auto* const end = word.data() + word.size();
  if (std::from_chars(word.data() + 2, end, value, 16).ptr != end) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> switches(const std::filesystem::path& thread) {
  std::ifstream status{thread / "status"};
  std::uint64_t sum = 0;
  int found = 0;
  for (std::string key; status >> key;) {
    if (!key.ends_with("voluntary_ctxt_switches:")) continue;
    std::uint64_t count = 0;
    if (status >> count) {
      sum += count;
      ++found;
    }
  }
  return found == 2 ? std::optional{sum} : std::nullopt;
}

}  // namespace

bool is_on_own_stack(const void* memory) {
  // Most that is asked for lies elsewhere, which costs nothing to see.
  constexpr std::uintptr_t far = std::uintptr_t{64} << 20;
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  if (at - reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) > far || thread_id() == process_id())
    return false;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
  void* start = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attributes, &start, &size);
  pthread_attr_destroy(&attributes);
  return at - reinterpret_cast<std::uintptr_t>(start) < size;
}

std::optional<std::vector<parked_thread>> parked_threads() {
  std::vector<parked_thread> threads;
  std::error_code unreadable;
  std::filesystem::directory_iterator task{"/proc/self/task", unreadable};
  for (; !unreadable && task != std::filesystem::directory_iterator{}; task.increment(unreadable)) {
    parked_thread one;
    one.id = std::stoi(task->path().filename());
    if (one.id == thread_id()) continue;
    // "running", or the system call (or -1) and its arguments, then the stack pointer and the instruction
    // pointer: proc(5).
    const auto line = read_line(task->path() / "syscall");
    const auto sp = word_from_end(line, 1);
    const auto ip = word_from_end(line, 0);
    const auto count = switches(task->path());
    if (!sp || !ip || !count) return std::nullopt;
    one.sp = *sp;
    one.ip = *ip;
    one.switches = *count;
    threads.push_back(one);
  }
  if (unreadable) return std::nullopt;
  std::sort(threads.begin(), threads.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return threads;
}

}  // namespace libprobe::os
