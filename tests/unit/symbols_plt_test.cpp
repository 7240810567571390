// In a program that is not position-independent a function's address is that of a linkage stub. Linked three
// times: bound lazily, bound at start, and with the stubs that indirect-branch tracking asks for.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <wchar.h>
#include <zlib.h>

#include <cstdio>
#include <cstring>

#include "symbols/symbols.hpp"
#include "symbols_targets/sample.hpp"

namespace {

int chosen(int value) { return value + 1; }
extern "C" int (*choose_here())(int) { return &chosen; }
[[gnu::ifunc("choose_here")]] int choice_here(int value);

int (*volatile elsewhere)(int) = &chosen;
// Compiles to nothing but a jump through memory, as a linkage stub does.
[[gnu::noinline]] int passed_on(int value) { return elsewhere(value); }

}  // namespace

namespace libprobe::symbols {
namespace {

std::uintptr_t at(const location& where) {
  std::string detail;
  const auto found = resolve(where, detail);
  EXPECT_TRUE(found) << detail;
  return found ? *found : 0;
}

std::uintptr_t defined_in(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  EXPECT_NE(handle, nullptr) << library;
  return reinterpret_cast<std::uintptr_t>(dlsym(handle, name));
}

// Read from memory, so that the compiler cannot use what it knows.
template <class Function>
std::uintptr_t pointer_to(Function* function) {
  Function* volatile hidden = function;
  return reinterpret_cast<std::uintptr_t>(hidden);
}

// Of libc only what sanitizers leave alone.
TEST(Linkage, FollowsStubsToOtherModules) {
  ASSERT_NE(pointer_to(&sample_untouched), defined_in(SAMPLE_SONAME, "sample_untouched"))
      << "no stub was made";
  EXPECT_EQ(at(&sample_untouched), defined_in(SAMPLE_SONAME, "sample_untouched"));
  EXPECT_EQ(at(&zlibVersion), defined_in("libz.so.1", "zlibVersion"));
  EXPECT_EQ(at(&getppid), defined_in("libc.so.6", "getppid"));
  getppid();  // bound now
  EXPECT_EQ(at(&getppid), defined_in("libc.so.6", "getppid"));
  EXPECT_EQ(at(&sample_versioned), at("sample_versioned"));
}

TEST(Linkage, FollowsStubsToIfuncs) {
  EXPECT_EQ(at(&sample_choice), sample_choice_address());
  EXPECT_EQ(at(&wmemset), defined_in("libc.so.6", "wmemset"));
  ASSERT_NE(pointer_to(&choice_here), pointer_to(&chosen));
  EXPECT_EQ(at(&choice_here), pointer_to(&chosen));
}

TEST(Linkage, FindsTheSameByName) {
  EXPECT_EQ(at("getppid"), at(&getppid));
  EXPECT_EQ(at("sample_untouched"), at(&sample_untouched));
  EXPECT_EQ(at("sample_choice"), at(&sample_choice));
  EXPECT_EQ(at("choice_here"), pointer_to(&chosen));
}

TEST(Linkage, LeavesFunctionsThatOnlyJump) {
  EXPECT_EQ(passed_on(1), 2);
  EXPECT_EQ(at(&passed_on), pointer_to(&passed_on));
  EXPECT_EQ(at(&choose_here), pointer_to(&choose_here));
}

}  // namespace
}  // namespace libprobe::symbols
