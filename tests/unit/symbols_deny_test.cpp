// Where probes are refused.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "os/maps.hpp"
#include "symbols/symbols.hpp"
#include "symbols_targets/sample.hpp"

// As the library's own code is set apart when it is built.
[[gnu::section("libprobe_text"), gnu::noinline, gnu::used]] static int set_apart(int value) {
  return value + 1;
}

namespace libprobe::symbols {
namespace {

std::uintptr_t at(const location& where) {
  std::string detail;
  const auto found = resolve(where, detail);
  EXPECT_TRUE(found) << detail;
  return found ? *found : 0;
}

std::uintptr_t number(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

TEST(Probeable, AllowsOrdinaryCode) {
  EXPECT_EQ(probeable(at("puts")), errc::ok);
  EXPECT_EQ(probeable(at(&sample_exported)), errc::ok);
  EXPECT_EQ(probeable(at("main")), errc::ok);
}

TEST(Probeable, RefusesWhatIsNoCode) {
  static int data = 0;
  EXPECT_EQ(probeable(0), errc::not_executable);
  EXPECT_EQ(probeable(number(&data)), errc::not_executable);
  EXPECT_EQ(probeable(number("text")), errc::not_executable);
  EXPECT_EQ(probeable(number(std::getenv("PATH"))), errc::not_executable);
  EXPECT_EQ(probeable(~std::uintptr_t{0}), errc::not_executable);
}

TEST(Probeable, DeniesTheLibraryItself) {
  const auto code = function_at(at(&set_apart));
  ASSERT_TRUE(code);
  EXPECT_EQ(probeable(code->start), errc::denied_address);
  EXPECT_EQ(probeable(code->end - 1), errc::denied_address);
}

TEST(Probeable, DeniesErrno) {
  const std::uintptr_t start = number(dlsym(RTLD_DEFAULT, "__errno_location"));
  const auto code = function_at(start);
  ASSERT_TRUE(code);
  EXPECT_EQ(probeable(start), errc::denied_address);
  EXPECT_EQ(probeable(code->end - 1), errc::denied_address);
}

TEST(Probeable, DeniesKernelCode) {
  const std::uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
  if (vdso == 0) GTEST_SKIP() << "this kernel gives no vDSO";
  EXPECT_EQ(probeable(vdso), errc::denied_address);
  std::string detail;
  const auto entry = resolve("linux-vdso.so.1:__vdso_clock_gettime", detail);
  ASSERT_TRUE(entry) << detail;
  EXPECT_EQ(probeable(*entry), errc::denied_address);
  EXPECT_EQ(probeable(0xffffffffff600000), errc::denied_address);
}

TEST(Probeable, DeniesSignalReturn) {
  const std::uintptr_t stub = at(&sample_signal_return);
  EXPECT_EQ(probeable(stub), errc::ok);
  EXPECT_EQ(probeable(stub + 1), errc::denied_address);
  EXPECT_EQ(probeable(stub + 8), errc::denied_address);
}

TEST(Probeable, DeniesRestartableSequences) {
  const std::uintptr_t start = at(&sample_restartable);
  EXPECT_EQ(probeable(start), errc::ok);
  EXPECT_EQ(probeable(start + 1), errc::denied_address);
  EXPECT_EQ(probeable(start + 2), errc::denied_address);
  EXPECT_EQ(probeable(start + 3), errc::ok);
}

TEST(Probeable, AllowsPrivateGeneratedCodeOnly) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* generated = mmap(nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(generated, MAP_FAILED);
  EXPECT_EQ(probeable(number(generated)), errc::ok);
  EXPECT_FALSE(in_module(number(generated)));
  EXPECT_EQ(describe(number(generated)).module, "");
  munmap(generated, page);
  EXPECT_EQ(probeable(number(generated)), errc::not_executable);
}

TEST(Probeable, DeniesSharedFiles) {
  char name[] = "symbols_shared_XXXXXX";
  const int file = mkstemp(name);
  ASSERT_GE(file, 0);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  ASSERT_EQ(ftruncate(file, static_cast<off_t>(page)), 0);
  void* shared = mmap(nullptr, page, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  void* own = mmap(nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  unlink(name);
  close(file);
  ASSERT_NE(shared, MAP_FAILED);
  ASSERT_NE(own, MAP_FAILED);
  EXPECT_EQ(probeable(number(shared)), errc::denied_address);
  EXPECT_EQ(probeable(number(own)), errc::ok);
  munmap(shared, page);
  munmap(own, page);
}

TEST(Maps, ReadsLines) {
  const auto one =
      os::parse_mapping("7f00-7f10 r-xs 00001000 fe:00 1234                       /usr/lib/a b.so");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->start, 0x7f00U);
  EXPECT_EQ(one->end, 0x7f10U);
  EXPECT_TRUE(one->readable && !one->writable && one->executable && one->shared);
  EXPECT_EQ(one->offset, 0x1000U);
  EXPECT_EQ(one->path, "/usr/lib/a b.so");
  const auto anonymous = os::parse_mapping("7f00-7f10 rw-p 00000000 00:00 0 ");
  ASSERT_TRUE(anonymous);
  EXPECT_EQ(anonymous->path, "");
  for (const char* bad :
       {"", "7f00", "7f00-7f10", "7f10-7f00 r-xp 0 fe:00 1", "x-y r-xp 0 fe:00 1", "7f00-7f10 r-"}) {
    EXPECT_FALSE(os::parse_mapping(bad)) << bad;
  }
  for (const char* odd : {"7f00-7f10 r-xp 0 ", "7f00-7f10 r-xp 0 fe:00"}) {
    ASSERT_TRUE(os::parse_mapping(odd)) << odd;
  }
}

TEST(Maps, KnowsThisProgram) {
  const auto here = os::mapping_at(at("libc.so.6:puts"));
  ASSERT_TRUE(here);
  EXPECT_TRUE(here->executable);
  EXPECT_NE(here->path.find("libc"), std::string::npos);
  EXPECT_FALSE(os::mapping_at(1));
  EXPECT_GT(os::read_maps()->size(), 10U);
}

}  // namespace
}  // namespace libprobe::symbols
