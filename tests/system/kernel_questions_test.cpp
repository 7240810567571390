// The questions of the kernel's own tests, asked here: KUnit test_kprobes, the ftrace selftests insn_boundary
// and multiple_kprobes, the uprobe selftests regs_equal, regs_change, red_zone, race and fork.
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <utility>

#include "support/probing.hpp"

asm(R"(
        .text
        .p2align 4
        .type   kernel_red_zone, @function
kernel_red_zone:                        # a leaf function that keeps its locals below the stack pointer
        mov     %rdi, -8(%rsp)
        mov     %rdi, -64(%rsp)
        mov     %rdi, -128(%rsp)
        .globl  kernel_red_zone_probes
kernel_red_zone_probes:
        nopw    0x12345678(%rax,%rax)   # emulated
        movaps  %xmm0, %xmm0            # copied
        lea     kernel_red_zone(%rip), %rcx
        cmpb    $0, kernel_red_zone(%rip)       # copied, rip-relative
        jmp     1f                      # emulated
1:      mov     -8(%rsp), %rax
        add     -64(%rsp), %rax
        add     -128(%rsp), %rax
        ret
        .globl  kernel_red_zone_end
kernel_red_zone_end:
        .size   kernel_red_zone, .-kernel_red_zone

# 256 functions, each its number plus its argument
        .altmacro
        .macro  one n
        .type   kernel_many_\n, @function
kernel_many_\n:
        lea     \n(%rdi), %eax
        ret
        .size   kernel_many_\n, .-kernel_many_\n
        .pushsection .data.rel, "aw"
        .quad   kernel_many_\n
        .popsection
        .endm
        .pushsection .data.rel, "aw"
        .p2align 3
        .globl  kernel_many
kernel_many:
        .popsection
        .set    i, 0
        .rept   256
        one     %i
        .set    i, i+1
        .endr
        .noaltmacro
)");

extern "C" {
long kernel_red_zone(long);
extern const char kernel_red_zone_probes[], kernel_red_zone_end[];
extern int (*kernel_many[256])(int);
}

