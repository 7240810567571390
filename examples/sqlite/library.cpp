#include "library.hpp"

#include <capstone/capstone.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

namespace library {

namespace {

/// An ELF file, open for reading.
class elf_file {
 public:
  explicit elf_file(const std::string& path) {
    elf_version(EV_CURRENT);
    file_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file_ >= 0) elf_ = elf_begin(file_, ELF_C_READ, nullptr);
    if (elf_ == nullptr) {
      if (file_ >= 0) close(file_);
      throw std::runtime_error{fmt::format("cannot read {}", path)};
    }
  }
  ~elf_file() {
    elf_end(elf_);
    close(file_);
  }
  elf_file(const elf_file&) = delete;
  elf_file& operator=(const elf_file&) = delete;

  [[nodiscard]] Elf* get() const noexcept { return elf_; }

 private:
  int file_ = -1;
  Elf* elf_ = nullptr;
};

void read_text_segment(Elf* elf, std::uintptr_t bias, image& into) {
  std::size_t count = 0;
  elf_getphdrnum(elf, &count);
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr) continue;
    if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
    into.text_start = bias + header.p_vaddr;
    into.text_end = into.text_start + header.p_memsz;
  }
}

void read_functions(Elf* elf, std::uintptr_t bias, image& into) {
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_DYNSYM) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    for (int i = 0; data != nullptr && i < static_cast<int>(header.sh_size / header.sh_entsize); ++i) {
      GElf_Sym symbol;
      if (gelf_getsym(data, i, &symbol) == nullptr) continue;
      const bool exported = symbol.st_shndx != SHN_UNDEF && GELF_ST_BIND(symbol.st_info) != STB_LOCAL &&
                            GELF_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_size != 0;
      if (!exported) continue;
      into.functions.push_back(
          {elf_strptr(elf, header.sh_link, symbol.st_name), bias + symbol.st_value, symbol.st_size});
    }
  }
  std::ranges::sort(into.functions, {}, &function::name);
}

}  // namespace

image defining(const char* symbol) {
  const void* address = dlsym(RTLD_DEFAULT, symbol);
  Dl_info info;
  link_map* loaded = nullptr;
  if (address == nullptr ||
      dladdr1(address, &info, reinterpret_cast<void**>(&loaded), RTLD_DL_LINKMAP) == 0) {
    throw std::runtime_error{fmt::format("no loaded library defines {}", symbol)};
  }
  image found;
  found.path = loaded->l_name;
  found.file_name = found.path.substr(found.path.rfind('/') + 1);
  const elf_file file{found.path};
  read_text_segment(file.get(), loaded->l_addr, found);
  read_functions(file.get(), loaded->l_addr, found);
  return found;
}

std::vector<instruction> disassemble(const function& of) {
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) throw std::runtime_error{"no disassembler"};
  const std::unique_ptr<csh, void (*)(csh*)> closer{&handle, [](csh* h) { cs_close(h); }};
  const std::unique_ptr<cs_insn, void (*)(cs_insn*)> one{cs_malloc(handle),
                                                         [](cs_insn* i) { cs_free(i, 1); }};
  const auto* code = reinterpret_cast<const std::uint8_t*>(of.start);
  std::size_t left = of.size;
  std::uint64_t address = of.start;
  std::vector<instruction> all;
  while (left != 0) {
    if (!cs_disasm_iter(handle, &code, &left, &address, one.get())) {
      throw std::runtime_error{fmt::format("{}+{:#x} is no instruction", of.name, of.size - left)};
    }
    all.push_back({one->address, fmt::format("{} {}", one->mnemonic, one->op_str)});
  }
  return all;
}

}  // namespace library
