#include "profile/session.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace libprobe::profile {

namespace {

/// The buffer of one profiler, remembered. Several profilers may want the same place: then they look again.
struct remembered {
  std::uint64_t session;
  buffer* where;
};
constexpr std::size_t places = 8;
constinit thread_local remembered here[places] = {};

constinit thread_local std::uint64_t this_thread = 0;  // its serial
std::atomic<std::uint64_t> last_thread{0};

bool has_ended(pid_t thread) noexcept {
  return ::syscall(SYS_tgkill, ::getpid(), thread, 0) != 0 && errno == ESRCH;
}

// The thread that lives on in a child has another number there: what it owned looks like an ended thread's.
void forget_buffers() noexcept {
  for (auto& place : here) place = {};
  this_thread = 0;
}

}  // namespace

void session::prepare_fork() {
  static const int registered = ::pthread_atfork(nullptr, nullptr, forget_buffers);
  static_cast<void>(registered);
}

buffer* session::mine() noexcept {
  auto& place = here[id % places];
  if (place.session == id) return place.where;
  auto* const found = claim();
  if (found != nullptr) place = {id, found};
  return found;
}

// Its own, that of a thread that has ended, or a new one.
buffer* session::claim() noexcept {
  if (this_thread == 0) this_thread = last_thread.fetch_add(1, std::memory_order_relaxed) + 1;
  const auto self = static_cast<pid_t>(::syscall(SYS_gettid));
  for (auto* one = buffers.load(std::memory_order_acquire); one != nullptr; one = one->next) {
    if (one->serial.load(std::memory_order_relaxed) == this_thread) return one;
  }
  const auto take = [&](buffer& one) {
    one.serial.store(this_thread, std::memory_order_relaxed);
    one.begin(number.load(std::memory_order_relaxed));
    return &one;
  };
  for (auto* one = buffers.load(std::memory_order_acquire); one != nullptr; one = one->next) {
    auto owner = one->owner.load(std::memory_order_acquire);
    if (owner != self && !has_ended(owner)) continue;
    if (owner == self || one->owner.compare_exchange_strong(owner, self, std::memory_order_acq_rel))
      return take(*one);
  }
  auto* const fresh = buffer::make(room);
  if (fresh == nullptr) return nullptr;
  fresh->until_sample = sample_every;
  fresh->owner.store(self, std::memory_order_relaxed);
  take(*fresh);
  fresh->next = buffers.load(std::memory_order_relaxed);
  while (!buffers.compare_exchange_weak(fresh->next, fresh, std::memory_order_release,
                                        std::memory_order_relaxed)) {
  }
  return fresh;
}

}  // namespace libprobe::profile
