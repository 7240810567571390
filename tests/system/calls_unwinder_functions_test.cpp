// The unwinder's own functions, and those that throw and catch, are functions like others: each of them may
// be followed, alone and all together, while the program does all that exceptions are for.
#include <cxxabi.h>
#include <pthread.h>
#include <unistd.h>
#include <unwind.h>

#include <exception>
#include <stdexcept>

#include "arch/arch.hpp"
#include "support/observing.hpp"

namespace libprobe {
namespace {

using test::by;
using test::followed;
using test::opaque;

// ---- what the program does, told in words ----
std::string said;
struct tracked {
  explicit tracked(char letter) : name{letter} {}
  tracked(const tracked&) = delete;
  tracked& operator=(const tracked&) = delete;
  [[gnu::noipa]] ~tracked() {
    said += name;
    if (std::uncaught_exceptions() != 0) said += std::to_string(std::uncaught_exceptions());
  }
  char name;
};

using act = void (*)();
/// So many frames, each with one thing to clean up. Thrown through, each calls _Unwind_Resume once.
template <int N>
[[gnu::noipa]] void frame(act innermost) {
  const tracked here{static_cast<char>('0' + N)};
  if constexpr (N == 0) {
    innermost();
  } else {
    frame<N - 1>(innermost);
  }
  asm volatile("" ::: "memory");
}
void throw_number() { throw 42; }
void throw_out_of_range() { throw std::out_of_range{"far"}; }

struct copied {
  copied() = default;
  [[gnu::noipa]] copied(const copied& other) : copies{other.copies + 1} {}
  copied& operator=(const copied&) = delete;
  int copies = 0;
};

void throw_and_catch() {
  try {
    frame<3>(throw_number);
  } catch (int value) {
    said += "=" + std::to_string(value);
  }
  try {
    frame<1>(throw_out_of_range);
  } catch (const std::logic_error& what) {  // by its base
    said += what.what();
  }
  try {
    frame<0>([] { throw copied{}; });
  } catch (copied value) {  // another copy
    said += std::to_string(value.copies);
  }
}

void rethrow() {
  try {
    try {
      frame<1>(throw_number);
    } catch (...) {
      const tracked here{'r'};
      said += abi::__cxa_current_exception_type()->name();
      throw;
    }
  } catch (int value) {
    said += std::to_string(value);
  }
}

void nest() {
  struct busy {
    ~busy() {
      try {
        frame<1>(throw_out_of_range);
      } catch (const std::exception& what) {
        said += what.what();
      }
    }
  };
  try {
    const busy outer;
    frame<1>([] {
      const busy inner;
      throw 1;
    });
  } catch (int) {
    try {
      frame<0>(throw_number);
    } catch (int value) {
      said += std::to_string(value);
    }
  }
  try {
    try {
      frame<1>(throw_out_of_range);
    } catch (...) {
      std::throw_with_nested(std::runtime_error{"outer"});
    }
  } catch (const std::exception& outer) {
    said += outer.what();
    try {
      std::rethrow_if_nested(outer);
    } catch (const std::exception& inner) {
      said += inner.what();
    }
  }
}

void keep_and_throw_again() {
  static std::exception_ptr kept;
  pthread_t thread{};
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        try {
          frame<1>(throw_out_of_range);
        } catch (...) {
          kept = std::current_exception();
        }
        return nullptr;
      },
      nullptr);
  pthread_join(thread, nullptr);
  for (int i = 0; i < 2; ++i) {
    try {
      frame<1>([] { std::rethrow_exception(kept); });
    } catch (const std::out_of_range& what) {
      said += what.what();
    }
  }
  kept = std::make_exception_ptr(5);
  try {
    std::rethrow_exception(kept);
  } catch (int value) {
    said += std::to_string(value);
  }
  kept = nullptr;
}

void fail_to_throw() {
  struct cannot_be_copied {
    cannot_be_copied() = default;
    [[gnu::noipa]] cannot_be_copied(const cannot_be_copied&) { throw 6; }
  };
  try {
    frame<0>([] {
      static const cannot_be_copied one;
      throw opaque(&one)[0];
    });
  } catch (int value) {
    said += std::to_string(value);
  }
}

