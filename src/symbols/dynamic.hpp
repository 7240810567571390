// The dynamic section of a loaded module, read from its memory: what it exports, imports and relocates.
#pragma once

#include <elf.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "arch/machine.hpp"

namespace libprobe::symbols {

/// Views into the module's own memory: good only as long as it cannot be unloaded (see while_loaded()).
/// Allocates for the versions' names only.
class dynamic_view {
 public:
  /// Empty for a program without a dynamic section (a static one).
  dynamic_view(std::uintptr_t bias, std::span<const ElfW(Phdr)> headers);

  /// The dynamic symbols, defined and undefined, as far as the hash table counts them.
  [[nodiscard]] std::span<const ElfW(Sym)> symbols() const noexcept { return {symbols_, symbol_count_}; }
  /// The whole string table, and one string of it.
  [[nodiscard]] std::span<const char> strings() const noexcept { return {strings_, strings_size_}; }
  [[nodiscard]] std::string_view string(std::size_t offset) const noexcept;
  [[nodiscard]] std::string_view soname() const noexcept { return string(soname_); }

  struct version {
    std::string_view name;  // empty: none
    bool hidden = false;    // not the default one
  };
  /// The version of a symbol, by its index.
  [[nodiscard]] version version_of(std::size_t index) const noexcept;

  /// The name and version of the symbol whose address is to be stored at that place; an empty name if no
  /// relocation by name writes there.
  struct import {
    std::string_view name;
    std::string_view version;
  };
  [[nodiscard]] import imported_at(std::uintptr_t slot) const noexcept;

  /// Calls visit(address, bytes) for each place that the loader writes an address to.
  template <class Visit>
  void each_store(Visit visit) const {
    for (const auto& relocations : relocations_) {
      for (const ElfW(Rela) & relocation : relocations) {
        if (const auto size = arch::stored_bytes(ELF64_R_TYPE(relocation.r_info)); size != 0)
          visit(bias_ + relocation.r_offset, size);
      }
    }
  }

 private:
  void read_versions(const std::byte* definitions, std::size_t definition_count, const std::byte* needs,
                     std::size_t need_count);
  void name_version(std::size_t index, std::size_t string_offset);

  std::uintptr_t bias_;
  const ElfW(Sym) * symbols_ = nullptr;
  std::size_t symbol_count_ = 0;
  const char* strings_ = nullptr;
  std::size_t strings_size_ = 0;
  std::size_t soname_ = 0;
  const ElfW(Half) * versions_ = nullptr;
  std::vector<std::string_view> version_names_;
  std::span<const ElfW(Rela)> relocations_[2];  // those of the PLT and the others
};

}  // namespace libprobe::symbols
