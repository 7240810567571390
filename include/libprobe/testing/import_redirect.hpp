// Other functions for what programs call in the vDSO, where no probe can be.
#pragma once

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <string_view>

namespace libprobe::detail {

/// Puts a function into every loaded module's import slot for a symbol, and takes it out again. Where the
/// symbol is an IFUNC that resolves to the vDSO, as time() is, that slot is the last place before the
/// kernel's code. Calls by a pointer taken before, and modules loaded later, are not redirected.
class import_redirect {
 public:
  /// `now` is what the symbol resolves to.
  import_redirect(std::string_view symbol, const void* now, const void* instead)
      : symbol_{symbol}, now_{word(now)}, instead_{word(instead)} {
    ::dl_iterate_phdr(&visit, this);
  }
  ~import_redirect() {
    removing_ = true;
    ::dl_iterate_phdr(&visit, this);  // only what is still loaded
  }
  import_redirect(const import_redirect&) = delete;
  import_redirect& operator=(const import_redirect&) = delete;

 private:
  static std::uintptr_t word(const void* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
  }

  struct tables {
    const ElfW(Sym) * symbols = nullptr;
    const char* names = nullptr;
    const ElfW(Rela) * data = nullptr;
    std::size_t data_bytes = 0;
    const ElfW(Rela) * calls = nullptr;
    std::size_t call_bytes = 0;
  };

  static int visit(dl_phdr_info* module, std::size_t /*unused*/, void* self) {
    static_cast<import_redirect*>(self)->change(*module);
    return 0;
  }
  void change(const dl_phdr_info& module) {
    const ElfW(Dyn)* entry = nullptr;
    for (int i = 0; i < module.dlpi_phnum; ++i) {
      if (module.dlpi_phdr[i].p_type == PT_DYNAMIC)
        entry = reinterpret_cast<const ElfW(Dyn)*>(module.dlpi_addr + module.dlpi_phdr[i].p_vaddr);
    }
    tables t;
    for (; entry != nullptr && entry->d_tag != DT_NULL; ++entry) {
      const auto at = entry->d_un.d_ptr;
      // The loader relocates these, except in the vDSO, which imports nothing.
      if (at < module.dlpi_addr && (entry->d_tag == DT_SYMTAB || entry->d_tag == DT_STRTAB)) return;
      if (entry->d_tag == DT_SYMTAB) t.symbols = reinterpret_cast<const ElfW(Sym)*>(at);
      if (entry->d_tag == DT_STRTAB) t.names = reinterpret_cast<const char*>(at);
      if (entry->d_tag == DT_RELA) t.data = reinterpret_cast<const ElfW(Rela)*>(at);
      if (entry->d_tag == DT_RELASZ) t.data_bytes = entry->d_un.d_val;
      if (entry->d_tag == DT_JMPREL) t.calls = reinterpret_cast<const ElfW(Rela)*>(at);
      if (entry->d_tag == DT_PLTRELSZ) t.call_bytes = entry->d_un.d_val;
    }
    if (t.symbols == nullptr || t.names == nullptr) return;
    change(module, t, t.data, t.data_bytes, false);
    change(module, t, t.calls, t.call_bytes, true);
  }
  void change(const dl_phdr_info& module, const tables& t, const ElfW(Rela) * first, std::size_t bytes,
              bool calls) {
    for (std::size_t i = 0; first != nullptr && i < bytes / sizeof *first; ++i) {
      const auto index = ELF64_R_SYM(first[i].r_info);
      if (index == 0 || symbol_ != t.names + t.symbols[index].st_name) continue;
      change(module, module.dlpi_addr + first[i].r_offset, calls);
    }
  }
  void change(const dl_phdr_info& module, std::uintptr_t address, bool calls) {
    std::uintptr_t& slot = *reinterpret_cast<std::uintptr_t*>(address);
    const auto value = std::atomic_ref{slot}.load();
    if (removing_) {
      if (value == instead_ && before_.contains(address)) write(module, slot, before_[address]);
      return;
    }
    // A variable that holds something else by now is the program's own; a call slot may wait to be bound.
    if (value == instead_ || (!calls && value != now_)) return;
    before_[address] = value;
    write(module, slot, instead_);
  }
  static void write(const dl_phdr_info& module, std::uintptr_t& slot, std::uintptr_t value) {
    const auto address = reinterpret_cast<std::uintptr_t>(&slot);
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    void* const start = reinterpret_cast<void*>(address / page * page);
    bool read_only = false;  // after relocation
    for (int i = 0; i < module.dlpi_phnum; ++i) {
      const auto& p = module.dlpi_phdr[i];
      const auto from = module.dlpi_addr + p.p_vaddr;
      read_only = read_only || (p.p_type == PT_GNU_RELRO && address >= from && address < from + p.p_memsz);
    }
    if (read_only && ::mprotect(start, page, PROT_READ | PROT_WRITE) != 0) return;
    std::atomic_ref{slot}.store(value);
    if (read_only) ::mprotect(start, page, PROT_READ);
  }

  std::string_view symbol_;
  std::uintptr_t now_;
  std::uintptr_t instead_;
  std::map<std::uintptr_t, std::uintptr_t> before_;
  bool removing_ = false;
};

}  // namespace libprobe::detail
