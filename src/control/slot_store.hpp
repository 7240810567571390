// Hands out code slots, and remembers them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <unordered_set>
#include <vector>

#include "os/text.hpp"
#include "site/slots.hpp"

namespace libprobe::control {

/// What a slot is for. An address may have several of a kind, since each goes on elsewhere.
enum class slot_kind : std::uint8_t {
  copy,      // of an instruction, that goes on behind the original
  stepped,   // the same, under the trap flag
  linked,    // a copy that goes on elsewhere: behind it in a jump's detour comes another one
  before,    // calls the handlers, then goes on in a copy
  after,     // the same, behind a copy
  count,     // counts, and calls nobody
  follow,    // calls handlers, then the function from a return slot
  replace,   // calls another function in its place
  original,  // what is called as the function that another one replaces
};

/// Slots for one registration: made in planning, written together, and given back if the registration fails.
/// Control only, under its lock.
class slot_store {
 public:
  struct handle {
    const site::slot* slot = nullptr;  // to be looked at after write()
    std::uintptr_t code = 0;
  };
  /// What arch::emit() and its like write at a slot's address.
  using emitter = std::function<result<arch::slot_layout>(std::uintptr_t slot, std::span<std::uint8_t> code)>;

  /// The slot that was made before for the address, if the same code would be written there now; or a new
  /// one, whose code is not in place until write(). errc::out_of_code_memory.
  result<handle> get(slot_kind kind, std::uintptr_t address, const emitter& emit, bool linked = false);
  /// Of a displaced instruction. `linked`: other code will lead to it. Such slots are never taken back: a
  /// thread anywhere in a chain of code may come to all that follows.
  result<handle> get(const arch::displaced& plan, std::uintptr_t address, bool linked = false);

  /// What a replaced function is called by, whose first instruction's copy lies at `body`.
  result<handle> get_original(std::uintptr_t address, std::uintptr_t body);

  /// Puts the code of all new slots in place, page by page. errc::text_not_writable: none of them is, as
  /// after drop().
  errc write();
  /// Gives back what get() handed out since the last write().
  void drop() noexcept;

  [[nodiscard]] std::size_t chunks() const noexcept { return chunks_.size(); }

  /// Slots that are kept for the next probe at their address, though no site uses them now: 4 MiB of code.
  static constexpr std::size_t idle_bound = std::size_t{64} * 1024;

  /// Past the bound: takes back the slots that are not `in_use` and that provably nobody is inside of. What
  /// is not proven quiet is kept, and the next attempt waits until there are half as many again. A grace
  /// period must have passed since a site used them. May take long; throws std::bad_alloc and has changed
  /// nothing then.
  void reclaim_idle(const std::unordered_set<const site::slot*>& in_use);
  [[nodiscard]] bool past_bound(std::size_t in_use) const noexcept {
    return handed_out_ > linked_ + in_use + std::max(bound_, next_attempt_);
  }
  void set_idle_bound(std::size_t bound) noexcept { bound_ = bound; }

 private:
  struct fresh_slot {
    site::chunk* in;
    std::size_t unit;
    site::slot content;
    slot_kind kind;
    bool reused = false;  // the unit was reclaimed before
    std::array<std::uint8_t, 2 * arch::slot_unit> code;
  };

  static errc make(const emitter& emit, fresh_slot& fresh);
  site::chunk* chunk_near(std::uintptr_t address, std::uintptr_t reach);
  bool add_chunk(std::uintptr_t near, std::uintptr_t reach);
  void forget(const site::slot& slot) noexcept;
  static bool still_fits(const site::slot& known, const emitter& emit);

  std::vector<site::chunk*> chunks_;
  std::size_t handed_out_ = 0;
  std::size_t linked_ = 0;
  std::size_t next_attempt_ = 0;
  std::size_t bound_ = idle_bound;
  // By kind, then by address of the displaced instruction: the newest, which knows the older ones.
  static constexpr std::size_t kinds = static_cast<std::size_t>(slot_kind::original) + 1;
  site::table<site::slot> known_[kinds];
  std::deque<fresh_slot> fresh_;
};

}  // namespace libprobe::control
