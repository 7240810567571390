// What is mapped where: /proc/self/maps, and what is known without it. Knows no ELF and no probes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace libprobe::os {

/// One line of /proc/self/maps.
template <class Text>
struct basic_mapping {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  std::uint64_t offset = 0;  // into the file
  Text path{};               // empty for anonymous memory; "[stack]" and the like as the kernel names them
};
using mapping = basic_mapping<std::string>;
using mapping_view = basic_mapping<std::string_view>;

/// One line without its newline, whose text the path lies in; nothing if it is no mapping.
std::optional<mapping_view> parse_mapping(std::string_view line) noexcept;

/// All mappings in order of address; nothing where /proc/self/maps cannot be read to its end (no /proc, no
/// descriptor to be had, a sandbox). Costs tens of microseconds; allocates.
std::optional<std::vector<mapping>> read_maps();

/// The same, and where it cannot be read: the segments of what the loader has loaded, the heap, and the place
/// of the main stack. There may be more then.
std::vector<mapping> known_maps();

/// The mapping that holds an address, of known_maps(). As dear: look in the loaded modules first.
std::optional<mapping> mapping_at(std::uintptr_t address);

/// True if mapping_at() knows all there are: whether /proc/self/maps can be opened.
bool maps_are_readable() noexcept;

/// If the process has, but for a few, all the mappings that the kernel allows it (vm.max_map_count), so that
/// mmap() and mprotect() fail with ENOMEM however much memory there is: says so. Else empty. As dear as
/// read_maps().
std::string mappings_used_up();

/// True if the program may write to that address; false also where nobody knows. Allocates nothing.
bool is_writable(std::uintptr_t address) noexcept;

}  // namespace libprobe::os
