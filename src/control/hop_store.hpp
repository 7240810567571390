// Places the hops of jumps that cannot lead anywhere but to a few addresses.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "arch/patch.hpp"
#include "arch/text.hpp"
#include "os/code_memory.hpp"

namespace libprobe::control {

/// A hop lies where a jump's shape lets the jump lead, and jumps on to the detour, which may lie anywhere
/// near. Hops share pages as far as they can. Kept for good, and used again when their address is probed
/// again. Control only, under its lock; whatever allocates throws std::bad_alloc and has changed nothing
/// then.
class hop_store {
 public:
  /// Executable memory for hops is bounded: this much, and some for each hop that there is and each probe of
  /// a registration that is about to begin. Beyond it no page is added.
  static constexpr std::size_t free_bytes = std::size_t{1024} * 1024;
  static constexpr std::size_t bytes_a_probe = 1024;
  void expect(std::size_t probes) {
    known_.reserve(known_.size() + probes);
    most_bytes_ = free_bytes + bytes_a_probe * (known_.size() + probes);
  }

  /// The hop that the address had before, if it will do again; and whether there may be one, whatever it
  /// leads to.
  std::optional<std::uintptr_t> known(const arch::jump_shape& shape, std::uintptr_t address,
                                      std::uintptr_t target) const;
  [[nodiscard]] bool may_know(const arch::jump_shape& shape, std::uintptr_t address) const;
  /// A place for the hop of a jump of that shape at `address`, in a page that there is; nothing if there is
  /// none. Reserved until drop().
  std::optional<std::uintptr_t> place(const arch::jump_shape& shape, std::uintptr_t address) noexcept;
  /// The same in another page of memory, if the bound leaves one.
  std::optional<std::uintptr_t> place_in_new_page(const arch::jump_shape& shape, std::uintptr_t address);
  /// Where the hop that has just been placed leads to.
  void lead(std::uintptr_t at, std::uintptr_t address, std::uintptr_t target);
  /// Gives back the hop that has just been placed.
  void take_back(std::uintptr_t at) noexcept;

  /// Puts the code of all new hops in place. errc::text_not_writable: none of them is, as after drop(),
  /// which also gives back the pages that were added.
  errc write();
  void drop() noexcept;

  [[nodiscard]] std::size_t bytes() const noexcept { return pages_.size() * page_bytes; }
  [[nodiscard]] std::size_t hops() const noexcept { return known_.size(); }

 private:
  static constexpr std::size_t page_bytes = arch::code_page;
  static constexpr std::size_t last_place = page_bytes - arch::hop_length;
  struct page {
    using bitmap = std::array<std::uint64_t, page_bytes / 64 + 1>;  // a bit for each byte
    std::uintptr_t start;
    std::unique_ptr<bitmap> used;
    std::size_t first_free = 0;  // nothing fits before it
    /// The first offset from there on where a hop fits; behind last_place: nowhere.
    [[nodiscard]] std::size_t next_free(std::size_t from) const noexcept;
    void mark(std::size_t offset, bool taken) noexcept;
  };
  struct hop {
    std::uintptr_t at = 0;  // 0: until write()
    std::uintptr_t target = 0;
  };
  struct fresh_hop {
    std::uintptr_t at, address;
    hop* known;
    std::array<std::uint8_t, arch::hop_length> code;
  };

  std::vector<page>::iterator page_from(std::uintptr_t start) noexcept;
  std::optional<std::uintptr_t> place_in(page& in, const arch::jump_reach& wanted) noexcept;
  bool add_page(std::uintptr_t start, std::vector<os::address_range>::iterator gap);

  std::size_t most_bytes_ = free_bytes;
  std::vector<page> pages_;  // in order of address
  std::uintptr_t last_page_ = 0;
  std::unordered_multimap<std::uintptr_t, hop> known_;  // by address of the jump
  std::vector<fresh_hop> fresh_;
  std::vector<std::uintptr_t> fresh_pages_;
  std::vector<os::address_range> gaps_;  // between mappings, as they were when this registration first asked
  bool gaps_known_ = false;
};

}  // namespace libprobe::control
