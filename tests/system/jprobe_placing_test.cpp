// Where jprobes may stand, in what order they run, how they rest and go; and what functions begin with.
#include <gmock/gmock.h>

#include <array>

#include "epoch/epoch.hpp"
#include "support/probing.hpp"

asm(R"(
        .text
        .macro shape name
        .p2align 4
        .type \name, @function
\name:
        .endm
        .macro shape_end name
        ret
        .size \name, .-\name
        .endm

        shape shape_jmp
        jmp     1f
        ud2
1:      lea     1(%rdi), %rax
        shape_end shape_jmp

        shape shape_jmp_memory
        jmp     *shape_target(%rip)
        .size shape_jmp_memory, .-shape_jmp_memory

        shape shape_jcc                 # carry, from the two below
        jc      1f
        lea     1(%rdi), %rax
        ret
1:      lea     2(%rdi), %rax
        shape_end shape_jcc
        shape shape_with_carry
        stc
        jmp     shape_jcc
        shape_end shape_with_carry
        shape shape_without_carry
        clc
        jmp     shape_jcc
        shape_end shape_without_carry

        shape shape_jrcxz
        jrcxz   1f
        lea     1(%rdi), %rax
        ret
1:      lea     2(%rdi), %rax
        shape_end shape_jrcxz

        shape shape_loop
        loop    1f
        lea     1(%rdi,%rcx), %rax
        ret
1:      lea     2(%rdi,%rcx), %rax
        shape_end shape_loop

        shape shape_call
        call    shape_jmp
        add     $5, %rax
        shape_end shape_call

        shape shape_call_register
        call    *%rsi
        add     $5, %rax
        shape_end shape_call_register

        shape shape_push
        push    %rbx
        mov     %rdi, %rbx
        lea     3(%rbx), %rax
        pop     %rbx
        shape_end shape_push

        shape shape_rip
        mov     shape_value(%rip), %rax
        add     %rdi, %rax
        shape_end shape_rip

        shape shape_ret
        shape_end shape_ret

        shape shape_landing_pad
        endbr64
        lea     7(%rdi), %rax
        shape_end shape_landing_pad

        .data
        .p2align 3
shape_value:  .quad 1000
shape_target: .quad shape_jmp
        .text
)");

extern "C" {
using shape = long(long, void*, long, long);
shape shape_jmp, shape_jmp_memory, shape_with_carry, shape_without_carry, shape_jrcxz, shape_loop, shape_call,
    shape_call_register, shape_push, shape_rip, shape_landing_pad, shape_jcc;
void shape_ret();
}