// Of another language, for all that C++ knows.
void raise_foreign() {
  auto* const raised = new _Unwind_Exception{};
  raised->exception_class = 0x544553545445'5354;
  raised->exception_cleanup = [](_Unwind_Reason_Code why, _Unwind_Exception* one) {
    said += "deleted" + std::to_string(static_cast<int>(why));
    delete one;
  };
  const auto code = _Unwind_RaiseException(raised);
  said += "nobody" + std::to_string(static_cast<int>(code));
  delete raised;
}
void throw_foreign() {
  try {
    frame<1>(raise_foreign);
  } catch (...) {
    said += "caught";
  }
  // And one that nobody catches: the function returns.
  pthread_t thread{};
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        raise_foreign();
        return nullptr;
      },
      nullptr);
  pthread_join(thread, nullptr);
}

/// A thread that ends in the middle of three frames; `wait_for` is set where it is to be cancelled then.
void end_a_thread(act how, std::atomic<bool>* wait_for = nullptr) {
  static act now;
  now = how;
  pthread_t thread{};
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        frame<2>(now);
        return nullptr;
      },
      nullptr);
  if (wait_for != nullptr) {
    while (!*wait_for) sched_yield();
    pthread_cancel(thread);
  }
  void* result = nullptr;
  pthread_join(thread, &result);
  said += result == PTHREAD_CANCELED ? "cancelled" : "ended";
}
void end_threads() {
  end_a_thread([] { pthread_exit(nullptr); });
  end_a_thread([] {
    try {
      frame<0>([] { pthread_exit(nullptr); });
    } catch (...) {
      said += "forced";
      throw;
    }
  });
  static std::atomic<bool> waiting;
  waiting = false;
  end_a_thread(
      [] {
        waiting = true;
        for (;;) pause();
      },
      &waiting);
}

void walk() {
  int frames = 0;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* count) {
        int before = 0;
        const auto ip = _Unwind_GetIPInfo(context, &before);
        if (ip == 0 || arch::return_slot_at(ip) != arch::return_slot_count) return _URC_NO_REASON;
        if (_Unwind_GetIP(context) != ip || _Unwind_GetCFA(context) == 0) said += "?";
        constexpr int rbp = 6;
        static_cast<void>(_Unwind_GetGR(context, rbp));
        static_cast<void>(_Unwind_GetLanguageSpecificData(context));
        static_cast<void>(_Unwind_GetTextRelBase(context));
        static_cast<void>(_Unwind_GetDataRelBase(context));
        auto* const function = _Unwind_FindEnclosingFunction(reinterpret_cast<void*>(ip - 1));
        if (reinterpret_cast<std::uintptr_t>(function) != _Unwind_GetRegionStart(context)) said += "!";
        ++*static_cast<int*>(count);
        return _URC_NO_REASON;
      },
      &frames);
  said += std::to_string(frames);
}
void look_around() {
  frame<0>(walk);
  try {
    frame<3>([] {
      walk();
      throw 1;
    });
  } catch (int) {
    walk();
  }
}

std::string all_that_is_done() {
  said.clear();
  for (const act part : {throw_and_catch, rethrow, nest, keep_and_throw_again, fail_to_throw, throw_foreign,
                         end_threads, look_around}) {
    part();
    said += " ";
  }
  return said;
}

