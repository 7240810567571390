// Pending probes: they wait for their module, or for a module that has their symbol.
//
// Floor: control, on symbols. Of control it knows requests, and registration, by which it places what it has
// found.
// Words: a probe is *pending* while nothing of its name is loaded; it is *sought* when modules have come.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "control/fork_lock.hpp"
#include "control/registration.hpp"
#include "control/request.hpp"

namespace libprobe::control {

/// One whose module or symbol is not there yet.
struct waiting {
  request need;
  std::string name;          // where it goes
  std::string why;           // it could not be placed until now
  std::uint64_t number = 0;  // unique
};

/// All members under control's lock, but for look_up().
class pending_probes {
 public:
  pending_probes() = default;
  pending_probes(const pending_probes&) = delete;
  pending_probes& operator=(const pending_probes&) = delete;

  void reserve(std::size_t more) { waiting_.reserve(waiting_.size() + more); }
  /// Their users' objects show them from now on. There is room.
  void add(std::span<waiting> later) noexcept;
  /// Nobody has seen it: it is freed at once.
  void remove(site::attachment& a) noexcept;

  /// One of those that wait, while its name is looked up.
  struct sought {
    std::uint64_t number;
    std::string name;
    std::uintptr_t address = 0;  // 0: not there
    std::string why;
  };
  /// All of them.
  [[nodiscard]] std::vector<sought> all() const;
  /// Not under control's lock: the loader is asked, too. `lookups` gives way to the loader.
  static void look_up(std::span<sought> names, fork_lock& lookups);
  /// Requests for what was found and waits still, by address; the others remember why not.
  [[nodiscard]] std::vector<request> found(std::span<sought> names);
  /// All in one pass if that can be, else as many as can be. Those that are placed wait no more.
  void place(std::span<request> found, registration& by, need which) noexcept;

  [[nodiscard]] std::span<const waiting> list() const noexcept { return waiting_; }
  /// Those that the predicate says are dealt with wait no more.
  template <class Predicate>
  void erase_if(Predicate&& is_over) noexcept {
    std::erase_if(waiting_, [&is_over](const waiting& one) { return is_over(*one.need.what); });
  }

 private:
  std::vector<waiting> waiting_;
  std::uint64_t next_number_ = 1;
};

}  // namespace libprobe::control
