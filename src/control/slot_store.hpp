// Hands out code slots, and remembers them for good.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "os/text.hpp"
#include "site/slots.hpp"

namespace libprobe::control {

/// Slots for one registration: made in planning, written together, and given back if the registration fails.
/// Control only, under its lock.
class slot_store {
 public:
  /// The slot for a copied instruction: the one it had before, or a new one, whose code is not in place until
  /// write(). errc::out_of_code_memory.
  result<const site::slot*> get(const arch::displaced& plan, std::uintptr_t address);

  /// Puts the code of all new slots in place, page by page. errc::text_not_writable: none of them is, as
  /// after drop().
  errc write();
  /// Gives back what get() handed out since the last write().
  void drop() noexcept;

  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_.size(); }

 private:
  struct fresh_slot {
    site::chunk* in;
    std::size_t unit;
    site::slot content;
    std::array<std::uint8_t, 2 * arch::slot_unit> code;
  };

  site::chunk* chunk_near(std::uintptr_t address, std::uintptr_t reach);
  bool add_chunk(std::uintptr_t near, std::uintptr_t reach);
  static bool still_fits(const site::slot& known, const arch::displaced& plan);

  std::vector<site::chunk*> chunks_;
  // By address of the displaced instruction: slots for copies that run freely, and for those that are
  // stepped.
  site::table<const site::slot> known_[2];
  std::vector<fresh_slot> fresh_;
};

}  // namespace libprobe::control