namespace libprobe {
namespace {

using test::opaque;
using testing::ElementsAre;

[[gnu::noinline]] int subject(int x) { return opaque(x) + 1; }
[[gnu::noinline]] int other(int x) { return opaque(x) + 2; }

template <class R, class... A>
void* entry(R (*function)(A...)) {
  return reinterpret_cast<void*>(function);
}
void nothing() {}
void* behind(const std::uint8_t* code, int offset) { return const_cast<std::uint8_t*>(code) + offset; }

// ---- first instructions

struct shape_case {
  const char* name;
  shape* function;
  shape* probed;
};
const shape_case shapes[] = {
    {"jmp", shape_jmp, shape_jmp},
    {"jmp through memory", shape_jmp_memory, shape_jmp_memory},
    {"jcc taken", shape_with_carry, shape_jcc},
    {"jcc not taken", shape_without_carry, shape_jcc},
    {"jrcxz", shape_jrcxz, shape_jrcxz},
    {"loop", shape_loop, shape_loop},
    {"call", shape_call, shape_call},
    {"call through register", shape_call_register, shape_call_register},
    {"push", shape_push, shape_push},
    {"rip-relative", shape_rip, shape_rip},
    {"endbr64", shape_landing_pad, shape_landing_pad},
};

std::vector<long> results_of(shape* function) {
  std::vector<long> results;
  for (const long n : {0L, 1L, 2L, 77L}) {
    results.push_back(opaque(function)(10, reinterpret_cast<void*>(&shape_push), 3, n));
  }
  return results;
}

int entered = 0;
void note_entry(long x, void*, long three, long) {
  if (x == 10 && three == 3) ++entered;
}
long again(long a, void* b, long c, long d) {
  return reinterpret_cast<shape*>(original(*current_replacement()))(a, b, c, d);
}

TEST(JprobeShapes, RunAsWithoutProbes) {
  for (const auto& one : shapes) {
    SCOPED_TRACE(one.name);
    const auto native = results_of(one.function);
    jprobe j{.at = one.probed, .entry = entry(note_entry)};
    retprobe r{.at = one.probed, .handler = [](retprobe_instance&, registers&) {}};
    probe k{.at = one.probed, .pre_handler = test::just_count, .post_handler = [](probe&, registers&) {}};
    replacement instead{.at = one.probed, .entry = entry(again)};
    entered = 0;

    ASSERT_FALSE(register_jprobe(j)) << last_error_detail();
    EXPECT_EQ(results_of(one.function), native);
    EXPECT_EQ(entered, 4);
    ASSERT_FALSE(register_retprobe(r));
    EXPECT_EQ(results_of(one.function), native);
    ASSERT_FALSE(register_probe(k));
    EXPECT_EQ(results_of(one.function), native);
    EXPECT_EQ(entered, 12);
    EXPECT_EQ(hits(r), 8U);
    EXPECT_EQ(hits(k), 4U);
    if (one.probed == &shape_jcc) {  // flags are no arguments: a call of the original has its own
      unregister_probe(k);
      unregister_jprobe(j);
      unregister_retprobe(r);
      continue;
    }
    ASSERT_FALSE(register_replacement(instead));
    EXPECT_EQ(results_of(one.function), native);
    EXPECT_EQ(hits(instead), 4U);
    unregister_probe(k);
    unregister_jprobe(j);
    unregister_retprobe(r);
    EXPECT_EQ(results_of(one.function), native);
    EXPECT_EQ(hits(instead), 8U);
    unregister_replacement(instead);
    EXPECT_EQ(results_of(one.function), native);
  }
}

TEST(JprobeShapes, ALoneReturn) {
  jprobe j{.at = &shape_ret, .entry = entry(nothing)};
  retprobe r{.at = &shape_ret, .handler = [](retprobe_instance&, registers&) {}};
  ASSERT_FALSE(register_jprobe(j)) << last_error_detail();
  ASSERT_FALSE(register_retprobe(r));
  for (int i = 0; i < 10; ++i) opaque (&shape_ret)();
  EXPECT_EQ(hits(j), 10U);
  EXPECT_EQ(hits(r), 10U);
  unregister_jprobe(j);
  unregister_retprobe(r);
}

// ---- entries

TEST(JprobePlacing, OnlyAtAnEntry) {
  const auto before = test::bytes_at(reinterpret_cast<void*>(&shape_push), 16);
  jprobe inside{.at = behind(test::code_of(shape_push), 1), .entry = entry(nothing)};
  const auto refused = register_jprobe(inside);
  EXPECT_EQ(refused, errc::not_function_entry);
  EXPECT_EQ(refused, std::errc::invalid_argument);
  EXPECT_FALSE(last_error_detail().empty());
  jprobe middle{.at = behind(test::code_of(shape_push), 2), .entry = entry(nothing)};
  EXPECT_TRUE(register_jprobe(middle));
  jprobe by_name{.at = "shape_push+1", .entry = entry(nothing)};
  EXPECT_EQ(register_jprobe(by_name), errc::not_function_entry);
  jprobe empty{.at = &subject};
  EXPECT_EQ(register_jprobe(empty), errc::no_handler);
  EXPECT_EQ(test::bytes_at(reinterpret_cast<void*>(&shape_push), 16), before);

  // All or nothing.
  jprobe good{.at = &subject, .entry = entry(nothing)};
  jprobe* const both[] = {&good, &inside};
  EXPECT_EQ(register_jprobes(both), errc::not_function_entry);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(good), 0U);
}

TEST(JprobePlacing, ALandingPadAndWhatFollowsAreEntries) {
  static long first, second;
  jprobe at_pad{.at = &shape_landing_pad, .entry = entry(+[](long x) { first = x; })};
  jprobe behind_pad{.at = behind(test::code_of(shape_landing_pad), 4),
                    .entry = entry(+[](long x) { second = x; })};
  ASSERT_FALSE(register_jprobe(at_pad));
  ASSERT_FALSE(register_jprobe(behind_pad)) << last_error_detail();
  EXPECT_EQ(opaque(&shape_landing_pad)(5, nullptr, 0, 0), 12);
  EXPECT_EQ(first, 5);
  EXPECT_EQ(second, 5);
  unregister_jprobe(at_pad);
  unregister_jprobe(behind_pad);
}

// ---- order

std::vector<int> order;

TEST(JprobePlacing, AllKindsRunInOrderOfRegistration) {
  probe k{.at = &subject, .pre_handler = [](probe&, registers&) {
            order.push_back(1);
            return 0;
          }};
  jprobe j{.at = &subject, .entry = entry(+[](int) { order.push_back(2); })};
  retprobe r{.at = &subject,
             .handler = [](retprobe_instance&, registers&) { order.push_back(4); },
             .entry_handler =
                 [](retprobe_instance&, registers&) {
                   order.push_back(3);
                   return 0;
                 }};
  jprobe last{.at = &subject, .entry = entry(+[](int) { order.push_back(5); })};
  ASSERT_FALSE(register_probe(k));
  ASSERT_FALSE(register_jprobe(j));
  ASSERT_FALSE(register_retprobe(r));
  ASSERT_FALSE(register_jprobe(last));
  order.clear();
  EXPECT_EQ(subject(1), 2);
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 5, 4));
  unregister_probe(k);
  ASSERT_FALSE(register_probe(k));
  unregister_jprobe(j);
  ASSERT_FALSE(register_jprobe(j));
  order.clear();
  EXPECT_EQ(subject(1), 2);
  EXPECT_THAT(order, ElementsAre(3, 5, 1, 2, 4));
  unregister_jprobe(last);
  unregister_jprobe(j);
  unregister_retprobe(r);
  unregister_probe(k);
}

