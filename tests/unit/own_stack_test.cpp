// Where a thread's own stack lies: as libc says, though it is not asked.
#include "os/own_stack.hpp"

#include <gtest/gtest.h>
#include <pthread.h>

#include <cstdint>
#include <vector>

namespace libprobe::os {
namespace {

struct seen {
  std::uintptr_t low = 0, high = 0;  // libc's
  stack_extent found;
  bool has_here = false, has_static = false;
};

void* look(void* into) {
  auto& what = *static_cast<seen*>(into);
  pthread_attr_t attributes;
  pthread_getattr_np(pthread_self(), &attributes);
  void* low = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  what.low = reinterpret_cast<std::uintptr_t>(low);
  what.high = what.low + size;
  find_own_stack();
  what.found = own_stack;
  static char elsewhere;
  what.has_here = own_stack.has(reinterpret_cast<std::uintptr_t>(&attributes));
  what.has_static = own_stack.has(reinterpret_cast<std::uintptr_t>(&elsewhere));
  return nullptr;
}

TEST(OwnStack, OfThreadsWithStacksOfAllSizes) {
  for (const std::size_t size : {std::size_t{128} << 10, std::size_t{1} << 20, std::size_t{8} << 20}) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, size);
    pthread_t threads[3];
    seen all[3];
    for (int i = 0; i < 3; ++i) ASSERT_EQ(pthread_create(&threads[i], &attributes, look, &all[i]), 0);
    for (auto& thread : threads) pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    for (const auto& one : all) {
      EXPECT_EQ(one.found.low, one.low) << size;
      EXPECT_LE(one.found.high, one.high);  // on top lie the thread's control block and its variables
      EXPECT_GT(one.found.high + 64 * 1024, one.high);
      EXPECT_TRUE(one.has_here && !one.has_static);
    }
  }
}

TEST(OwnStack, OfAThreadOnMemoryOfTheProgramsOwn) {
  // Its neighbours in memory are not its stack, but are in one mapping with it.
  std::vector<char> memory(1U << 20);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  const auto low =
      (reinterpret_cast<std::uintptr_t>(memory.data()) + (256U << 10) + 4095) & ~std::uintptr_t{4095};
  pthread_attr_setstack(&attributes, reinterpret_cast<void*>(low), 256U << 10);
  pthread_t thread;
  seen one;
  ASSERT_EQ(pthread_create(&thread, &attributes, look, &one), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  EXPECT_EQ(one.low, low);
  EXPECT_EQ(one.found.high, 0U) << "nothing says where it begins";
  EXPECT_FALSE(one.has_here);
}

TEST(OwnStack, OfTheFirstThread) {
  seen one;
  look(&one);
  EXPECT_TRUE(one.has_here && !one.has_static);
  EXPECT_GE(one.found.low, one.low);    // it grows
  EXPECT_GE(one.found.high, one.high);  // libc leaves out what the kernel put there
}

}  // namespace
}  // namespace libprobe::os