namespace libprobe {
namespace {

using test::just_count;

// ---- KUnit test_kprobes ----
constexpr int divisor = 4;
[[gnu::noinline]] int kprobe_target(int value) { return test::opaque(value) / divisor; }
[[gnu::noinline]] int kprobe_target2(int value) { return test::opaque(value) / divisor + 1; }
[[gnu::noinline]] int kprobe_recursion_target(int value) { return test::opaque(value) / divisor; }

int preempted = 0, pre_value = 0, post_value = 0;
int kp_pre_handler(probe&, registers&) {
  ++preempted;
  pre_value = 5;
  return 0;
}
void kp_post_handler(probe&, registers&) {
  EXPECT_EQ(pre_value, 5) << "post before pre";
  post_value = pre_value + 6;
}
void recursing_post_handler(probe&, registers&) {
  EXPECT_EQ(kprobe_recursion_target(24), 6);
  post_value = 1;
}

struct TestKprobes : testing::Test {
  TestKprobes() { pre_value = post_value = 0; }
};

TEST_F(TestKprobes, Kprobe) {
  probe kp{.at = &kprobe_target, .pre_handler = kp_pre_handler, .post_handler = kp_post_handler};
  ASSERT_FALSE(register_probe(kp));
  EXPECT_EQ(kprobe_target(24), 6);
  unregister_probe(kp);
  EXPECT_EQ(pre_value, 5);
  EXPECT_EQ(post_value, 11);
}

TEST_F(TestKprobes, Kprobes) {
  probe kp{.at = &kprobe_target, .pre_handler = kp_pre_handler, .post_handler = kp_post_handler};
  probe kp2{.at = &kprobe_target2, .pre_handler = kp_pre_handler, .post_handler = kp_post_handler};
  probe* const kps[] = {&kp, &kp2};
  ASSERT_FALSE(register_probes(kps));
  EXPECT_EQ(kprobe_target(24), 6);
  EXPECT_EQ(pre_value, 5);
  EXPECT_EQ(post_value, 11);
  pre_value = post_value = 0;
  EXPECT_EQ(kprobe_target2(24), 7);
  EXPECT_EQ(pre_value, 5);
  EXPECT_EQ(post_value, 11);
  unregister_probes(kps);
}

TEST_F(TestKprobes, KprobeMissed) {
  probe kp{.at = &kprobe_target, .pre_handler = kp_pre_handler, .post_handler = recursing_post_handler};
  probe missed{
      .at = &kprobe_recursion_target, .pre_handler = kp_pre_handler, .post_handler = kp_post_handler};
  probe* const kps[] = {&kp, &missed};
  ASSERT_FALSE(register_probes(kps));
  EXPECT_EQ(kprobe_target(24), 6);
  EXPECT_EQ(pre_value, 5);
  EXPECT_EQ(post_value, 1);
  EXPECT_EQ(nmissed(missed), 1U);
  EXPECT_EQ(hits(missed), 0U);
  unregister_probes(kps);
}

// ---- ftrace: kprobe_insn_boundary ----
TEST(Ftrace, InsnBoundary) {
  // The function's own decoding tells the boundaries: acceptance must agree with it for every byte, and
  // accepted probes must not disturb it.
  probe first{.at = "libc.so.6:getenv", .pre_handler = just_count};
  ASSERT_FALSE(register_probe(first));
  const auto* const start = static_cast<const std::uint8_t*>(address_of(first));
  unregister_probe(first);
  const auto before = test::bytes_at(start, 256);
  std::vector<std::size_t> accepted;
  std::vector<std::unique_ptr<probe>> probes;
  for (std::size_t offset = 0; offset < 256; ++offset) {
    auto p = std::make_unique<probe>();
    p->at = static_cast<const void*>(start + offset);
    p->pre_handler = just_count;
    const auto why = register_probe(*p);
    if (!why) {
      accepted.push_back(offset);
      probes.push_back(std::move(p));
    } else if (accepted.empty() || offset < 200) {
      EXPECT_TRUE(why == errc::not_instruction_boundary || why == errc::unknown_function) << why.message();
    }
    ASSERT_NE(getenv("PATH"), nullptr) << offset;
  }
  EXPECT_GT(accepted.size(), 20U);
  EXPECT_GT(hits(*probes.front()), 0U);
  probes.clear();
  EXPECT_EQ(test::bytes_at(start, 256), before);
}

// ---- ftrace: multiple_kprobes ----
TEST(Ftrace, MultipleKprobes) {
  std::vector<std::unique_ptr<probe>> probes;
  std::vector<probe*> all;
  for (auto* function : kernel_many) {
    probes.emplace_back(new probe{.at = function, .pre_handler = just_count});
    all.push_back(probes.back().get());
  }
  ASSERT_FALSE(register_probes(all));
  EXPECT_EQ(list_probes().size(), 256U);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(kernel_many[i](1), i + 1);
  for (auto* p : all) EXPECT_EQ(hits(*p), 1U);
  unregister_probes(all);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(kernel_many[i](1), i + 1);
  for (auto* p : all) EXPECT_EQ(hits(*p), 1U);
  EXPECT_TRUE(list_probes().empty());
}

// ---- uprobes: red_zone ----
TEST(Uprobes, RedZone) {
  std::vector<std::unique_ptr<probe>> probes;
  const auto size = static_cast<std::size_t>(kernel_red_zone_end - kernel_red_zone_probes);
  for (const auto flags : {probe_flags::none, probe_flags::single_step}) {
    for (std::size_t offset = 0; offset < size; ++offset) {
      probes.emplace_back(new probe{.at = static_cast<const void*>(kernel_red_zone_probes + offset),
                                    .pre_handler =
                                        [](probe&, registers&) {
                                          volatile char used[4096];
                                          for (auto& byte : used) byte = 0x55;
                                          return 0;
                                        },
                                    .post_handler = [](probe&, registers&) {},
                                    .flags = flags});
      if (register_probe(*probes.back())) probes.pop_back();
    }
    EXPECT_GE(probes.size(), 9U);
    for (long x = 1; x < 50; ++x) ASSERT_EQ(kernel_red_zone(x), 3 * x);
    for (const auto& p : probes) EXPECT_EQ(hits(*p), 49U);
    probes.clear();
  }
}

// ---- uprobes: race ----
TEST(Uprobes, RaceOfAttachingAndHitting) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&] {
      for (int x = 0; !stop; ++x) {
        if (kprobe_target(x) != x / divisor || kernel_many[x % 256](1) != x % 256 + 1) ++wrong;
      }
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 500; ++round) {
        probe own{.at = kernel_many[(round * 2 + t) % 256], .pre_handler = just_count};
        probe shared{
            .at = &kprobe_target, .pre_handler = just_count, .post_handler = [](probe&, registers&) {}};
        if (register_probe(own) || register_probe(shared)) ++wrong;
        unregister_probe(round % 2 == 0 ? own : shared);
      }
      stop = true;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_TRUE(list_probes().empty());
}

