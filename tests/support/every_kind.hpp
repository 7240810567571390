// A probe of each kind, on a function of its own, and what its handlers do.
#pragma once

#include <atomic>
#include <functional>

#include "support/probing.hpp"

namespace libprobe::test {

/// Functions that are each called, never inlined, and of one kind: f<N>(x) is x + N + 1.
template <int N>
[[gnu::noipa]] int target(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + N + 1;
}

/// Where a handler can be.
enum class moment : int { pre, post, entry, jprobe_entry, returned, replaced };
inline constexpr moment every_moment[] = {moment::pre,          moment::post,     moment::entry,
                                          moment::jprobe_entry, moment::returned, moment::replaced};
inline std::string name_of(moment m) {
  constexpr const char* names[] = {"Pre", "Post", "RetprobeEntry", "JprobeEntry", "Return", "Replacement"};
  return names[static_cast<int>(m)];
}

/// A probe of each kind; whatever runs at a moment calls `action`, and counts.
class every_kind {
 public:
  std::function<void(moment)> action;

  every_kind() { current = this; }
  ~every_kind() {
    remove();
    current = nullptr;
  }
  every_kind(const every_kind&) = delete;
  every_kind& operator=(const every_kind&) = delete;

  std::error_code place() {
    batch all;
    all.add(before_).add(after_).add(enters_).add(called_).add(returns_).add(replaced_);
    return all.commit();
  }
  void remove() {
    batch all;
    all.remove(before_).remove(after_).remove(enters_).remove(called_).remove(returns_).remove(replaced_);
    all.commit();
  }
  /// Calls the function whose probe has a handler at that moment; false if its result is wrong.
  static bool call(moment m, int x = 1) {
    constexpr int (*functions[])(int) = {target<0>, target<1>, target<2>, target<3>, target<4>, target<5>};
    const auto n = static_cast<int>(m);
    return opaque(functions[n])(x) == x + n + 1;
  }
  static bool call_all() {
    bool good = true;
    for (const auto m : every_moment) good = call(m) && good;
    return good;
  }
  [[nodiscard]] std::uint64_t seen(moment m) const { return seen_[static_cast<int>(m)]; }
  [[nodiscard]] std::uint64_t missed(moment m) const {
    switch (m) {
      case moment::pre:
        return nmissed(before_);
      case moment::post:
        return nmissed(after_);
      case moment::entry:
        return nmissed(enters_);
      case moment::jprobe_entry:
        return nmissed(called_);
      case moment::returned:
        return nmissed(returns_);
      case moment::replaced:
        return nmissed(replaced_);
    }
    return 0;
  }
  /// Of whichever kind it is: as unregister_KIND() and its like would.
  void with(moment m, auto&& visit) {
    switch (m) {
      case moment::pre:
        return visit(before_);
      case moment::post:
        return visit(after_);
      case moment::entry:
        return visit(enters_);
      case moment::jprobe_entry:
        return visit(called_);
      case moment::returned:
        return visit(returns_);
      case moment::replaced:
        return visit(replaced_);
    }
  }
  [[nodiscard]] std::uint64_t hits_of(moment m) {
    std::uint64_t count = 0;
    with(m, [&](auto& p) { count = hits(p); });
    return count;
  }

 private:
  static inline every_kind* current = nullptr;

  static void at(moment m) {
    ++current->seen_[static_cast<int>(m)];
    if (current->action) current->action(m);
  }
  static int instead(int x) {
    const auto* self = current_replacement();
    at(moment::replaced);
    return reinterpret_cast<int (*)(int)>(original(*self))(x);
  }

  std::atomic<std::uint64_t> seen_[6]{};
  probe before_{.at = &target<0>, .pre_handler = [](probe&, registers&) {
                  at(moment::pre);
                  return 0;
                }};
  probe after_{.at = &target<1>, .post_handler = [](probe&, registers&) { at(moment::post); }};
  retprobe enters_{.at = &target<2>, .entry_handler = [](retprobe_instance&, registers&) {
                     at(moment::entry);
                     return 0;
                   }};
  jprobe called_{.at = &target<3>, .entry = reinterpret_cast<void*>(+[](int) { at(moment::jprobe_entry); })};
  retprobe returns_{.at = &target<4>,
                    .handler = [](retprobe_instance&, registers&) { at(moment::returned); }};
  replacement replaced_{.at = &target<5>, .entry = reinterpret_cast<void*>(&instead)};
};

}  // namespace libprobe::test
