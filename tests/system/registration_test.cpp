// Each refusal from a real cause, and that a refused registration leaves text and probes as they were.
#include <gmock/gmock.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <cerrno>
#include <thread>

#include "os/text.hpp"
#include "support/probing.hpp"

asm(R"(
        .text
        .p2align 4
        .type register_victim, @function
register_victim:                        # boundaries: 0 4 7 12 19 21 25 28 31
        endbr64
        mov     %rdi, %rax
        mov     $5, %ecx
        lea     1(%rax,%rcx,8), %rax
        .byte   0x48, 0x8d, 0x80, 0, 0, 0, 0    # lea 0(%rax), %rax
        .byte   0x0f, 0x1f, 0x40, 0x00          # nopl 0(%rax)
        push    %rax
        pop     %rax
        ret
        .size register_victim, .-register_victim

        .type register_odd, @function
register_odd:                           # never called
        nop
        int3
        lret
        ljmp    *(%rax)
        int1
        mov     %eax, %ss
        .byte   0x06                    # push %es: no instruction in 64-bit mode
        nop
        .size register_odd, .-register_odd

        .type register_restartable, @function
register_restartable:
        nop
1:      nop
        nop
2:      ret
3:      ret
        .size register_restartable, .-register_restartable
        .pushsection __rseq_cs, "aw"
        .p2align 5
        .long   0, 0
        .quad   1b, 2b-1b, 3b           # struct rseq_cs: start_ip, post_commit_offset, abort_ip
        .popsection

        .pushsection nameless_code, "ax"
        .p2align 4
1:      nop
        ret
        .popsection
        .pushsection .data.rel, "aw"
register_nameless:
        .quad   1b
        .popsection

        .pushsection .text.paged, "ax"
        .p2align 12
        .irp    n, 0, 1, 2, 3
        .globl  register_page\n
        .type   register_page\n, @function
register_page\n:
        lea     \n(%rdi), %rax
        nopl    (%rax)
        ret
        .size   register_page\n, .-register_page\n
        .p2align 12
        .endr
        .popsection
)");

extern "C" {
extern const std::uint8_t register_victim[];
extern const std::uint8_t register_odd[];
extern const std::uint8_t register_restartable[];
extern const std::uint8_t* const register_nameless;
int register_page0(int);
int register_page1(int);
int register_page2(int);
int register_page3(int);
}

namespace registration_targets {

[[gnu::noinline]] int overloaded(int x) { return libprobe::test::opaque(x) + 1; }
[[gnu::noinline]] double overloaded(double x) { return libprobe::test::opaque(x) + 1; }

struct shape {
  virtual ~shape() = default;
  [[gnu::noinline]] virtual int area() { return libprobe::test::opaque(3); }
  [[gnu::noinline]] int sides() { return libprobe::test::opaque(4); }
};

}  // namespace registration_targets

