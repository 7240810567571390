// Code slots come back past a bound, but never while somebody may be inside of one.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <libprobe/libprobe.hpp>
#include <memory>
#include <thread>
#include <vector>

#include "control/registry.hpp"

namespace {

using libprobe::control::registry;

constexpr std::size_t bound = 2000;
constexpr std::size_t probes_at_once = 1500;
constexpr std::size_t function_bytes = 16;

/// Functions that a program made itself: each is `mov (%rdi), %rax; ret`, whose first instruction is copied.
class made_code {
 public:
  explicit made_code(std::size_t count) : size_{count * function_bytes} {
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (std::size_t i = 0; i < count; ++i) {
      constexpr unsigned char code[] = {0x48, 0x8b, 0x07, 0xc3};
      std::memcpy(at(i), code, sizeof code);
    }
    mprotect(memory_, size_, PROT_READ | PROT_EXEC);
  }
  ~made_code() { munmap(memory_, size_); }
  [[nodiscard]] void* at(std::size_t i) const { return static_cast<char*>(memory_) + i * function_bytes; }

 private:
  std::size_t size_;
  void* memory_;
};

int nothing(libprobe::probe&, libprobe::registers&) { return 0; }

/// Probes `probes_at_once` fresh places, hits each, and removes them all.
void probe_fresh_places(std::size_t round, const made_code& code) {
  std::vector<std::unique_ptr<libprobe::probe>> probes;
  std::vector<libprobe::probe*> pointers;
  for (std::size_t i = 0; i < probes_at_once; ++i) {
    probes.emplace_back(new libprobe::probe{
        .at = static_cast<const void*>(code.at(round * probes_at_once + i)), .pre_handler = nothing});
    pointers.push_back(probes.back().get());
  }
  ASSERT_FALSE(libprobe::register_probes(pointers)) << libprobe::last_error_detail();
  long value = 4711;
  for (const auto* p : pointers) {
    const auto function = reinterpret_cast<long (*)(long*)>(libprobe::address_of(*p));
    ASSERT_EQ(function(&value), 4711);
    ASSERT_EQ(libprobe::hits(*p), 1U);
  }
  libprobe::unregister_probes(pointers);
}

class code_reclaim : public testing::Test {
 protected:
  void SetUp() override { registry::instance().set_idle_bound(bound); }
  void TearDown() override { registry::instance().set_idle_bound(libprobe::control::slot_store::idle_bound); }
};

constexpr std::size_t rounds = 20;

TEST_F(code_reclaim, code_memory_is_bounded_though_addresses_never_repeat) {
  const made_code code{rounds * probes_at_once};
  for (std::size_t round = 0; round < rounds; ++round) probe_fresh_places(round, code);
  const auto needed = rounds * probes_at_once / libprobe::site::slots_in_chunk;
  EXPECT_LT(registry::instance().code_chunks(), needed / 2) << "kept all the code of " << rounds << " rounds";
}

extern "C" long blocking_call(long number, long a, long b, long c);
asm(R"(
        .text
        .globl  blocking_call
        .type   blocking_call, @function
blocking_call:
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        .globl  blocking_call_itself
blocking_call_itself:
        syscall
        ret
        .size   blocking_call, .-blocking_call
)");
extern "C" const char blocking_call_itself[];

// A thread that is blocked in a system call which runs in a slot holds that slot, whatever happens around it.
TEST_F(code_reclaim, a_slot_with_a_thread_inside_is_kept) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::atomic<long> answer{0};
  char byte = 0;
  {
    libprobe::probe p{.at = static_cast<const void*>(blocking_call_itself), .pre_handler = nothing};
    ASSERT_FALSE(libprobe::register_probe(p)) << libprobe::last_error_detail();
    std::thread reader{[&] { answer = blocking_call(SYS_read, ends[0], reinterpret_cast<long>(&byte), 1); }};
    while (libprobe::hits(p) == 0) std::this_thread::yield();
    std::this_thread::sleep_for(
        std::chrono::milliseconds{50});  // it blocks; if not, nothing is proven quiet either
    libprobe::unregister_probe(p);
    const made_code code{rounds * probes_at_once};
    for (std::size_t round = 0; round < rounds; ++round) probe_fresh_places(round, code);
    ASSERT_EQ(write(ends[1], "x", 1), 1);
    reader.join();
  }
  EXPECT_EQ(answer, 1);
  EXPECT_EQ(byte, 'x');
  close(ends[0]);
  close(ends[1]);
}

// While another thread runs nothing can be proven, and everything is kept: the code stays right.
TEST_F(code_reclaim, nothing_is_reclaimed_while_a_thread_runs) {
  const auto before = registry::instance().code_chunks();
  const made_code code{rounds * probes_at_once};
  std::atomic<bool> stop{false};
  std::thread busy{[&stop] {
    while (!stop) {
    }
  }};
  for (std::size_t round = 0; round < rounds; ++round) probe_fresh_places(round, code);
  stop = true;
  busy.join();
  EXPECT_GT(registry::instance().code_chunks(), before);
}

}  // namespace
