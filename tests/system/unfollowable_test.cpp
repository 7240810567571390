// Functions that return twice, or work on their caller's frame: plain probes and entry handlers see them as
// any other, whatever would follow or make their calls is refused, under each of their names.
#include <dlfcn.h>
#include <setjmp.h>
#include <spawn.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <libprobe/profile.hpp>
#include <libprobe/testing.hpp>

#include "support/probing.hpp"

// A function by many names, the one that tells behind the better known ones.
asm(R"(
        .text
        .globl  unfollowable_harmless, savectx, unfollowable_padded, __interceptor_qsetjmp
        .type   unfollowable_harmless, @function
        .type   savectx, @function
unfollowable_harmless:
savectx:
        mov     $7, %eax
        ret
        .size   unfollowable_harmless, .-unfollowable_harmless
        .size   savectx, .-savectx
        .type   unfollowable_padded, @function
        .type   __interceptor_qsetjmp, @function
unfollowable_padded:
__interceptor_qsetjmp:
        endbr64
        mov     $8, %eax
        ret
        .size   unfollowable_padded, .-unfollowable_padded
        .size   __interceptor_qsetjmp, .-__interceptor_qsetjmp
        .globl  unfollowable_setjmp_counter
        .type   unfollowable_setjmp_counter, @function
unfollowable_setjmp_counter:            # a name that only begins like one
        mov     $9, %eax
        ret
        .size   unfollowable_setjmp_counter, .-unfollowable_setjmp_counter
)");

extern "C" {
int unfollowable_harmless();
int unfollowable_padded();
int unfollowable_setjmp_counter();
}

