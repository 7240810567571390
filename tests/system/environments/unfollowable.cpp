// In a static program, which may have no name left: what returns twice is known by its address. Where names
// are, libgcc's own functions that work on their caller's frame are known by theirs.
#include <setjmp.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <libprobe/libprobe.hpp>
#include <stdexcept>

namespace {

int failures = 0;

void check(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("%s; last refusal: %s\n", what, libprobe::last_error_detail().c_str());
}

void expect_refused(const libprobe::location& at, const char* what) {
  libprobe::retprobe back{.at = at, .handler = [](libprobe::retprobe_instance&, libprobe::registers&) {}};
  check(register_retprobe(back) == libprobe::errc::unfollowable_function, what);
  libprobe::replacement instead{.at = at, .entry = reinterpret_cast<void*>(&expect_refused)};
  check(register_replacement(instead) == libprobe::errc::unfollowable_function, what);
}

[[gnu::noinline]] void refuse(int number) {
  asm volatile("" ::: "memory");
  throw std::runtime_error{std::to_string(number)};
}

int catch_some(int rounds) {
  int caught = 0;
  for (int i = 0; i < rounds; ++i) {
    try {
      refuse(i);
    } catch (const std::runtime_error& error) {
      caught += std::to_string(i) == error.what() ? 1 : 0;
    }
  }
  return caught;
}

}  // namespace

int main(int /*argc*/, char** argv) {
  expect_refused(&_setjmp, "_setjmp");
  expect_refused(&__sigsetjmp, "__sigsetjmp");
  expect_refused(&getcontext, "getcontext");
  expect_refused(&vfork, "vfork");
  libprobe::probe here{.at = &_setjmp,
                       .pre_handler = [](libprobe::probe&, libprobe::registers&) { return 0; }};
  check(!register_probe(here), "a plain probe at _setjmp");
  static jmp_buf place;
  static int times = 0;
  if (_setjmp(place) < 3) longjmp(place, ++times);
  check(times == 3 && hits(here) == 1, "_setjmp under a plain probe");

  const bool named = std::strstr(argv[0], "stripped") == nullptr;
  for (const char* name : {"uw_init_context_1", "uw_install_context_1"}) {
    libprobe::probe plain{.at = name, .pre_handler = here.pre_handler};
    if (!named) {
      check(register_probe(plain) == libprobe::errc::symbol_not_found, name);
      continue;
    }
    expect_refused(name, name);
    check(!register_probe(plain), name);
    check(catch_some(10) == 10 && hits(plain) >= 10, name);
  }
  check(catch_some(10) == 10, "exceptions");
  std::printf("%d failures\n", failures);
  return failures;
}
