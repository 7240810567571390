// What is probed in this process, in the manner of the kernel's kprobes list.
#include <cstdlib>
#include <iostream>
#include <libprobe/libprobe.hpp>

namespace {
int only_count(libprobe::probe& /*unused*/, libprobe::registers& /*unused*/) { return 0; }
}  // namespace

int main() {
  libprobe::probe a{.at = "libc.so.6:getenv", .pre_handler = only_count};
  libprobe::probe b{.at = &std::atoi, .pre_handler = only_count};
  libprobe::probe c{
      .at = "libc.so.6:atol", .pre_handler = only_count, .flags = libprobe::probe_flags::disabled};
  libprobe::probe* const all[] = {&a, &b, &c};
  if (const auto error = libprobe::register_probes(all)) {
    std::cout << "refused: " << error.message() << ": " << libprobe::last_error_detail() << '\n';
    return 1;
  }
  static_cast<void>(std::getenv("HOME"));

  const auto rows = libprobe::list_probes();
  std::uint64_t hits = 0;
  int disabled = 0;
  for (const auto& row : rows) {
    std::cout << row << '\n';
    hits += row.hits;
    disabled += row.disabled ? 1 : 0;
  }
  return rows.size() == 3 && hits >= 1 && disabled == 1 ? 0 : 1;
}