namespace libprobe {
namespace {

constexpr std::size_t enough = 12;  // for any patch of its entry

const std::uint8_t* at(const char* module, const char* symbol) {
  void* const library = dlopen(module, RTLD_NOW);
  return static_cast<const std::uint8_t*>(library != nullptr ? dlsym(library, symbol) : nullptr);
}

template <class Body>
std::error_code refusal(Body body) {
  try {
    body();
  } catch (const std::system_error& refused) {
    return refused.code();
  }
  return {};
}

/// By every kind that follows calls, or makes them.
void expect_refused(const location& place, const std::uint8_t* code) {
  using function = int(void*);
  const auto before = test::bytes_at(code, enough);
  retprobe back{.at = place, .handler = [](retprobe_instance&, registers&) {}};
  EXPECT_EQ(register_retprobe(back), errc::unfollowable_function);
  EXPECT_NE(last_error_detail().find("returns"), std::string::npos) << last_error_detail();
  latency times{.at = place};
  EXPECT_EQ(register_latency(times), errc::unfollowable_function);
  replacement instead{.at = place, .entry = reinterpret_cast<void*>(&unfollowable_harmless)};
  EXPECT_EQ(register_replacement(instead), errc::unfollowable_function);
  EXPECT_EQ(register_replacement(instead), std::errc::invalid_argument);
  EXPECT_EQ(refusal([&] { const auto p = on_return<function>(place, [](int) {}); }),
            errc::unfollowable_function);
  EXPECT_EQ(refusal([&] {
              const auto p =
                  replace<function>(place, [](auto original, void* buffer) { return original(buffer); });
            }),
            errc::unfollowable_function);
  EXPECT_EQ(refusal([&] { const spy<function> s{place}; }), errc::unfollowable_function);
  EXPECT_EQ(refusal([&] {
              const fault<function> f{place, call_number(3), fails_with(-1)};
            }),
            errc::unfollowable_function);
  EXPECT_EQ(refusal([&] { const stub<function> s{place, returns(0)}; }), errc::unfollowable_function);
  EXPECT_EQ(test::bytes_at(code, enough), before);
}

TEST(Unfollowable, EveryKindThatWouldFollowRefuses) {
  for (const char* name : {"_setjmp", "setjmp", "__sigsetjmp", "getcontext", "vfork", "__vfork"}) {
    SCOPED_TRACE(name);
    const auto* const code = at("libc.so.6", name);
    ASSERT_NE(code, nullptr);
    expect_refused(location{std::string{"libc.so.6:"} + name}, code);
    expect_refused(location{static_cast<const void*>(code)}, code);
  }
}

TEST(Unfollowable, ByAnyOfItsNames) {
  EXPECT_EQ(test::opaque(unfollowable_harmless)(), 7);
  expect_refused(&unfollowable_harmless, test::code_of(unfollowable_harmless));
  expect_refused(&unfollowable_padded, test::code_of(unfollowable_padded));
  // The instruction behind the landing pad is an entry, too.
  const auto* const behind = test::code_of(unfollowable_padded) + 4;
  expect_refused(location{static_cast<const void*>(behind)}, behind);
}

TEST(Unfollowable, NamesThatOnlyLookAlikeAreFollowed) {
  const spy<int()> s{&unfollowable_setjmp_counter};
  EXPECT_EQ(test::opaque(unfollowable_setjmp_counter)(), 9);
  EXPECT_EQ(s.calls().size(), 1U);
}

// What libunwind saves is the place that its caller unwinds from, when the call has long ended.
TEST(Unfollowable, LibunwindsOwnContext) {
  const auto* const code = at("libunwind.so.8", "_Ux86_64_getcontext");
  ASSERT_NE(code, nullptr);
  expect_refused(location{static_cast<const void*>(code)}, code);
}

TEST(Unfollowable, OthersSeeItsCalls) {
  static jmp_buf place;
  int hits_of_handler = 0;
  probe plain{.at = "libc.so.6:_setjmp", .pre_handler = test::just_count};
  counter counted{.at = "libc.so.6:_setjmp"};
  ASSERT_FALSE(register_probe(plain)) << last_error_detail();
  ASSERT_FALSE(register_counter(counted)) << last_error_detail();
  {
    const auto entry = on_entry<int(void*)>("libc.so.6:_setjmp", [&](void*) { ++hits_of_handler; });
    volatile int round = 0;
    while (round < 100) {
      round = round + 1;
      volatile int times = 0;
      if (_setjmp(place) < 3) {
        times = times + 1;
        longjmp(place, test::opaque(int{times}));
      }
      EXPECT_EQ(times, 3);
    }
    EXPECT_EQ(entry.hits(), 100U);
  }
  unregister_probe(plain);
  EXPECT_EQ(hits_of_handler, 100);
  EXPECT_EQ(hits(plain), 100U);
  EXPECT_EQ(hits(counted), 100U);
  unregister_counter(counted);
}

TEST(Unfollowable, AReplacementMaySayThatItNeverCallsIt) {
  bool had_original = true;
  {
    const auto none = replace<pid_t()>(
        "libc.so.6:vfork",
        [&](pid_t (*original)()) {
          had_original = original != nullptr;
          errno = EAGAIN;
          return pid_t{-1};
        },
        probe_flags::never_calls_original);
    pid_t (*const call)() = test::opaque(&vfork);
    errno = 0;
    EXPECT_EQ(call(), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(none.hits(), 1U);
    EXPECT_FALSE(had_original);
  }
  const pid_t child = vfork();
  if (child == 0) _exit(5);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(test::told(status), test::exited_with(5));
}

TEST(Unfollowable, AProfileSkipsAndTells) {
  profiler p{{.functions = {"libc.so.6:_setjmp", "libc.so.6:getenv"}}};
  ASSERT_FALSE(p.start());
  test::opaque (&std::getenv)("HOME");
  static jmp_buf place;
  volatile int times = 0;
  if (_setjmp(place) < 2) {
    times = times + 1;
    longjmp(place, test::opaque(int{times}));
  }
  p.stop();
  const auto report = p.report();
  ASSERT_EQ(report.skipped.size(), 1U);
  EXPECT_EQ(report.skipped[0].why, errc::unfollowable_function);
  EXPECT_EQ(report.functions.size(), 1U);
}

}  // namespace
}  // namespace libprobe
