// The functions of one module, by address and by name.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "symbols/elf_file.hpp"

namespace libprobe::symbols {

class module;

/// A name for a piece of code, at its address in this process.
struct symbol {
  enum class kind : std::uint8_t {
    function,
    indirect,  // an IFUNC: its address is that of the resolver
    label,     // without a type, in an executable section: hand-written assembler
  };

  std::string_view name;     // as the linker knows it, without the version
  std::string_view version;  // empty: none
  std::uintptr_t start = 0;
  std::uintptr_t size = 0;
  kind what = kind::function;
  bool exported = false;        // the dynamic linker binds other modules to it
  bool global = false;          // binding other than local
  bool hidden_version = false;  // bound only by name and version

  [[nodiscard]] bool covers(std::uintptr_t address) const noexcept { return address - start < size; }
};

/// Made once per loaded module: the dynamic symbols from its memory, those of .symtab from its file, or from
/// a separate debug file where the file has been stripped. Immutable, but for name indices that are made on
/// first use. Any thread.
class symbol_table {
 public:
  explicit symbol_table(const module& owner);

  struct range {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    [[nodiscard]] bool holds(std::uintptr_t address) const noexcept { return address - start < end - start; }
  };

  /// The innermost symbol with a size whose code holds the address; null if none does.
  [[nodiscard]] const symbol* covering(std::uintptr_t address) const noexcept;

  /// All functions with a size around the address, as one range; empty if there is none.
  [[nodiscard]] range around(std::uintptr_t address) const noexcept;
  /// The last symbol at or before the address that has not ended there, with a size or without.
  [[nodiscard]] const symbol* nearest(std::uintptr_t address) const noexcept;

  /// A symbol without a size that the address belongs to, and where the next one begins.
  struct unsized {
    const symbol* which = nullptr;
    std::uintptr_t end = 0;
  };
  [[nodiscard]] unsized unsized_before(std::uintptr_t address) const noexcept;
  /// Labels, one behind the other, that no function comes between: their code may be one function's.
  [[nodiscard]] range labels_around(std::uintptr_t address) const noexcept;

  /// All symbols, by start; at one start the better known first.
  [[nodiscard]] std::span<const symbol> all() const noexcept { return symbols_; }
  /// All symbols that start at the address.
  [[nodiscard]] std::vector<const symbol*> starting_at(std::uintptr_t address) const;
  /// All symbols of that linker name, of any version.
  [[nodiscard]] std::vector<const symbol*> named(std::string_view name) const;
  /// All C++ and Rust symbols whose mangled name has that identifier in it; all of them for an empty
  /// identifier.
  [[nodiscard]] std::vector<const symbol*> mangled_with(std::string_view identifier) const;

  /// Whether the address lies in a section of procedure linkage stubs; always false without sections_known().
  [[nodiscard]] bool in_linkage(std::uintptr_t address) const noexcept;
  [[nodiscard]] bool sections_known() const noexcept { return sections_known_; }
  /// The file has been replaced, or deleted, since it was loaded: what only it knows is not known.
  [[nodiscard]] bool file_is_gone() const noexcept { return file_is_gone_; }

  /// Data among code: what is typed as an object, and what the loader relocates.
  struct data {
    std::uintptr_t start = 0;
    std::uintptr_t end = 0;
    bool relocated = false;  // data, or an instruction's operand
  };
  [[nodiscard]] std::span<const data> data_in(range where) const noexcept;
  /// Restartable sequences: code that a probe would make restart for ever.
  [[nodiscard]] const std::vector<range>& restartable() const noexcept { return restartable_; }

 private:
  using index = std::vector<std::pair<std::uint32_t, std::uint32_t>>;  // hash of a name, number of the symbol

  void read_memory(const module& owner);
  void read_file(const module& owner);
  void read_sections(const module& owner, const elf_file& file);
  bool read_symbols(const module& owner, const elf_file& file);
  void add(const module& owner, const GElf_Sym& entry, symbol one);
  [[nodiscard]] bool is_code(std::uintptr_t address) const noexcept;
  void arrange();
  void read_restartable(const module& owner, range section);
  [[nodiscard]] const index& names() const;
  [[nodiscard]] const index& identifiers() const;

  std::vector<elf_file> files_;           // own the names of .symtab
  std::vector<char> dynamic_strings_;     // owns the other names
  std::vector<symbol> symbols_;           // by start; at one start the sized and better known first
  std::vector<std::uintptr_t> furthest_;  // the greatest end of this symbol and those before it
  bool sections_known_ = false;
  bool file_is_gone_ = false;
  std::vector<range> executable_;  // sections, or whole segments where those are not known
  std::vector<range> linkage_;
  std::vector<range> restartable_;
  std::vector<data> data_;  // by start

  mutable std::once_flag names_made_;
  mutable index names_;
  mutable std::once_flag identifiers_made_;
  mutable index identifiers_;
};

}  // namespace libprobe::symbols
