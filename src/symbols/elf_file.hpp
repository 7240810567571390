// An ELF file on disk, mapped: its sections and its static symbols. libelf stays in here.
#pragma once

#include <gelf.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace libprobe::symbols {

class elf_file {
 public:
  struct section {
    std::string_view name;
    std::uint64_t type = 0;
    std::uint64_t flags = 0;
    std::uint64_t address = 0;
    std::uint64_t size = 0;
  };

  /// Nothing if it cannot be opened or is no ELF file. Blocks on the disk; allocates.
  static std::optional<elf_file> open(const std::string& path);

  /// Allocated sections and the symbol tables; names live as long as this object.
  [[nodiscard]] const std::vector<section>& sections() const noexcept { return sections_; }
  [[nodiscard]] std::vector<std::uint8_t> build_id() const;
  [[nodiscard]] std::vector<GElf_Phdr> program_headers() const;

  /// Calls visit(symbol, name) for each entry of .symtab; names live as long as this object. False: has none.
  bool each_symbol(const std::function<void(const GElf_Sym&, std::string_view)>& visit) const;

 private:
  struct closer {
    void operator()(Elf* elf) const noexcept { elf_end(elf); }
  };
  explicit elf_file(Elf* elf);

  std::unique_ptr<Elf, closer> elf_;
  std::vector<section> sections_;
};

}  // namespace libprobe::symbols
