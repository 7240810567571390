// Linking libprobe leaves the program's exception handling alone: one unwinder throws, catches and cancels.
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <libprobe/libprobe.hpp>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace {

int nothing(libprobe::probe&, libprobe::registers&) { return 0; }

class unwinder : public testing::Test {
 protected:
  void SetUp() override { ASSERT_FALSE(libprobe::register_probe(any_)) << libprobe::last_error_detail(); }

 private:
  libprobe::probe any_{.at = "libc.so.6:getppid", .pre_handler = nothing};
};

// libc resumes the exception after its own cleanup.
TEST_F(unwinder, an_exception_passes_through_call_once) {
  std::once_flag once;
  EXPECT_THROW(std::call_once(once, [] { throw std::runtime_error{"first"}; }), std::runtime_error);
  int calls = 0;
  std::call_once(once, [&calls] { ++calls; });
  EXPECT_EQ(calls, 1);
}

// libgcc unwinds a cancelled thread through frames whose cleanups the compiler made.
TEST_F(unwinder, a_cancelled_thread_runs_its_destructors) {
  static std::atomic<int> destroyed{0};
  struct counter {
    ~counter() { ++destroyed; }
  };
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  const counter outer;
                  for (;;) {
                    const counter inner;
                    usleep(1000);
                    --destroyed;
                  }
                },
                nullptr),
            0);
  usleep(20'000);
  ASSERT_EQ(pthread_cancel(thread), 0);
  void* result = nullptr;
  ASSERT_EQ(pthread_join(thread, &result), 0);
  EXPECT_EQ(result, PTHREAD_CANCELED);
  EXPECT_EQ(destroyed, 2);
}

}  // namespace
