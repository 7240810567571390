// What the machine refuses: memory at any allocation, code memory, signal handlers, writing text. Most cases
// are children, so that each refusal meets a libprobe that has done nothing yet.
#include <malloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "support/failing_allocator.hpp"
#include "support/probing.hpp"
#include "support/refusing.hpp"

asm(R"(
        .text
        .type   refusals_copied, @function
refusals_copied:                        # long (): the first instruction needs a slot near by
        push    refusals_word(%rip)
        pop     %rax
        ret
        .size   refusals_copied, .-refusals_copied
        .type   refusals_emulated, @function
refusals_emulated:
        nop
        mov     $4, %eax
        ret
        .size   refusals_emulated, .-refusals_emulated
        .pushsection .data
        .p2align 3
refusals_word:
        .quad   3
        .popsection
)");

extern "C" {
long refusals_copied();
long refusals_emulated();
}

namespace libprobe {
namespace {

using test::allowed;
using test::just_count;
using test::refuse_system_calls;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // their run-time libraries need memory and system calls themselves
#else
constexpr bool sanitized = false;
#endif

constexpr int skipped = 77;

template <class Body>
void in_child(Body body) {
  const auto status = test::status_of_child(body);
  if (WIFEXITED(status) && WEXITSTATUS(status) == skipped) GTEST_SKIP() << "no seccomp here";
  EXPECT_EQ(test::told(status), test::exited_with(0));
}

TEST(Refused, SignalHandlers) {
  in_child([] {
    if (!refuse_system_calls({SYS_rt_sigaction}, EPERM)) return skipped;
    probe p{.at = refusals_copied, .pre_handler = just_count};
    const auto before = test::bytes_at(test::code_of(refusals_copied), 8);
    const auto why = register_probe(p);
    if (why != errc::signal_refused || why != std::errc::operation_not_supported) return 1;
    if (test::bytes_at(test::code_of(refusals_copied), 8) != before) return 2;
    return refusals_copied() == 3 && list_probes().empty() ? 0 : 3;
  });
}

TEST(Refused, WritingTextInAnyWay) {
  if (sanitized) GTEST_SKIP();
  in_child([] {
    if (!refuse_system_calls({SYS_pwrite64, SYS_mremap}, EACCES)) return skipped;
    probe p{.at = refusals_copied, .pre_handler = just_count};
    probe q{.at = refusals_emulated, .pre_handler = just_count};
    if (register_probe(p) != errc::text_not_writable) return 1;
    if (register_probe(q) != errc::text_not_writable) return 2;
    return refusals_copied() == 3 && refusals_emulated() == 4 && list_probes().empty() ? 0 : 3;
  });
}

TEST(Refused, ProcSelfMemAlone) {
  if (sanitized) GTEST_SKIP();
  in_child([] {  // there is a second way
    if (!refuse_system_calls({SYS_pwrite64}, EPERM)) return skipped;
    probe p{.at = refusals_copied, .pre_handler = just_count};
    if (register_probe(p)) return 1;
    if (refusals_copied() != 3 || hits(p) != 1) return 2;
    unregister_probe(p);
    return refusals_copied() == 3 && hits(p) == 1 ? 0 : 3;
  });
}

TEST(Refused, Membarrier) {
  in_child([] {  // dearer, but it works
    if (!refuse_system_calls({SYS_membarrier}, ENOSYS)) return skipped;
    for (int round = 0; round < 20; ++round) {
      std::atomic<bool> stop{false};
      std::thread caller{[&] {
        while (!stop) {
          if (refusals_copied() != 3) abort();
        }
      }};
      {
        probe p{.at = refusals_copied, .pre_handler = just_count};
        if (register_probe(p)) return 1;
        while (hits(p) == 0) std::this_thread::yield();
      }
      stop = true;
      caller.join();
    }
    return 0;
  });
}

TEST(Refused, CodeMemory) {
  if (sanitized) GTEST_SKIP();
  in_child([] {
    // The heap keeps what it has once had, so that only mappings are refused below.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    std::free(std::malloc(64 << 20));
    // A jump would need code memory at once.
    constexpr auto trap = probe_flags::no_jump;
    probe emulated{.at = refusals_emulated, .pre_handler = just_count, .flags = trap};
    if (register_probe(emulated)) return 1;  // the symbol tables have been read
    const rlimit none{1, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &none) != 0) return 2;
    probe copied{.at = refusals_copied, .pre_handler = just_count, .flags = trap};
    probe also{.at = refusals_emulated, .pre_handler = just_count, .flags = trap};
    probe* const both[] = {&also, &copied};
    const auto before = test::bytes_at(test::code_of(refusals_copied), 8);
    const auto why = register_probes(both);
    if (why != errc::out_of_code_memory || why != std::errc::not_enough_memory) return 3;
    if (test::bytes_at(test::code_of(refusals_copied), 8) != before || list_probes().size() != 1) return 4;
    if (refusals_copied() != 3 || refusals_emulated() != 4 || hits(also) != 0) return 5;
    const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &all) != 0) return 6;
    if (register_probes(both)) return 7;
    return refusals_copied() == 3 && hits(copied) == 1 ? 0 : 8;
  });
}