namespace libprobe {
namespace {

using test::just_count;

std::error_code refusal_of(location at) {
  probe p{.at = std::move(at), .pre_handler = just_count};
  const auto why = register_probe(p);
  EXPECT_EQ(address_of(p) == nullptr, static_cast<bool>(why));
  return why;
}
location inside(const std::uint8_t* code, std::size_t offset) {
  return location{static_cast<const void*>(code + offset)};
}

TEST(Refusal, NamesThatAreNotThere) {
  EXPECT_EQ(refusal_of("no_such_function_here"), errc::symbol_not_found);
  EXPECT_EQ(refusal_of("libc.so.6:no_such_function_here"), errc::symbol_not_found);
  EXPECT_THAT(last_error_detail(), testing::HasSubstr("no_such_function_here"));
  EXPECT_EQ(refusal_of("libnowhere.so.1:puts"), errc::module_not_found);
  EXPECT_THAT(last_error_detail(), testing::HasSubstr("libnowhere.so.1"));
}

TEST(Refusal, AmbiguousNamesListTheirCandidates) {
  EXPECT_EQ(refusal_of("registration_targets::overloaded"), errc::ambiguous_symbol);
  EXPECT_THAT(last_error_detail(), testing::HasSubstr("overloaded(int)"));
  EXPECT_THAT(last_error_detail(), testing::HasSubstr("overloaded(double)"));
  EXPECT_EQ(refusal_of("registration_targets::overloaded(int)"), std::error_code{});
  EXPECT_EQ(registration_targets::overloaded(1), 2);
  EXPECT_EQ(registration_targets::overloaded(1.0), 2.0);
}

TEST(Refusal, MalformedLocations) {
  for (const char* name : {"", " ", "puts+", "puts+0xzz", ":puts", "a:b:c", "0x"}) {
    EXPECT_EQ(refusal_of(name), std::errc::invalid_argument) << name;
    EXPECT_EQ(refusal_of(name), errc::malformed_location) << name;
  }
  EXPECT_EQ(refusal_of(nullptr), errc::malformed_location);
  EXPECT_EQ(refusal_of(location{}), errc::malformed_location);
  EXPECT_EQ(refusal_of(static_cast<int (*)(int)>(nullptr)), errc::malformed_location);
  EXPECT_EQ(refusal_of(&registration_targets::shape::area), errc::malformed_location);
  EXPECT_EQ(refusal_of(&registration_targets::shape::sides), std::error_code{});
}

TEST(Refusal, WhatIsNoCode) {
  static const int constant = 5;
  int local = 5;
  EXPECT_EQ(refusal_of(&constant), errc::not_executable);
  EXPECT_EQ(refusal_of(static_cast<const void*>(&local)), errc::not_executable);
  EXPECT_EQ(refusal_of(reinterpret_cast<const void*>(16)), errc::not_executable);
  EXPECT_EQ(refusal_of("0x10"), errc::not_executable);
  EXPECT_EQ(refusal_of(reinterpret_cast<const void*>(~0UL)), errc::not_executable);
}

TEST(Refusal, FunctionsThatNobodyKnows) {
  EXPECT_EQ(refusal_of(inside(register_nameless, 0)), errc::unknown_function);
  EXPECT_EQ(refusal_of(inside(register_nameless, 1)), errc::unknown_function);
}

TEST(Refusal, EveryByteThatBeginsNoInstruction) {
  const std::vector<std::size_t> boundaries{0, 4, 7, 12, 17, 24, 28, 29, 30};
  const auto before = test::bytes_at(register_victim, 31);
  for (std::size_t offset = 0; offset <= boundaries.back(); ++offset) {
    const bool good = std::find(boundaries.begin(), boundaries.end(), offset) != boundaries.end();
    EXPECT_EQ(refusal_of(inside(register_victim, offset)),
              good ? std::error_code{} : errc::not_instruction_boundary)
        << offset;
    EXPECT_EQ(test::bytes_at(register_victim, 31), before);
  }
  // Also while its neighbours are probed, when the bytes in memory are no longer those that count.
  probe first{.at = inside(register_victim, 0), .pre_handler = just_count};
  probe second{.at = inside(register_victim, 7), .pre_handler = just_count};
  ASSERT_FALSE(register_probe(first));
  ASSERT_FALSE(register_probe(second));
  EXPECT_EQ(refusal_of(inside(register_victim, 8)), errc::not_instruction_boundary);
  EXPECT_EQ(refusal_of(inside(register_victim, 12)), std::error_code{});
}

TEST(Refusal, InstructionsThatCannotBeDisplaced) {
  EXPECT_EQ(refusal_of(inside(register_odd, 0)), std::error_code{});
  EXPECT_EQ(refusal_of(inside(register_odd, 1)), errc::unsupported_instruction) << "int3";
  EXPECT_EQ(refusal_of(inside(register_odd, 2)), errc::unsupported_instruction) << "lret";
  EXPECT_EQ(refusal_of(inside(register_odd, 3)), errc::unsupported_instruction) << "ljmp";
  EXPECT_EQ(refusal_of(inside(register_odd, 5)), errc::unsupported_instruction) << "int1";
  EXPECT_EQ(refusal_of(inside(register_odd, 6)), errc::unsupported_instruction) << "mov ss";
  EXPECT_EQ(refusal_of(inside(register_odd, 8)), errc::undecodable_instruction);
  EXPECT_EQ(refusal_of(inside(register_odd, 9)), errc::undecodable_instruction) << "behind it nobody knows";
}

TEST(Refusal, PlacesThatMustNotBeProbed) {
  EXPECT_EQ(refusal_of(&register_probe), errc::denied_address);
  EXPECT_EQ(refusal_of(&commit_probes), errc::denied_address);
  EXPECT_EQ(refusal_of("__errno_location"), errc::denied_address);
  EXPECT_EQ(refusal_of("linux-vdso.so.1:__vdso_clock_gettime"), errc::denied_address);
  const auto vdso = getauxval(AT_SYSINFO_EHDR);
  EXPECT_EQ(refusal_of(reinterpret_cast<const void*>(vdso + 0x1000)), errc::denied_address);
  EXPECT_EQ(refusal_of(inside(register_restartable, 0)), std::error_code{});
  EXPECT_EQ(refusal_of(inside(register_restartable, 1)), errc::denied_address);
  EXPECT_EQ(refusal_of(inside(register_restartable, 2)), errc::denied_address);
}

TEST(Refusal, ProbesWithoutHandlers) {
  probe p{.at = register_page0};
  EXPECT_EQ(register_probe(p), errc::no_handler);
}

TEST(Refusal, WhatIsRegisteredAlready) {
  probe p{.at = register_page0, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(register_page0(1), 1);
  EXPECT_EQ(register_probe(p), errc::already_registered);
  EXPECT_EQ(hits(p), 1U) << "the refused registration has reset nothing";
  probe other{.at = register_page1, .pre_handler = just_count};
  probe* const with_known[] = {&other, &p};
  EXPECT_EQ(register_probes(with_known), errc::already_registered);
  probe* const twice[] = {&other, &other};
  EXPECT_EQ(register_probes(twice), errc::already_registered);
  EXPECT_EQ(register_page1(1), 2);
  EXPECT_EQ(hits(other), 0U);
  EXPECT_EQ(list_probes().size(), 1U);
}

TEST(Refusal, OneObjectByManyThreadsAtOnceIsRegisteredOnce) {
  for (int round = 0; round < 300; ++round) {
    probe p{.at = register_page0, .pre_handler = just_count};
    std::atomic<int> ready{0}, done{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        for (++ready; ready < 3;) std::this_thread::yield();
        if (!register_probe(p)) ++done;
      });
    }
    for (auto& thread : threads) thread.join();
    ASSERT_EQ(done, 1);
    ASSERT_EQ(list_probes().size(), 1U);
  }
  EXPECT_TRUE(list_probes().empty());
}

TEST(Refusal, EnablingAndDisablingNeedARegisteredProbe) {
  probe p{.at = register_page0, .pre_handler = just_count};
  EXPECT_EQ(enable_probe(p), errc::not_registered);
  EXPECT_EQ(disable_probe(p), errc::not_registered);
  ASSERT_FALSE(register_probe(p));
  unregister_probe_fast(p);
  EXPECT_EQ(enable_probe(p), errc::not_registered) << "queued";
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(disable_probe(p), errc::not_registered);
}

int counted_refusals = 0;
int refuse_from = 0;
int refuse_to = 0;
bool refuse_pages(std::uintptr_t page) {
  const auto first = reinterpret_cast<std::uintptr_t>(&register_page0);
  if (page < first || page >= first + 4 * 4096) return false;
  ++counted_refusals;
  return counted_refusals >= refuse_from && counted_refusals <= refuse_to;
}

struct WriteRefusal : testing::Test {
  ~WriteRefusal() override { os::set_write_refusal(nullptr); }
  static constexpr int all_further = 1'000'000;
  static void refuse(int from, int to = all_further) {
    counted_refusals = 0;
    refuse_from = from;
    refuse_to = to;
    os::set_write_refusal(refuse_pages);
  }
  static std::vector<std::uint8_t> text() { return test::bytes_at(test::code_of(&register_page0), 4 * 4096); }
  static void call_all() {
    EXPECT_EQ(register_page0(1), 1);
    EXPECT_EQ(register_page1(1), 2);
    EXPECT_EQ(register_page2(1), 3);
    EXPECT_EQ(register_page3(1), 4);
  }
  probe p[4]{{.at = register_page0, .pre_handler = just_count},
             {.at = register_page1, .pre_handler = just_count},
             {.at = register_page2, .pre_handler = just_count},
             {.at = register_page3, .pre_handler = just_count}};
  probe* all[4] = {&p[0], &p[1], &p[2], &p[3]};
};

TEST_F(WriteRefusal, AtAnyPageNothingIsDone) {
  const auto before = text();
  for (int nth = 1; nth <= 4; ++nth) {
    refuse(nth, nth);
    EXPECT_EQ(register_probes(all), errc::text_not_writable) << nth;
    os::set_write_refusal(nullptr);
    EXPECT_EQ(text(), before) << nth;
    EXPECT_TRUE(list_probes().empty());
    call_all();
    for (const auto& one : p) {
      EXPECT_EQ(hits(one), nth == 1 ? 0U : 1U) << "as after the last round";
      EXPECT_EQ(address_of(one) == nullptr, nth == 1);
    }
    ASSERT_FALSE(register_probes(all)) << "it works again when the refusal is gone";
    call_all();
    for (const auto& one : p) EXPECT_EQ(hits(one), 1U);
    unregister_probes(all);
    EXPECT_EQ(text(), before) << nth;
  }
}

TEST_F(WriteRefusal, ProbesBesideARefusedOneAreUntouched) {
  probe lasting{.at = register_page2, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(lasting));
  const auto before = text();
  refuse(2, 2);
  EXPECT_EQ(register_probes(all), errc::text_not_writable);
  EXPECT_EQ(text(), before);
  call_all();
  EXPECT_EQ(hits(lasting), 1U);
  EXPECT_EQ(nmissed(lasting), 0U);
  EXPECT_EQ(list_probes().size(), 1U);
}

TEST_F(WriteRefusal, ABreakpointThatCannotBeTakenBackIsHarmless) {
  const auto before = text();
  ASSERT_FALSE(register_probes(all));
  const auto armed = text();
  for (auto* one : all) unregister_probe_fast(*one);
  refuse(1);
  EXPECT_EQ(commit_probes(), errc::text_not_writable);
  EXPECT_EQ(text(), armed);
  call_all();
  for (const auto& one : p) EXPECT_EQ(hits(one), 0U);
  os::set_write_refusal(nullptr);
  ASSERT_FALSE(register_probes(all));
  call_all();
  for (const auto& one : p) EXPECT_EQ(hits(one), 1U);
  unregister_probes(all);
  EXPECT_EQ(text(), before);
}

TEST_F(WriteRefusal, WhatCannotEvenBeTakenBackIsHarmlessToo) {
  const auto before = text();
  refuse(3);
  EXPECT_EQ(register_probes(all), errc::text_not_writable);
  EXPECT_TRUE(list_probes().empty());
  call_all();
  for (const auto& one : p) EXPECT_EQ(hits(one), 0U);
  os::set_write_refusal(nullptr);
  ASSERT_FALSE(register_probes(all));
  call_all();
  for (const auto& one : p) EXPECT_EQ(hits(one), 1U);
  unregister_probes(all);
  EXPECT_EQ(text(), before);
}

TEST_F(WriteRefusal, EnableAndDisableLeaveTheProbeAsItWas) {
  p[0].flags = probe_flags::disabled;
  ASSERT_FALSE(register_probe(p[0]));
  refuse(1);
  EXPECT_EQ(enable_probe(p[0]), errc::text_not_writable);
  call_all();
  EXPECT_EQ(hits(p[0]), 0U);
  EXPECT_TRUE(list_probes().at(0).disabled);
  os::set_write_refusal(nullptr);
  ASSERT_FALSE(enable_probe(p[0]));
  refuse(1);
  EXPECT_EQ(disable_probe(p[0]), errc::text_not_writable);
  call_all();
  EXPECT_EQ(hits(p[0]), 1U);
  EXPECT_FALSE(list_probes().at(0).disabled);
  os::set_write_refusal(nullptr);
  EXPECT_FALSE(disable_probe(p[0]));
}

/// As another tool would: without telling libprobe, nor the thread sanitizer, which knows no writable text.
[[gnu::no_sanitize("thread")]] void patch(void* where, std::uint8_t byte) {
  auto* page = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(where) & ~std::uintptr_t{4095});
  ASSERT_EQ(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  *static_cast<volatile std::uint8_t*>(where) = byte;
  ASSERT_EQ(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
}

TEST_F(WriteRefusal, TextThatSomebodyElseChangedSinceIsNotOverwritten) {
  ASSERT_FALSE(register_probes(all));  // libprobe has seen the bytes
  unregister_probes(all);
  auto* const displacement = const_cast<std::uint8_t*>(test::code_of(&register_page2));
  const auto original = *displacement;
  patch(displacement, 0x90);
  const auto before = text();
  const auto why = register_probes(all);
  EXPECT_EQ(why, errc::text_changed);
  EXPECT_EQ(why, std::errc::device_or_resource_busy);
  EXPECT_EQ(text(), before);
  EXPECT_TRUE(list_probes().empty());
  patch(displacement, original);
  ASSERT_FALSE(register_probes(all));
  call_all();
  for (const auto& one : p) EXPECT_EQ(hits(one), 1U);
}

TEST_F(WriteRefusal, AJumpThatSomebodyElseWroteOverABreakpointStays) {
  auto* const first = const_cast<std::uint8_t*>(test::code_of(&register_page1));
  const auto original = *first;
  p[1].flags = probe_flags::no_jump;
  ASSERT_FALSE(register_probe(p[1]));
  patch(first, 0x90);
  unregister_probe(p[1]);
  EXPECT_EQ(*first, 0x90);
  patch(first, original);
  ASSERT_FALSE(register_probe(p[1]));
  call_all();
  EXPECT_EQ(hits(p[1]), 1U);
}

TEST_F(WriteRefusal, AJumpThatSomebodyElsePutBackLeadsToNobody) {
  auto* const first = const_cast<std::uint8_t*>(test::code_of(&register_page1));
  const auto original = test::bytes_at(first, 8);
  ASSERT_FALSE(register_probe(p[1]));
  if (!list_probes().at(0).jump) return;  // with LIBPROBE_NO_JUMPS
  const auto jump = *first;
  patch(first, 0x90);
  unregister_probe(p[1]);
  EXPECT_EQ(*first, 0x90);
  patch(first, jump);
  call_all();
  EXPECT_EQ(hits(p[1]), 0U);
  EXPECT_EQ(register_probe(p[1]), errc::text_changed);
  for (std::size_t i = 0; i < original.size(); ++i) patch(first + i, original[i]);
  ASSERT_FALSE(register_probe(p[1]));
  call_all();
  EXPECT_EQ(hits(p[1]), 1U);
}

TEST(Registration, OfNothingIsNothing) {
  EXPECT_FALSE(register_probes({}));
  unregister_probes({});
}

TEST(Registration, IsAllOrNothing) {
  const auto before = test::bytes_at(register_victim, 31);
  probe good{.at = inside(register_victim, 0), .pre_handler = just_count};
  probe also{.at = inside(register_victim, 7), .pre_handler = just_count};
  probe bad{.at = inside(register_victim, 8), .pre_handler = just_count};
  probe* const all[] = {&good, &also, &bad};
  EXPECT_EQ(register_probes(all), errc::not_instruction_boundary);
  EXPECT_EQ(test::bytes_at(register_victim, 31), before);
  EXPECT_EQ(address_of(good), nullptr);
  EXPECT_TRUE(list_probes().empty());
}

}  // namespace
}  // namespace libprobe
