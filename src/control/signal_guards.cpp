#include "control/signal_guards.hpp"

#include <asm/unistd.h>
#include <gnu/libc-version.h>

#include <algorithm>

#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

namespace {

bool may_change_signals(long number) noexcept {
  constexpr long numbers[] = {-1, __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigtimedwait,
                              __NR_rt_sigpending};
  return std::find(std::begin(numbers), std::end(numbers), number) != std::end(numbers);
}

void find_in(const symbols::extent& function, bool (*answer)(registers&), std::vector<request>& found) {
  const auto* const code = reinterpret_cast<const std::uint8_t*>(function.start);
  for (const auto& call : arch::system_calls_in({code, function.end - function.start})) {
    const auto address = function.start + call.offset;
    if (!may_change_signals(call.number) || symbols::probeable(address) != errc::ok) continue;
    found.reserve(found.size() + 1);
    found.push_back(guard_at(address, answer));
  }
}

}  // namespace

std::vector<request> signal_guards(bool (*answer_signal_call)(registers&)) {
  std::vector<request> found;
#ifdef __SANITIZE_THREAD__
  // Built with ThreadSanitizer libprobe's own code calls its run-time library, which knows no thread yet (or
  // any more) where libc changes masks at a thread's beginning and end. Such builds test libprobe itself.
  return found;
#endif
  const auto modules = symbols::current_modules();
  const auto* const libc = modules->find(reinterpret_cast<std::uintptr_t>(&gnu_get_libc_version));
  if (libc == nullptr) return found;
  for (const auto& part : libc->segments) {
    if (!part.executable || !part.readable) continue;
    const std::span code{reinterpret_cast<const std::uint8_t*>(part.start), part.end - part.start};
    for (auto at = arch::next_system_call(code, 0); at < code.size();) {
      const auto function = symbols::function_at(part.start + at);
      if (function) find_in(*function, answer_signal_call, found);
      at = arch::next_system_call(code, function ? std::max(at + 1, function->end - part.start) : at + 1);
    }
  }
  return found;
}

}  // namespace libprobe::control