// ---- uprobes: fork ----
TEST(Uprobes, ForkedChildrenGoOnWithProbesAndChangeTheirOwn) {
  probe lasting{.at = &kprobe_target, .pre_handler = just_count};
  probe removed{.at = &kprobe_target2, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(lasting));
  ASSERT_FALSE(register_probe(removed));
  EXPECT_EQ(kprobe_target(24), 6);
  const auto body = [&] {
    if (kprobe_target(24) != 6 || hits(lasting) != 2) return 1;
    unregister_probe(removed);
    if (kprobe_target2(24) != 7 || hits(removed) != 0) return 2;
    probe fresh{.at = &kprobe_recursion_target, .pre_handler = just_count};
    if (register_probe(fresh)) return 3;
    if (kprobe_recursion_target(24) != 6 || hits(fresh) != 1) return 4;
    if (list_probes().size() != 2) return 5;
    std::thread{[] { kprobe_target(24); }}.join();
    if (hits(lasting) != 3) return 6;
    // And a grandchild.
    const auto grandchild = [&] {
      unregister_probe(lasting);
      return kprobe_target(24) == 6 && hits(lasting) == 3 ? 0 : 1;
    };
    return test::status_of_child(grandchild) == 0 ? 0 : 7;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(0));
  EXPECT_EQ(kprobe_target(24), 6);
  EXPECT_EQ(kprobe_target2(24), 7);
  EXPECT_EQ(hits(lasting), 2U) << "the parent is not affected";
  EXPECT_EQ(hits(removed), 1U);
}

TEST(Uprobes, ForkWhileOtherThreadsChangeProbes) {  // the first of this process, too
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; !stop; ++round) {
        // By name, so that the symbol tables are at work, too.
        probe p{.at = "kernel_many_" + std::to_string((round * 2 + t) % 256), .pre_handler = just_count};
        EXPECT_FALSE(register_probe(p));
      }
    });
  }
  for (int round = 0; round < 60; ++round) {
    const auto body = [] {
      alarm(30);
      probe p{.at = "libprobe::(anonymous namespace)::kprobe_target(int)", .pre_handler = just_count};
      if (register_probe(p)) return 1;
      if (kprobe_target(24) != 6 || hits(p) != 1) return 2;
      unregister_probe(p);
      return commit_probes() ? 3 : 0;
    };
    EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(0)) << round;
    if (HasFailure()) break;
  }
  stop = true;
  for (auto& thread : threads) thread.join();
}

TEST(Uprobes, ForkFromAHandler) {
  static pid_t child = -1;
  probe p{.at = &kprobe_target, .pre_handler = [](probe&, registers&) {
            child = fork();
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  const int answer = kprobe_target(24);
  if (child == 0) {
    unregister_probe(p);
    _exit(answer == 6 && kprobe_target(28) == 7 ? 0 : 1);
  }
  EXPECT_EQ(answer, 6);
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(test::told(status), test::exited_with(0));
}

}  // namespace
}  // namespace libprobe
