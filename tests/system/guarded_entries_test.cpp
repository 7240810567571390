// Functions at whose entries libprobe's own guards stand, under probes of the user's: both do their work.
#include <dlfcn.h>

#include <csetjmp>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;

constexpr int rounds = 5;
jmp_buf way_out;
int entered = 0, returned = 0, unwound = 0;

[[gnu::noipa]] int leaves(int how) {
  if (opaque(how) != 0) longjmp(way_out, 1);
  return 1;
}

/// Calls that longjmp() leaves are told as unwound, whatever else wants to know of longjmp().
class OnLongjmp : public testing::Test {
 protected:
  void SetUp() override {
    entered = unwound = 0;
    ASSERT_FALSE(register_retprobe(left_)) << last_error_detail();
  }
  void expect_left() {
    for (int i = 0; i < rounds; ++i) {
      if (setjmp(way_out) == 0) leaves(1);
    }
    EXPECT_EQ(entered, rounds);
    EXPECT_EQ(unwound, rounds);
    EXPECT_EQ(hits(left_), std::uint64_t{rounds});
    EXPECT_EQ(nmissed(left_), 0U);
    unregister_retprobe(left_);  // waits for nobody
  }

 private:
  retprobe left_{.at = &leaves,
                 .handler = [](retprobe_instance&, registers&) { ADD_FAILURE() << "it returned"; },
                 .unwind_handler = [](retprobe_instance&) { ++unwound; }};
};

TEST_F(OnLongjmp, AProbe) {
  probe p{.at = "longjmp", .pre_handler = [](probe&, registers&) {
            ++entered;
            return 0;
          }};
  ASSERT_FALSE(register_probe(p)) << last_error_detail();
  expect_left();
}

TEST_F(OnLongjmp, AJprobe) {
  jprobe p{.at = "longjmp", .entry = reinterpret_cast<void*>(+[](void*, int) { ++entered; })};
  ASSERT_FALSE(register_jprobe(p)) << last_error_detail();
  expect_left();
  EXPECT_EQ(nmissed(p), 0U);
}

TEST_F(OnLongjmp, AHandlerThatThrows) {
  jprobe p{.at = "longjmp", .entry = reinterpret_cast<void*>(+[](void*, int) {
                              ++entered;
                              throw 7;
                            })};
  ASSERT_FALSE(register_jprobe(p)) << last_error_detail();
  int caught = 0;
  for (int i = 0; i < rounds; ++i) {
    try {
      leaves(1);
    } catch (int) {
      ++caught;
    }
  }
  EXPECT_EQ(entered, rounds);
  EXPECT_EQ(caught, rounds);
  EXPECT_EQ(unwound, rounds);
}

/// The loader's, by which libprobe learns that constructors are about to run.
class OnTheLoader : public testing::Test {
 protected:
  static constexpr const char* function = "_dl_catch_exception";
  void SetUp() override {
    entered = returned = unwound = 0;
    ASSERT_FALSE(register_probe(waits_)) << last_error_detail();
  }
  /// Loads a library for which a probe waits.
  void load() {
    void* const library = dlopen(MODULES_PLUGIN, RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    const auto run = reinterpret_cast<int (*)(int, int)>(dlsym(library, "plugin_work"));
    ASSERT_NE(run, nullptr);
    EXPECT_EQ(run(1, 2), 12);
    EXPECT_EQ(hits(waits_), 2U) << "by its constructor, and here";
    dlclose(library);
    EXPECT_GT(entered, 0);
  }

 private:
  probe waits_{.at = MODULES_PLUGIN_NAME ":plugin_work",
               .pre_handler = test::just_count,
               .flags = probe_flags::pending};
};

TEST_F(OnTheLoader, ARetprobe) {
  retprobe p{.at = function,
             .handler = [](retprobe_instance&, registers&) { ++returned; },
             .entry_handler =
                 [](retprobe_instance&, registers&) {
                   ++entered;
                   return 0;
                 },
             .unwind_handler = [](retprobe_instance&) { ++unwound; }};
  ASSERT_FALSE(register_retprobe(p)) << last_error_detail();
  load();
  EXPECT_EQ(returned, entered);
  EXPECT_EQ(unwound, 0);
  EXPECT_EQ(nmissed(p), 0U);
}

TEST_F(OnTheLoader, AJprobe) {
  jprobe p{.at = function, .entry = reinterpret_cast<void*>(+[](void*) { ++entered; })};
  ASSERT_FALSE(register_jprobe(p)) << last_error_detail();
  load();
  EXPECT_EQ(hits(p), static_cast<std::uint64_t>(entered));
  EXPECT_EQ(nmissed(p), 0U);
}

int instead(void* exception, void (*operate)(void*), void* arguments) {
  ++entered;
  const auto original = reinterpret_cast<decltype(&instead)>(libprobe::original(*current_replacement()));
  const int answer = original(exception, operate, arguments);
  ++returned;
  return answer;
}

TEST_F(OnTheLoader, AReplacement) {
  replacement p{.at = function, .entry = reinterpret_cast<void*>(&instead)};
  ASSERT_FALSE(register_replacement(p)) << last_error_detail();
  load();
  EXPECT_EQ(returned, entered);
}

}  // namespace
}  // namespace libprobe
