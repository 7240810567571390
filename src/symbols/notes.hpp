// ELF notes of a loaded module, as they lie in its memory.
#pragma once

#include <link.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

namespace libprobe::symbols {

struct note {
  std::string_view owner;
  std::uint32_t type = 0;
  std::span<const std::uint8_t> content;
};

/// Visits them until visit() answers true. The module must stay loaded meanwhile.
template <class Visit>
void each_note(std::uintptr_t bias, std::span<const ElfW(Phdr)> headers, Visit&& visit) {
  for (const ElfW(Phdr) & header : headers) {
    if (header.p_type != PT_NOTE) continue;
    const std::size_t align = header.p_align == 8 ? 8 : 4;
    const auto padded = [&](std::size_t size) { return (size + align - 1) & ~(align - 1); };
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(bias + header.p_vaddr);
    for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= header.p_memsz;) {
      ElfW(Nhdr) head;
      std::memcpy(&head, bytes + at, sizeof head);
      const std::size_t name = at + sizeof head;
      const std::size_t content = name + padded(head.n_namesz);
      if (content + head.n_descsz > header.p_memsz) break;
      const auto* const owner = reinterpret_cast<const char*>(bytes + name);
      const note one{{owner, ::strnlen(owner, head.n_namesz)}, head.n_type, {bytes + content, head.n_descsz}};
      if (visit(one)) return;
      at = content + padded(head.n_descsz);
    }
  }
}

}  // namespace libprobe::symbols