// ---- what is followed ----
/// How calls of a function end, in the above.
enum class end_by { returning, unwinding, both };
struct subject {
  const char* name;
  end_by how = end_by::returning;
};
const subject subjects[] = {
    {"_Unwind_Resume", end_by::unwinding},
    {"_Unwind_RaiseException", end_by::both},
    {"_Unwind_Resume_or_Rethrow", end_by::unwinding},
    {"_Unwind_ForcedUnwind", end_by::unwinding},
    {"_Unwind_Backtrace"},
    {"_Unwind_DeleteException"},
    {"_Unwind_FindEnclosingFunction"},
    {"_Unwind_Find_FDE"},
    {"_Unwind_GetCFA"},
    {"_Unwind_GetDataRelBase"},
    {"_Unwind_GetTextRelBase"},
    {"_Unwind_GetGR"},
    {"_Unwind_GetIP"},
    {"_Unwind_GetIPInfo"},
    {"_Unwind_GetLanguageSpecificData"},
    {"_Unwind_GetRegionStart"},
    {"_Unwind_SetGR"},
    {"_Unwind_SetIP"},
    {"__gxx_personality_v0"},
    {"__cxa_throw", end_by::unwinding},
    {"__cxa_rethrow", end_by::unwinding},
    {"_ZSt17rethrow_exceptionNSt15__exception_ptr13exception_ptrE", end_by::unwinding},
    {"__cxa_begin_catch"},
    {"__cxa_end_catch"},
    {"__cxa_get_exception_ptr"},
    {"__cxa_allocate_exception"},
    {"__cxa_free_exception"},
    {"__cxa_init_primary_exception"},
    {"__cxa_current_exception_type"},
    {"__cxa_get_globals"},
    {"_ZSt19uncaught_exceptionsv"},
    {"_ZSt17current_exceptionv"},
};
void PrintTo(const subject& what, std::ostream* to) { *to << what.name; }

std::string place_of(const subject& what) {
  const bool of_libgcc = std::string_view{what.name}.starts_with("_Unwind");
  return std::string{of_libgcc ? "libgcc_s.so.1:" : "libstdc++.so.6:"} + what.name;
}

testing::AssertionResult ended_rightly(const subject& what, const followed& p) {
  const auto told = testing::AssertionFailure()
                    << what.name << ": " << p.entries() << " begun, " << p.returns() << " returned, "
                    << p.unwinds() << " unwound, " << p.missed() << " missed";
  if (!p.balanced()) return told;
  if (what.how == end_by::returning && p.unwinds() != 0) return told;
  if (what.how == end_by::unwinding && p.returns() != 0) return told;
  return p.entries() + p.missed() != 0 ? testing::AssertionSuccess() : told;
}

constexpr int rounds = 5;

class UnwinderFunctions : public testing::TestWithParam<subject> {};
INSTANTIATE_TEST_SUITE_P(Followed, UnwinderFunctions, testing::ValuesIn(subjects),
                         [](const auto& t) { return std::string{t.param.name}; });
TEST_P(UnwinderFunctions, Alone) {
  const auto natively = all_that_is_done();
  const followed p{place_of(GetParam())};
  for (int i = 0; i < rounds; ++i) ASSERT_EQ(all_that_is_done(), natively);
  EXPECT_TRUE(ended_rightly(GetParam(), p));
}
TEST_P(UnwinderFunctions, WithOneInstanceAndTheProgramsOwnFrames) {
  const auto natively = all_that_is_done();
  const followed p{place_of(GetParam()), 1}, zero{&frame<0>, 64}, one{&frame<1>, 64}, two{&frame<2>, 64},
      three{&frame<3>, 64};
  for (int i = 0; i < rounds; ++i) ASSERT_EQ(all_that_is_done(), natively);
  EXPECT_TRUE(ended_rightly(GetParam(), p));
  for (const auto* f : {&zero, &one, &two, &three}) {
    EXPECT_TRUE(f->balanced());
    EXPECT_EQ(f->missed(), 0U);
    EXPECT_GT(f->unwinds(), 0U);
  }
}

TEST(AllUnwinderFunctions, FollowedTogether) {
  const auto natively = all_that_is_done();
  std::vector<std::unique_ptr<followed>> all;
  for (const auto& one : subjects) all.emplace_back(new followed{place_of(one)});
  const followed zero{&frame<0>}, one{&frame<1>}, two{&frame<2>}, three{&frame<3>};
  for (int i = 0; i < rounds; ++i) ASSERT_EQ(all_that_is_done(), natively);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_TRUE(ended_rightly(subjects[i], *all[i]));
  for (const auto* f : {&zero, &one, &two, &three}) {
    EXPECT_TRUE(f->balanced());
    EXPECT_EQ(f->missed(), 0U);
  }
}

