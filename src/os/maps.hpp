// What is mapped where: /proc/self/maps. Knows no ELF and no probes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace libprobe::os {

/// One line of /proc/self/maps.
struct mapping {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  bool shared = false;
  std::uint64_t offset = 0;  // into the file
  std::string path;          // empty for anonymous memory; "[stack]" and the like as the kernel names them
};

/// One line without its newline; nothing if it is no mapping. Allocates for the path.
std::optional<mapping> parse_mapping(std::string_view line);

/// All mappings in order of address; empty where /proc is missing. Costs tens of microseconds; allocates.
std::vector<mapping> read_maps();

/// The mapping that holds an address. As dear as read_maps(): look in the loaded modules first.
std::optional<mapping> mapping_at(std::uintptr_t address);

}  // namespace libprobe::os
