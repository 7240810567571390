// Where no probe may be placed.
#include <link.h>
#include <sys/auxv.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "arch/machine.hpp"
#include "arch/trap.hpp"
#include "os/maps.hpp"
#include "symbols/follow.hpp"
#include "symbols/go_code.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"
#include "symbols/symbols.hpp"

extern "C" {
// Set by the linker around the section that holds libprobe's own code; null where there is no such section.
// NOLINTBEGIN(bugprone-reserved-identifier)
[[gnu::weak, gnu::visibility("hidden")]] extern const char __start_libprobe_text[];
[[gnu::weak, gnu::visibility("hidden")]] extern const char __stop_libprobe_text[];
// NOLINTEND(bugprone-reserved-identifier)
}

namespace libprobe::symbols {
namespace {

std::uintptr_t address_of(const void* place) { return reinterpret_cast<std::uintptr_t>(place); }

bool is_own_text(const module* owner, std::uintptr_t address) {
  const std::uintptr_t start = address_of(__start_libprobe_text);
  if (start != 0) return address >= start && address < address_of(__stop_libprobe_text);
  // Not set apart: as a shared library libprobe is a module of its own.
  return owner != nullptr && owner->what != module::kind::program &&
         owner->segment_at(reinterpret_cast<std::uintptr_t>(&probeable)) != nullptr;
}

bool is_kernel_code(const module* owner, std::uintptr_t address) {
  if (address >= arch::legacy_kernel_entry_start && address < arch::legacy_kernel_entry_end) return true;
  if (owner != nullptr) return owner->what == module::kind::vdso;
  // The loader of a static program does not list the vDSO.
  const std::uintptr_t vdso = ::getauxval(AT_SYSINFO_EHDR);
  if (vdso == 0 || address < vdso) return false;
  const auto& file = *reinterpret_cast<const ElfW(Ehdr)*>(vdso);
  const auto* const headers = reinterpret_cast<const ElfW(Phdr)*>(vdso + file.e_phoff);
  return std::any_of(headers, headers + file.e_phnum, [&](const ElfW(Phdr) & header) {
    return header.p_type == PT_LOAD && address - vdso < header.p_offset + header.p_memsz;
  });
}

// The hit path saves and restores errno, and reaches it by this function of libc.
bool is_errno_access(std::uintptr_t address) {
  static const extent code = [] {
    const std::uintptr_t start =
        follow(*current_modules(), reinterpret_cast<std::uintptr_t>(&__errno_location));
    return function_at(start).value_or(extent{start, start + 1});
  }();
  return address >= code.start && address < code.end;
}

// Compared with what can be read there: another thread may unload the module just now.
bool has_bytes(std::uintptr_t address, std::span<const std::uint8_t> bytes) {
  constexpr std::size_t word = sizeof(std::uint64_t);
  for (std::size_t done = 0; done < bytes.size(); done += word) {
    const auto at = std::min(done, bytes.size() - word);
    std::uint64_t there = 0;
    if (!arch::guarded_load(address + at, there) || std::memcmp(&there, &bytes[at], word) != 0) return false;
  }
  return true;
}

// Unwinders and debuggers know the stub that returns from a signal by its bytes.
bool is_signal_return(const extent& readable, std::uintptr_t address) {
  const auto stub = arch::signal_return();
  return std::ranges::any_of(stub.instructions, [&](std::size_t offset) {
    const std::uintptr_t start = address - offset;
    return start >= readable.start && start <= address && readable.end - start >= stub.bytes.size() &&
           has_bytes(start, stub.bytes);
  });
}

bool is_restartable(const module& owner, std::uintptr_t address) {
  const auto& ranges = owner.symbols().restartable();
  return std::ranges::any_of(ranges, [&](const symbol_table::range& one) { return one.holds(address); });
}

}  // namespace

errc probeable(std::uintptr_t address) {
  const auto now = current_modules();
  const module* owner = now->find(address);
  if (is_kernel_code(owner, address)) return errc::denied_address;
  extent readable;
  if (owner != nullptr) {
    const segment* inside = owner->segment_at(address);
    if (inside == nullptr || !inside->executable) return errc::not_executable;
    if (inside->readable) readable = {inside->start, inside->end};
  } else {
    const auto mapped = os::mapping_at(address);
    if (!mapped && !os::maps_are_readable()) return errc::unsupported_environment;
    if (!mapped || !mapped->executable) return errc::not_executable;
    // Text written there would show in other processes, and in the file.
    if (mapped->shared) return errc::denied_address;
    if (mapped->readable) readable = {mapped->start, mapped->end};
  }
  if (is_own_text(owner, address) || is_errno_access(address) || is_signal_return(readable, address)) {
    return errc::denied_address;
  }
  if (owner != nullptr && may_be_go_code(*owner, address)) return errc::unsupported_runtime;
  if (owner != nullptr && is_restartable(*owner, address)) return errc::denied_address;
  return errc::ok;
}

}  // namespace libprobe::symbols
