#include "symbols/elf_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>

namespace libprobe::symbols {

std::optional<elf_file> elf_file::open(const std::string& path) {
  if (path.empty() || elf_version(EV_CURRENT) == EV_NONE) return std::nullopt;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  Elf* elf = elf_begin(file, ELF_C_READ_MMAP, nullptr);
  // The mapping is all that is needed from here on.
  if (elf != nullptr) elf_cntl(elf, ELF_C_FDREAD);
  ::close(file);
  if (elf == nullptr) return std::nullopt;
  if (elf_kind(elf) != ELF_K_ELF || gelf_getclass(elf) != (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32)) {
    elf_end(elf);
    return std::nullopt;
  }
  return elf_file{elf};
}

elf_file::elf_file(Elf* elf) : elf_{elf} {
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return;
  for (Elf_Scn* scan = nullptr; (scan = elf_nextscn(elf, scan)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(scan, &header) == nullptr || (header.sh_flags & SHF_ALLOC) == 0) continue;
    const char* name = elf_strptr(elf, names, header.sh_name);
    sections_.push_back({name != nullptr ? std::string_view{name} : std::string_view{}, header.sh_type,
                         header.sh_flags, header.sh_addr, header.sh_size});
  }
}

std::vector<std::uint8_t> elf_file::build_id() const {
  for (Elf_Scn* scan = nullptr; (scan = elf_nextscn(elf_.get(), scan)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(scan, &header) == nullptr || header.sh_type != SHT_NOTE) continue;
    Elf_Data* data = elf_getdata(scan, nullptr);
    GElf_Nhdr note;
    std::size_t name = 0;
    std::size_t content = 0;
    for (std::size_t at = 0; data != nullptr && (at = gelf_getnote(data, at, &note, &name, &content)) != 0;) {
      const auto* bytes = static_cast<const std::uint8_t*>(data->d_buf);
      if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || std::memcmp(bytes + name, "GNU", 4) != 0) {
        continue;
      }
      return {bytes + content, bytes + content + note.n_descsz};
    }
  }
  return {};
}

std::vector<GElf_Phdr> elf_file::program_headers() const {
  std::size_t count = 0;
  std::vector<GElf_Phdr> headers;
  if (elf_getphdrnum(elf_.get(), &count) != 0) return headers;
  headers.resize(count);
  for (std::size_t index = 0; index < count; ++index) {
    if (gelf_getphdr(elf_.get(), static_cast<int>(index), &headers[index]) == nullptr) return {};
  }
  return headers;
}

bool elf_file::each_symbol(const std::function<void(const GElf_Sym&, std::string_view)>& visit) const {
  for (Elf_Scn* scan = nullptr; (scan = elf_nextscn(elf_.get(), scan)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(scan, &header) == nullptr || header.sh_type != SHT_SYMTAB || header.sh_entsize == 0)
      continue;
    Elf_Data* data = elf_getdata(scan, nullptr);
    if (data == nullptr) return false;
    const std::size_t count = data->d_size / header.sh_entsize;
    for (std::size_t index = 0; index < count; ++index) {
      GElf_Sym symbol;
      if (gelf_getsym(data, static_cast<int>(index), &symbol) == nullptr) break;
      const char* name = elf_strptr(elf_.get(), header.sh_link, symbol.st_name);
      if (name != nullptr) visit(symbol, name);
    }
    return true;
  }
  return false;
}

}  // namespace libprobe::symbols
