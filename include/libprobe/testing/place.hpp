// Places in the program's code, by the names that people know; and probes that fixtures put there.
#pragma once

#include <cxxabi.h>
#include <execinfo.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <libprobe/batch.hpp>
#include <libprobe/listing.hpp>
#include <libprobe/probe.hpp>
#include <libprobe/testing/thread.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace libprobe::detail {

inline std::string demangled(const std::string& symbol) {
  int status = 0;
  char* const text = abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status);
  if (text == nullptr) return symbol;
  std::string name{text};
  std::free(text);
  return name;
}

/// A place, and what a failure calls it.
struct place {
  void* address = nullptr;
  std::string name;
};

/// Something that fixtures put into the program's code and that can be taken away only at a quiet moment.
class installed {
 public:
  installed() = default;
  installed(const installed&) = delete;
  installed& operator=(const installed&) = delete;
  virtual ~installed() = default;
  /// Queues the removal. False: not now, a thread may stay inside for long.
  virtual bool leave() noexcept = 0;
};

struct installed_probe final : installed {
  libprobe::probe probe;
  bool leave() noexcept override {
    unregister_probe_fast(probe);
    return true;
  }
};

/// What fixtures have in the program's code. To take something away one has to wait until no thread is in a
/// handler, and a thread that stands at a pause point is in one. So nobody waits while there is a pause
/// point: what ended fixtures have put there is disarmed, and freed when the last pause point has gone. Its
/// functions are called by unwatched threads.
class workshop {
 public:
  static workshop& instance() {
    static auto* const one = new workshop;  // outlives static destructors
    return *one;
  }

  std::recursive_mutex& lock() { return lock_; }

  /// Looks the location up, without changing the program. Throws std::system_error.
  place find(const location& where) {
    const std::lock_guard guard{lock_};
    auto marker = std::make_unique<installed_probe>();
    marker->probe.at = where;
    marker->probe.pre_handler = [](libprobe::probe&, registers&) { return 0; };
    marker->probe.flags = probe_flags::disabled;
    if (const auto refused = register_probe(marker->probe))
      throw std::system_error{refused, last_error_detail()};
    place found{address_of(marker->probe), {}};
    found.name = name_of(found.address);
    bury(std::move(marker));
    return found;
  }

  /// From now on nothing is taken away, until as many removals as pauses.
  void add_pause() {
    const std::lock_guard guard{lock_};
    ++pauses_;
  }
  void remove_pause() {
    const std::lock_guard guard{lock_};
    --pauses_;
    settle();
  }

  /// Takes it away now or later, and frees it then.
  void bury(std::unique_ptr<installed> what) {
    const std::lock_guard guard{lock_};
    idle_.push_back(std::move(what));
    settle();
  }
  /// The idle one that fits, back in use; or null.
  template <class Predicate>
  std::unique_ptr<installed> revive(Predicate fits) {
    const std::lock_guard guard{lock_};
    const auto found = std::find_if(idle_.begin(), idle_.end(), [&](const auto& i) { return fits(*i); });
    if (found == idle_.end()) return nullptr;
    auto what = std::move(*found);
    idle_.erase(found);
    return what;
  }

 private:
  void settle() {
    const auto stay =
        std::partition(idle_.begin(), idle_.end(), [](const auto& what) { return !what->leave(); });
    std::move(stay, idle_.end(), std::back_inserter(leaving_));
    idle_.erase(stay, idle_.end());
    // Inside a handler or a replacement nobody can wait: the next one will.
    if (leaving_.empty() || pauses_ != 0 || commit_probes() == errc::would_deadlock) return;
    leaving_.clear();
  }

  /// "ns::f(int)", "f+0x10", or the bare address where nothing is known. There must be a probe.
  std::string name_of(void* address) {
    auto& known = names_[address];
    if (!known.empty()) return known;
    char bare[32];
    for (const auto& row : list_probes()) {
      if (row.address != reinterpret_cast<std::uintptr_t>(address) || row.symbol.empty()) continue;
      known = demangled(row.symbol);
      if (row.offset != 0) {
        std::snprintf(bare, sizeof bare, "+0x%zx", static_cast<std::size_t>(row.offset));
        known += bare;
      }
      return known;
    }
    std::snprintf(bare, sizeof bare, "%p", address);
    return known = bare;
  }

  std::recursive_mutex lock_;
  std::vector<std::unique_ptr<installed>> idle_;
  std::vector<std::unique_ptr<installed>> leaving_;
  std::map<void*, std::string> names_;
  unsigned pauses_ = 0;
};

/// The innermost callers of a fixture, outermost last. In ordinary context, by an unwatched thread.
struct call_stack {
  static constexpr int most = 32;
  void* frames[most] = {};
  int depth = 0;

  static call_stack here() noexcept {
    call_stack stack;
    stack.depth = ::backtrace(stack.frames, most);
    return stack;
  }
  /// `f(int)+0x12 < main+0x40`: the program's frames, from the caller of the innermost probed function.
  [[nodiscard]] std::string text() const {
    const auto find = [](void* frame) {
      return workshop::instance().find(location{static_cast<const void*>(frame)}).name;
    };
    std::vector<std::string> names;
    bool below = true;  // in what the fixture itself has called
    for (int i = 0; i < depth; ++i) {
      try {
        names.push_back(find(frames[i]));
      } catch (const std::system_error& refused) {
        if (refused.code() != errc::denied_address) continue;
        // libprobe's own code takes no probe: this is how it is known.
        if (std::exchange(below, false)) names.clear();
      }
    }
    std::string line;
    for (std::size_t i = 0; i < names.size() && i < 8; ++i) line += (i == 0 ? "" : " < ") + names[i];
    return line.empty() ? "an unknown place" : line;
  }
};

}  // namespace libprobe::detail