TEST(JprobePlacing, AProbeThatRedirectsEndsTheHit) {
  probe k{.at = &subject, .pre_handler = [](probe&, registers& regs) {
            override_return(regs, 99);
            return 1;
          }};
  jprobe before{.at = &subject, .entry = entry(nothing)};
  jprobe after{.at = &subject, .entry = entry(nothing)};
  ASSERT_FALSE(register_jprobe(before));
  ASSERT_FALSE(register_probe(k));
  ASSERT_FALSE(register_jprobe(after));
  EXPECT_EQ(opaque(&subject)(1), 99);
  EXPECT_EQ(hits(before), 1U);
  EXPECT_EQ(hits(after), 0U);
  EXPECT_EQ(nmissed(after), 1U);
  unregister_jprobe(before);
  unregister_jprobe(after);
  unregister_probe(k);
}

// ---- resting and going

TEST(JprobePlacing, DisableAndEnable) {
  const auto text = test::bytes_at(reinterpret_cast<void*>(&subject), 8);
  jprobe p{.at = &subject, .entry = entry(nothing), .flags = probe_flags::disabled};
  ASSERT_FALSE(register_jprobe(p));
  EXPECT_EQ(test::bytes_at(reinterpret_cast<void*>(&subject), 8), text);
  subject(1);
  EXPECT_EQ(hits(p), 0U);
  ASSERT_FALSE(enable_jprobe(p));
  subject(1);
  EXPECT_EQ(hits(p), 1U);
  ASSERT_FALSE(disable_jprobe(p));
  subject(1);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(test::rows_at(address_of(p)).at(0).kind, 'j');
  EXPECT_TRUE(test::rows_at(address_of(p)).at(0).disabled);
  unregister_jprobe(p);
  EXPECT_EQ(enable_jprobe(p), errc::not_registered);
  EXPECT_EQ(test::bytes_at(reinterpret_cast<void*>(&subject), 8), text);
}

TEST(JprobePlacing, AllKindsShareOneGracePeriod) {
  std::array<jprobe, 4> j;
  std::array<retprobe, 4> r;
  std::array<probe, 4> k;
  std::vector<jprobe*> js;
  std::vector<retprobe*> rs;
  std::vector<probe*> ks;
  for (std::size_t i = 0; i < 4; ++i) {
    const location at = i % 2 == 0 ? location{&subject} : location{&other};
    j[i].at = r[i].at = k[i].at = at;
    j[i].entry = entry(nothing);
    r[i].handler = [](retprobe_instance&, registers&) {};
    k[i].pre_handler = test::just_count;
    js.push_back(&j[i]);
    rs.push_back(&r[i]);
    ks.push_back(&k[i]);
  }
  ASSERT_FALSE(register_jprobes(js));
  ASSERT_FALSE(register_retprobes(rs));
  ASSERT_FALSE(register_probes(ks));
  subject(1);
  other(1);
  const auto before = epoch::grace_periods();
  for (std::size_t i = 0; i < 4; ++i) {
    unregister_jprobe_fast(j[i]);
    unregister_retprobe_fast(r[i]);
    unregister_probe_fast(k[i]);
  }
  EXPECT_EQ(epoch::grace_periods(), before);
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(hits(j[i]) + hits(r[i]) + hits(k[i]), 3U);

  batch all;
  for (std::size_t i = 0; i < 4; ++i) all.add(j[i]).add(r[i]).add(k[i]);
  EXPECT_FALSE(all.commit());
  EXPECT_EQ(subject(1), 2);
  const auto armed = epoch::grace_periods();
  for (std::size_t i = 0; i < 4; ++i) all.remove(j[i]).remove(r[i]).remove(k[i]);
  EXPECT_FALSE(all.commit());
  EXPECT_EQ(epoch::grace_periods(), armed + 1);
  EXPECT_EQ(hits(j[0]), 1U);
  EXPECT_TRUE(test::rows_at(reinterpret_cast<void*>(&subject)).empty());
}

}  // namespace
}  // namespace libprobe