class AllUnwinderFunctionsSeen : public testing::TestWithParam<by> {};
INSTANTIATE_TEST_SUITE_P(By, AllUnwinderFunctionsSeen, testing::ValuesIn(test::every_follower),
                         [](const auto& t) { return test::name_of(t.param); });
TEST_P(AllUnwinderFunctionsSeen, AsOneOfTheKinds) {
  const auto natively = all_that_is_done();
  std::vector<std::unique_ptr<test::observer>> all;
  for (const auto& one : subjects) {
    const auto found = list_functions(place_of(one));
    ASSERT_EQ(found.size(), 1U) << one.name;
    all.push_back(test::observe(GetParam(), found.front().address));
  }
  for (int i = 0; i < rounds; ++i) ASSERT_EQ(all_that_is_done(), natively);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto seen = all[i]->seen();
    EXPECT_EQ(seen.returned + seen.unwound, seen.begun) << subjects[i].name << ": " << seen;
    if (subjects[i].how == end_by::returning) {
      EXPECT_EQ(seen.unwound, 0U) << subjects[i].name << ": " << seen;
    }
  }
}

// ---- the program's own calls of _Unwind_Resume, and no others ----
TEST(UnwindResume, IsHitAsOftenAsTheProgramCallsIt) {
  constexpr std::uint64_t throws = 200, frames = 4;
  const auto throw_often = [] {
    for (std::uint64_t i = 0; i < throws; ++i) {
      try {
        frame<frames - 1>(throw_number);
      } catch (int) {
        said.clear();
      }
    }
  };
  {
    counter c{.at = "libgcc_s.so.1:_Unwind_Resume"};
    ASSERT_FALSE(register_counter(c));
    throw_often();
    ASSERT_EQ(hits(c), throws * frames) << "where nothing is followed";
  }
  const followed resume{"libgcc_s.so.1:_Unwind_Resume"};
  throw_often();
  EXPECT_EQ(resume.entries(), throws * frames);
  const followed zero{&frame<0>}, one{&frame<1>}, two{&frame<2>}, three{&frame<3>},
      raise{"libgcc_s.so.1:_Unwind_RaiseException"}, thrown{"libstdc++.so.6:__cxa_throw"};
  counter c{.at = "libgcc_s.so.1:_Unwind_Resume"};
  ASSERT_FALSE(register_counter(c));
  throw_often();
  EXPECT_EQ(resume.entries(), 2 * throws * frames);
  EXPECT_EQ(resume.unwinds(), 2 * throws * frames);
  EXPECT_EQ(hits(c), throws * frames) << "and libprobe itself does not call it";
  for (const auto* f : {&zero, &one, &two, &three, &raise, &thrown}) {
    EXPECT_EQ(f->unwinds(), throws);
    EXPECT_TRUE(f->balanced());
    EXPECT_EQ(f->missed(), 0U);
  }
}

/// The shared case: a function whose own caller catches.
[[gnu::noipa]] void throws(int x) {
  if (opaque(x) > 0) throw x;
  asm volatile("" ::: "memory");
}
TEST(UnwindResume, FollowedBesideAFunctionWhoseCallerCatches) {
  const followed f{&throws}, resume{"libgcc_s.so.1:_Unwind_Resume"};
  for (int i = 1; i <= 100; ++i) {
    int caught = 0;
    try {
      throws(i);
    } catch (int value) {
      caught = value;
    }
    ASSERT_EQ(caught, i);
  }
  EXPECT_EQ(f.unwinds(), 100U);
  EXPECT_TRUE(f.balanced());
  EXPECT_EQ(resume.entries() + resume.missed(), 0U) << "there is nothing to clean up";
}

TEST(AllUnwinderFunctions, FollowedWhenNobodyMayCatch) {
  const auto status = test::status_of_child([] {
    std::vector<std::unique_ptr<followed>> all;
    for (const auto& one : subjects) all.emplace_back(new followed{place_of(one)});
    std::set_terminate([] { _exit(std::current_exception() != nullptr ? 42 : 43); });
    const auto no_way_through = []() noexcept { frame<2>(throw_number); };
    no_way_through();
    return 1;
  });
  EXPECT_EQ(test::told(status), test::exited_with(42));
}

}  // namespace
}  // namespace libprobe