/// Calls `action` with each allocation in turn failing, until it gets by with what it may have.
template <class Action, class Check>
int at_any_allocation(Action action, Check check) {
  int failures = 0;
  for (long nth = 0; nth < 20'000; ++nth) {
    allowed = nth;
    const std::error_code why = action();
    const bool reached = allowed < 0;
    allowed = -1;
    if (!why && !reached) return failures;
    if (why) {
      EXPECT_EQ(why, errc::out_of_memory);
      ++failures;
    }
    check(why);
    if (testing::Test::HasFailure()) return failures;
  }
  ADD_FAILURE() << "it never got by";
  return failures;
}

TEST(Refused, AnyAllocationOfARegistration) {
  probe p{.at = "refusals_copied", .pre_handler = just_count};
  probe q{.at = refusals_emulated, .pre_handler = just_count};
  probe* const both[] = {&p, &q};
  ASSERT_FALSE(register_probes(both));  // the symbol tables are read once, and kept
  unregister_probes(both);
  const auto before = test::bytes_at(test::code_of(refusals_copied), 24);
  std::uint64_t calls = 0;
  const int failures =
      at_any_allocation([&] { return register_probes(both); },
                        [&](std::error_code why) {
                          EXPECT_EQ(refusals_copied(), 3);
                          if (why) {
                            EXPECT_EQ(test::bytes_at(test::code_of(refusals_copied), 24), before);
                            EXPECT_TRUE(list_probes().empty());
                            EXPECT_EQ(hits(p), calls);
                          } else {  // it could do without that one
                            calls = 1;
                            EXPECT_EQ(hits(p), 1U);
                            unregister_probes(both);
                          }
                        });
  EXPECT_GT(failures, 5);
  EXPECT_EQ(refusals_copied(), 3);
  EXPECT_EQ(hits(p), 1U);
}

TEST(Refused, NoAllocationOfARemoval) {
  probe p{.at = refusals_copied, .pre_handler = just_count};
  for (long nth = 0; nth < 20; ++nth) {
    ASSERT_FALSE(register_probe(p));
    allowed = nth;
    unregister_probe(p);
    allowed = -1;
    EXPECT_EQ(refusals_copied(), 3);
    EXPECT_EQ(hits(p), 0U);
    EXPECT_TRUE(list_probes().empty());
  }
}

TEST(Refused, AnyAllocationOfEnableAndDisable) {
  probe p{.at = refusals_copied, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  at_any_allocation([&] { return disable_probe(p); },
                    [&](std::error_code) { EXPECT_FALSE(enable_probe(p)); });
  at_any_allocation([&] { return enable_probe(p); },
                    [&](std::error_code) { EXPECT_FALSE(disable_probe(p)); });
  EXPECT_EQ(refusals_copied(), 3);
  EXPECT_EQ(hits(p), 1U);
}

}  // namespace
}  // namespace libprobe
