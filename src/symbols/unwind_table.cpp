#include "symbols/unwind_table.hpp"

#include <cstddef>
#include <cstring>

extern "C" {
// In libgcc (unwind-dw2-fde.h, not installed): the unwind entry (FDE) of a call at `pc`.
struct dwarf_eh_bases {
  void* text;
  void* data;
  void* function;
};
const void* _Unwind_Find_FDE(void* pc, dwarf_eh_bases* bases);
}

namespace libprobe::symbols {
namespace {

/// Reads an unwind table entry. Linux Standard Base Core 5.0, 10.6.
class reader {
 public:
  explicit reader(const std::byte* at) noexcept : at_{at} {}

  template <class T>
  T word() noexcept {
    T value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::uint64_t leb() noexcept {  // signed ones are only ever skipped
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto part = word<std::uint8_t>();
      if (shift < 64) value |= std::uint64_t{part & 0x7fU} << shift;
      if ((part & 0x80) == 0) return value;
    }
  }
  const char* text() noexcept {
    const auto* start = reinterpret_cast<const char*>(at_);
    at_ += std::strlen(start) + 1;
    return start;
  }
  void skip(std::size_t bytes) noexcept { at_ += bytes; }
  [[nodiscard]] const std::byte* at() const noexcept { return at_; }

 private:
  const std::byte* at_;
};

/// Bytes of an encoded pointer (DW_EH_PE_*); 0: of variable length.
std::size_t size_of(std::uint8_t encoding) noexcept {
  switch (encoding & 0x07) {
    case 0x00:
      return sizeof(void*);  // absptr
    case 0x02:
      return 2;
    case 0x03:
      return 4;
    case 0x04:
      return 8;
    default:
      return 0;
  }
}

/// How a common information entry (CIE) says that its entries store addresses.
std::uint8_t address_encoding(const std::byte* cie) noexcept {
  reader in{cie};
  in.skip(2 * sizeof(std::uint32_t));  // length, identity
  const auto version = in.word<std::uint8_t>();
  const char* augmentation = in.text();
  in.leb();                                                 // code alignment
  in.leb();                                                 // data alignment
  version == 1 ? in.skip(1) : static_cast<void>(in.leb());  // return address register
  if (*augmentation != 'z') return 0;
  in.leb();
  for (++augmentation; *augmentation != '\0'; ++augmentation) {
    switch (*augmentation) {
      case 'R':
        return in.word<std::uint8_t>();
      case 'L':
        in.skip(1);
        break;
      case 'P':
        in.skip(size_of(in.word<std::uint8_t>()));
        break;
      default:
        break;  // S, B: no data
    }
  }
  return 0;
}

}  // namespace

std::optional<extent> by_unwind_table(std::uintptr_t address) {
  dwarf_eh_bases bases{};
  const auto* fde = static_cast<const std::byte*>(_Unwind_Find_FDE(reinterpret_cast<void*>(address), &bases));
  if (fde == nullptr) return std::nullopt;
  reader in{fde};
  in.skip(sizeof(std::uint32_t));  // length
  const auto* const here = in.at();
  const auto back_to_cie = in.word<std::int32_t>();
  const auto size = size_of(address_encoding(here - back_to_cie));
  if (size == 0) return std::nullopt;
  in.skip(size);  // the start, which the run time has decoded
  std::uint64_t length = 0;
  std::memcpy(&length, in.at(), size);  // little-endian
  const auto start = reinterpret_cast<std::uintptr_t>(bases.function);
  if (address < start || address - start >= length) return std::nullopt;
  return extent{start, start + length};
}

}  // namespace libprobe::symbols
