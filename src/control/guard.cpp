#include "control/guard.hpp"

#include <atomic>

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

}  // namespace libprobe::control
