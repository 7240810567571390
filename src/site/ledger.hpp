// What a user's object shows of its registration: how often it was hit, and where the original function is.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace libprobe::site {

/// One registration's. The user's object leads to the ledger of its latest registration by one pointer, which
/// changes under control's lock; attachments that wait for their grace period go on with their own. The
/// memory stays what it is for as long as the process lives, and each new use has another number: so whoever
/// reads one needs no section, and notices when it has become another's.
struct ledger {
  /// Counts in a table's column, from what it held before on: see counter.hpp.
  struct source {
    // Read by who may find a moment later that the ledger has become another's.
    std::atomic<std::uint64_t*> column{nullptr};
    std::atomic<std::uint64_t> base{0};
    void set(std::uint64_t* to, std::uint64_t held) noexcept {
      column.store(to, std::memory_order_relaxed);
      base.store(held, std::memory_order_relaxed);
    }
  };
  static constexpr std::uint64_t open = ~std::uint64_t{0};

  std::atomic<std::uint64_t> use{0};        // odd: being made ready
  std::atomic<std::uint64_t> by_others{0};  // hits of threads that have no row
  std::atomic<std::uint64_t> missed{0};
  std::atomic<std::uint64_t> last{open};  // all hits there will ever be, once that is certain
  // All that are shown, of a removed counter: its detour counts until the jump is gone.
  std::atomic<std::uint64_t> shown{open};
  std::atomic<std::uintptr_t> body{0};  // code that goes on as the original function; 0: none
  source own, of_detour;
  std::atomic<const source*> from{&own};
  ledger* next_free = nullptr;  // control only

  /// Signal-safe: all hits until now.
  [[nodiscard]] std::uint64_t hits() const noexcept;
};

using ledger_ptr = std::unique_ptr<ledger, void (*)(ledger*)>;

/// The hits of the registration that `where` leads to, or its misses: 0 if there is none. Any thread,
/// signal-safe.
std::uint64_t hits_of(const std::atomic<void*>& where) noexcept;
std::uint64_t missed_of(const std::atomic<void*>& where) noexcept;
/// The code that goes on as the original function; 0: none, or the registration is over.
std::uintptr_t original_of(const std::atomic<void*>& where) noexcept;

}  // namespace libprobe::site
