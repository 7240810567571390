// Random numbers that are the same in every run.
#pragma once

#include <errno.h>
#include <sys/random.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <libprobe/error.hpp>
#include <libprobe/testing/stub.hpp>
#include <libprobe/testing/thread.hpp>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

namespace libprobe {

/// Until its end the sources of random numbers give a sequence that depends on the seed alone, for the
/// threads in scope: getrandom(), getentropy(), arc4random() and its kin, rand(), random(), lrand48() and
/// drand48(), and std::random_device in libstdc++.so. Sources that this libc does not have are left out.
/// Threads in scope share the sequence. Code that asks the kernel or the CPU by itself is not reached: a stub
/// for its own function is (RAND_bytes of libcrypto, say).
class fixed_random {
 public:
  explicit fixed_random(std::uint64_t seed = 0, thread_scope whose = all_threads) : state_{seed} {
    add<ssize_t(void*, std::size_t, unsigned)>("libc.so.6:getrandom", whose,
                                               [this](auto, void* to, std::size_t n, unsigned) {
                                                 fill(to, n);
                                                 return static_cast<ssize_t>(n);
                                               });
    add<int(void*, std::size_t)>("libc.so.6:getentropy", whose, [this](auto, void* to, std::size_t n) {
      if (n > 256) return errno = EIO, -1;
      fill(to, n);
      return 0;
    });
    add<void(void*, std::size_t)>("libc.so.6:arc4random_buf", whose,
                                  [this](auto, void* to, std::size_t n) { fill(to, n); });
    add<std::uint32_t()>("libc.so.6:arc4random", whose, [this](auto) { return bits(32); });
    add<std::uint32_t(std::uint32_t)>(
        "libc.so.6:arc4random_uniform", whose,
        [this](auto, std::uint32_t bound) { return bound == 0 ? 0 : bits(32) % bound; });
    add<int()>("libc.so.6:rand", whose, [this](auto) { return static_cast<int>(bits(31)); });
    add<long()>("libc.so.6:random", whose, [this](auto) { return static_cast<long>(bits(31)); });
    add<long()>("libc.so.6:lrand48", whose, [this](auto) { return static_cast<long>(bits(31)); });
    add<double()>("libc.so.6:drand48", whose, [this](auto) { return bits(32) / 4294967296.0; });
    add<unsigned(void*)>("libstdc++.so.6:std::random_device::_M_getval()", whose,
                         [this](auto, void*) { return bits(32); });
  }
  fixed_random(const fixed_random&) = delete;
  fixed_random& operator=(const fixed_random&) = delete;

 private:
  template <class F, class Callable>
  void add(const char* name, thread_scope whose, Callable callable) {
    const unwatched own_work;
    try {
      stubs_.push_back(std::make_unique<one_stub<F>>(name, std::move(callable), whose));
    } catch (const std::system_error& refused) {
      if (refused.code() != std::errc::no_such_file_or_directory) throw;
    }
  }
  // SplitMix64 (Steele, Lea, Flood, 2014).
  std::uint64_t next() noexcept {
    auto z = state_.fetch_add(0x9e3779b97f4a7c15) + 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint32_t bits(unsigned count) noexcept { return static_cast<std::uint32_t>(next() >> (64 - count)); }
  void fill(void* to, std::size_t n) noexcept {
    auto* at = static_cast<unsigned char*>(to);
    for (std::size_t left = n; left > 0;) {
      const auto word = next();
      const auto part = std::min(left, sizeof word);
      std::memcpy(at, &word, part);
      at += part;
      left -= part;
    }
  }

  struct any_stub {
    virtual ~any_stub() = default;
  };
  template <class F>
  struct one_stub final : any_stub {
    template <class Callable>
    one_stub(const char* name, Callable callable, thread_scope whose)
        : what{name, std::move(callable), whose} {}
    stub<F> what;
  };

  std::atomic<std::uint64_t> state_;
  std::vector<std::unique_ptr<any_stub>> stubs_;
};

}  // namespace libprobe
