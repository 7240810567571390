#include "control/guards.hpp"

#include <asm/unistd.h>
#include <gnu/libc-version.h>

#include <algorithm>

#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

// In src/hit; known here by name only, as the site calls it.
extern "C" bool libprobe_answer_signal_call(libprobe::registers& regs);

namespace libprobe::control {

namespace {

/// Keeps a site where nobody else has a probe.
struct guard : site::attachment {
  std::atomic<void*> handle{nullptr};
  std::atomic<std::uint64_t> calls{0}, none_missed{0};
};

bool release(site::attachment& a) noexcept {
  delete &static_cast<guard&>(a);
  return true;
}

bool may_change_signals(long number) noexcept {
  constexpr long numbers[] = {-1, __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_rt_sigtimedwait,
                              __NR_rt_sigpending};
  return std::find(std::begin(numbers), std::end(numbers), number) != std::end(numbers);
}

}  // namespace

request guard_at(std::uintptr_t address, bool (*stand_in)(registers&), arch::vector_use vectors) {
  auto* const made = new guard;
  made->vectors = vectors;
  made->hits.begin(made->calls, nullptr);
  made->missed = &made->none_missed;
  made->kind = 'g';
  made->release = release;
  request wanted;
  wanted.what = made;
  wanted.handle = &made->handle;
  wanted.address = address;
  wanted.stand_in = stand_in;
  return wanted;
}

namespace {

void find_in(const symbols::extent& function, std::vector<request>& found) {
  const auto* const code = reinterpret_cast<const std::uint8_t*>(function.start);
  for (const auto& call : arch::system_calls_in({code, function.end - function.start})) {
    const auto address = function.start + call.offset;
    if (!may_change_signals(call.number) || symbols::probeable(address) != errc::ok) continue;
    found.reserve(found.size() + 1);
    found.push_back(guard_at(address, libprobe_answer_signal_call));
  }
}

}  // namespace

std::vector<request> guard_requests() {
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
      if (function) find_in(*function, found);
      at = arch::next_system_call(code, function ? std::max(at + 1, function->end - part.start) : at + 1);
    }
  }
  return found;
}

}  // namespace libprobe::control
