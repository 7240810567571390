#include "library_text.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <link.h>
#include <unistd.h>

#include <map>

#include "symbols/symbols.hpp"

namespace library_text {

namespace {

const link_map* load(const char* soname) {
  void* handle = dlopen(soname, RTLD_NOW | RTLD_NODELETE);
  link_map* map = nullptr;
  if (handle == nullptr || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) return nullptr;
  return map;
}

template <class F>
void for_each_section(const char* path, F&& visit) {
  elf_version(EV_CURRENT);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  Elf* elf = file < 0 ? nullptr : elf_begin(file, ELF_C_READ, nullptr);
  for (Elf_Scn* scn = nullptr; elf != nullptr && (scn = elf_nextscn(elf, scn)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(scn, &header) != nullptr) visit(elf, scn, header);
  }
  if (elf != nullptr) elf_end(elf);
  if (file >= 0) close(file);
}

}  // namespace

std::vector<function> functions_of(const char* soname) {
  const link_map* map = load(soname);
  if (map == nullptr) return {};
  std::map<std::uintptr_t, function> by_address;
  for_each_section(map->l_name, [&](Elf* elf, Elf_Scn* scn, const GElf_Shdr& header) {
    if (header.sh_type != SHT_SYMTAB && header.sh_type != SHT_DYNSYM) return;
    Elf_Data* const data = elf_getdata(scn, nullptr);
    for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
      GElf_Sym symbol;
      gelf_getsym(data, static_cast<int>(i), &symbol);
      const auto type = GELF_ST_TYPE(symbol.st_info);
      if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_size == 0 || symbol.st_shndx == SHN_UNDEF)
        continue;
      const auto start = map->l_addr + symbol.st_value;
      by_address.try_emplace(start, function{elf_strptr(elf, header.sh_link, symbol.st_name), start,
                                             static_cast<std::size_t>(symbol.st_size)});
    }
  });
  std::vector<function> all;
  for (auto& [address, f] : by_address) all.push_back(std::move(f));
  return all;
}

std::vector<function> unwind_functions_of(const char* soname) {
  const link_map* map = load(soname);
  if (map == nullptr) return {};
  std::vector<function> all;
  const char* const path = *map->l_name != '\0' ? map->l_name : "/proc/self/exe";
  for_each_section(path, [&](Elf*, Elf_Scn*, const GElf_Shdr& header) {
    if (header.sh_type != SHT_PROGBITS || (header.sh_flags & SHF_EXECINSTR) == 0) return;
    const auto end = map->l_addr + header.sh_addr + header.sh_size;
    for (auto at = map->l_addr + header.sh_addr; at < end;) {
      const auto extent = libprobe::symbols::function_at(at);
      if (!extent || extent->end <= at) {
        ++at;
        continue;
      }
      if (extent->start >= at) all.push_back({{}, extent->start, extent->end - extent->start});
      at = extent->end;
    }
  });
  return all;
}

}  // namespace library_text
