// Handlers that do everything: allocate, print, load libraries, start threads, call what is probed, register
// and remove probes, throw, take long, and never return.
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "support/every_kind.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::every_kind;
using test::every_moment;
using test::exited_with;
using test::just_count;
using test::killed_by;
using test::moment;
using test::opaque;
using test::told;

[[gnu::noipa]] int subject(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + 1;
}
[[gnu::noipa]] int neighbour(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + 2;
}

class In : public testing::TestWithParam<moment> {};
INSTANTIATE_TEST_SUITE_P(A, In, testing::ValuesIn(every_moment),
                         [](const auto& t) { return name_of(t.param); });

/// Calls the function again and again from several threads, with an action at its moment.
void hit_with(moment m, const std::function<void()>& action, int rounds = 100, int threads = 4) {
  every_kind all;
  all.action = [&](moment now) {
    if (now == m) action();
  };
  ASSERT_FALSE(all.place());
  std::vector<std::thread> crowd;
  for (int i = 0; i < threads; ++i) {
    crowd.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) ASSERT_TRUE(every_kind::call(m, round));
    });
  }
  for (auto& t : crowd) t.join();
  EXPECT_EQ(all.seen(m), static_cast<std::uint64_t>(rounds * threads));
  EXPECT_EQ(all.hits_of(m), static_cast<std::uint64_t>(rounds * threads));
}

TEST_P(In, AllocatesAndPrints) {
  std::FILE* const nothing = std::fopen("/dev/null", "w");
  hit_with(GetParam(), [nothing] {
    auto words = std::make_unique<std::string>(1000, 'x');
    std::free(opaque(std::realloc(std::malloc(100), 100'000)));
    std::fprintf(nothing, "%s %f\n", words->c_str(), 1.5);
    std::fflush(nothing);
  });
  std::fclose(nothing);
}

TEST_P(In, LoadsAndUnloadsLibraries) {
  hit_with(
      GetParam(),
      [] {
        void* const library = dlopen("libutil.so.1", RTLD_NOW | RTLD_LOCAL);
        ASSERT_NE(library, nullptr) << dlerror();
        EXPECT_NE(dlsym(RTLD_DEFAULT, "getpid"), nullptr);
        dlclose(library);
        EXPECT_GT(getpid(), 0);
      },
      20);
}

TEST_P(In, StartsThreadsThatHitProbes) {
  // Those are in no handler: they run theirs.
  every_kind all;
  const auto m = GetParam();
  const auto maker = std::this_thread::get_id();
  all.action = [&](moment now) {
    if (now == m && std::this_thread::get_id() == maker)
      std::thread{[m] { EXPECT_TRUE(every_kind::call(m)); }}.join();
  };
  ASSERT_FALSE(all.place());
  for (int round = 1; round <= 20; ++round) {
    ASSERT_TRUE(every_kind::call(m));
    EXPECT_EQ(all.seen(m), 2U * static_cast<unsigned>(round));
    EXPECT_EQ(all.missed(m), 0U);
  }
}

TEST_P(In, CallsTheProbedFunctionItself) {
  every_kind all;
  const auto m = GetParam();
  int depth = 0;
  all.action = [&](moment now) {
    if (now != m || depth > 3) return;
    ++depth;
    EXPECT_TRUE(every_kind::call(m));
    --depth;
  };
  ASSERT_FALSE(all.place());
  for (unsigned round = 1; round <= 100; ++round) {
    ASSERT_TRUE(every_kind::call(m));
    if (m == moment::replaced) {  // no handler: it is hit as ever, and so is whatever it calls
      ASSERT_EQ(all.seen(m), 5 * round);
      ASSERT_EQ(all.missed(m), 0U);
    } else {
      ASSERT_EQ(all.seen(m), round);
      ASSERT_EQ(all.missed(m), round) << "counted, and run without a handler";
    }
  }
}

TEST_P(In, RegistersAndRemovesOthersAndItself) {
  every_kind all;
  const auto m = GetParam();
  static probe other{.at = &subject, .pre_handler = just_count};
  static int wrong;
  wrong = 0;
  all.action = [&](moment now) {
    if (now != m) return;
    const auto expect = [](bool holds) { wrong += holds ? 0 : 1; };
    expect(!register_probe(other));
    expect(register_probe(other) == errc::already_registered);
    expect(!disable_probe(other));
    expect(!enable_probe(other));
    all.with(m, [&](auto& self) {
      using kind = std::remove_cvref_t<decltype(self)>;
      if constexpr (std::is_same_v<kind, probe>) expect(!disable_probe(self) && !enable_probe(self));
      if constexpr (std::is_same_v<kind, retprobe>) expect(!disable_retprobe(self) && !enable_retprobe(self));
      if constexpr (std::is_same_v<kind, jprobe>) expect(!disable_jprobe(self) && !enable_jprobe(self));
    });
    expect(commit_probes() == errc::would_deadlock);
    unregister_probe(other);  // queued
    expect(commit_probes() == errc::would_deadlock);
    all.with(m, [&](auto& self) {
      using kind = std::remove_cvref_t<decltype(self)>;
      if constexpr (std::is_same_v<kind, probe>) unregister_probe(self);
      if constexpr (std::is_same_v<kind, retprobe>) unregister_retprobe(self);
      if constexpr (std::is_same_v<kind, jprobe>) unregister_jprobe(self);
      if constexpr (std::is_same_v<kind, replacement>) unregister_replacement(self);
    });
  };
  for (int round = 1; round <= 20; ++round) {
    ASSERT_FALSE(all.place());
    ASSERT_TRUE(every_kind::call(m));
    EXPECT_EQ(wrong, 0);
    ASSERT_TRUE(every_kind::call(m)) << "removed by itself";
    EXPECT_EQ(all.seen(m), static_cast<std::uint64_t>(round));
    ASSERT_FALSE(commit_probes());
    EXPECT_TRUE(test::rows_at(test::code_of(&subject)).empty());
    all.remove();
  }
}

TEST_P(In, IsWaitedForByACommitAndByThatAlone) {
  static std::atomic<bool> inside, go_on;
  inside = go_on = false;
  every_kind all;
  const auto m = GetParam();
  all.action = [m](moment now) {
    if (now != m) return;
    inside = true;
    while (!go_on) std::this_thread::yield();
  };
  ASSERT_FALSE(all.place());
  std::thread hitting{[m] { EXPECT_TRUE(every_kind::call(m)); }};
  while (!inside) std::this_thread::yield();
  std::atomic<bool> committed{false};
  std::thread committer{[&] {
    all.remove();
    committed = true;
  }};
  // Registration, and queueing, wait for nobody.
  probe p{.at = &neighbour, .pre_handler = just_count};
  for (int i = 0; i < 50; ++i) {
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(neighbour(1), 3);
    ASSERT_FALSE(disable_probe(p));
    ASSERT_FALSE(enable_probe(p));
    unregister_probe_fast(p);
  }
  EXPECT_FALSE(committed);
  go_on = true;
  committer.join();
  hitting.join();
  EXPECT_TRUE(committed);
}

// ---- what libprobe itself calls, under its locks ----
constexpr const char* used_by_libprobe[] = {"malloc",
                                            "calloc",
                                            "realloc",
                                            "free",
                                            "memcpy",
                                            "memmove",
                                            "memset",
                                            "memcmp",
                                            "memchr",
                                            "strlen",
                                            "strcmp",
                                            "strtol",
                                            "snprintf",
                                            "open",
                                            "close",
                                            "read",
                                            "write",
                                            "pread",
                                            "pwrite",
                                            "stat",
                                            "readlink",
                                            "realpath",
                                            "mmap",
                                            "munmap",
                                            "mprotect",
                                            "madvise",
                                            "process_vm_readv",
                                            "getpid",
                                            "syscall",
                                            "sysconf",
                                            "nanosleep",
                                            "sched_yield",
                                            "pthread_mutex_lock",
                                            "pthread_mutex_unlock",
                                            "dl_iterate_phdr",
                                            "clock_gettime",
                                            "fnmatch",
                                            "getauxval"};

/// Changes of every sort, which hit all of those; the handlers run for the program's calls alone.
void change_probes(int rounds) {
  for (int round = 0; round < rounds; ++round) {
    probe by_name{.at = "libc.so.6:atoi", .pre_handler = just_count},
        here{.at = &subject, .pre_handler = just_count};
    retprobe r{.at = &neighbour, .handler = [](retprobe_instance&, registers&) {}};
    batch some;
    some.add(by_name).add(here).add(r);
    ASSERT_FALSE(some.commit()) << last_error_detail();
    EXPECT_EQ(subject(1), 2);
    EXPECT_EQ(neighbour(1), 3);
    EXPECT_GE(hits(here), 1U);  // others may be doing the same
    EXPECT_FALSE(list_probes().empty());
    EXPECT_FALSE(list_functions("libc.so.6:atoi").empty());
    EXPECT_FALSE(disable_probe(here));
    EXPECT_FALSE(enable_probe(here));
    unregister_probe(here);
  }
}
/// The program's own use of them.
void use_them() {
  const std::unique_ptr<char, void (*)(void*)> some{static_cast<char*>(std::malloc(100)), std::free};
  std::snprintf(some.get(), 100, "%d", getpid());
  EXPECT_EQ(std::strtol(some.get(), nullptr, 10), getpid());
}

TEST(LibprobesOwnCalls, UnderAProbeOfEachKindInTurn) {
  for (const auto* name : used_by_libprobe) {
    SCOPED_TRACE(name);
    const auto at = std::string{"libc.so.6:"} + name;
    probe p{.at = at.c_str(), .pre_handler = just_count, .post_handler = [](probe&, registers&) {}};
    retprobe r{.at = at.c_str(), .handler = [](retprobe_instance&, registers&) {}};
    counter c{.at = at.c_str()};
    ASSERT_FALSE(register_probe(p)) << last_error_detail();
    ASSERT_FALSE(register_counter(c)) << last_error_detail();
    change_probes(1);
    ASSERT_FALSE(register_retprobe(r)) << last_error_detail();
    change_probes(1);
    use_them();
    unregister_probe(p);
    change_probes(1);
  }
}

TEST(LibprobesOwnCalls, UnderProbesOnAllAtOnceWithHandlersThatCallThem) {
  std::atomic<bool> begin{false}, end{false};
  std::atomic<int> done{0};
  std::vector<std::thread> others;  // made before the probes, and ended after them: libc blocks signals there
  for (int i = 0; i < 2; ++i) {
    others.emplace_back([&, i] {
      while (!begin) sched_yield();
      for (int round = 0; round < 3; ++round) {
        use_them();
        if (i == 0) change_probes(1);
      }
      ++done;
      while (!end) usleep(1000);
    });
  }
  static std::atomic<std::uint64_t> entered, returned;
  entered = returned = 0;
  std::vector<std::unique_ptr<probe>> probes;
  std::vector<std::unique_ptr<retprobe>> retprobes;
  {
    batch all;
    for (const auto* name : used_by_libprobe) {
      const auto at = std::string{"libc.so.6:"} + name;
      probes.emplace_back(new probe{.at = at.c_str(), .pre_handler = [](probe&, registers&) {
                                      ++entered;
                                      getpid();
                                      sched_yield();
                                      return 0;
                                    }});
      retprobes.emplace_back(new retprobe{.at = at.c_str(), .handler = [](retprobe_instance&, registers&) {
                                            std::free(opaque(std::malloc(10)));
                                            ++returned;
                                          }});
      all.add(*probes.back()).add(*retprobes.back());
    }
    ASSERT_FALSE(all.commit()) << last_error_detail();
  }
  begin = true;
  for (int round = 0; round < 3; ++round) {
    change_probes(1);
    use_them();
  }
  while (done < 2) usleep(1000);
  EXPECT_GT(entered, 30U);
  EXPECT_GT(returned, 30U);
  batch gone;
  for (auto& p : probes) gone.remove(*p);
  for (auto& r : retprobes) gone.remove(*r);
  EXPECT_FALSE(gone.commit());
  end = true;
  for (auto& t : others) t.join();
}

TEST(LibprobesOwnCalls, FromHandlersOnThemThatRegisterAndRemove) {
  // The hit may come inside of libprobe: there no handler runs; in the program it does, and does as it likes.
  static probe other{.at = &subject, .pre_handler = just_count};
  static std::atomic<int> refused, registered;
  refused = registered = 0;
  std::vector<std::unique_ptr<probe>> probes;
  for (const auto* name : {"getpid", "malloc", "mmap", "pwrite", "syscall", "open", "read"}) {
    const auto at = std::string{"libc.so.6:"} + name;
    probes.emplace_back(new probe{.at = at.c_str(), .pre_handler = [](probe&, registers&) {
                                    if (register_probe(other)) {
                                      ++refused;
                                    } else {
                                      ++registered;
                                      unregister_probe(other);
                                    }
                                    if (commit_probes() != errc::would_deadlock) abort();
                                    return 0;
                                  }});
    ASSERT_FALSE(register_probe(*probes.back())) << last_error_detail();
  }
  for (int i = 0; i < 10; ++i) {
    getpid();
    change_probes(1);
    std::free(opaque(std::malloc(10)));
  }
  EXPECT_GE(registered, 10);
  probes.clear();
  EXPECT_FALSE(commit_probes());
}

// ---- exceptions ----
struct thrown {
  moment from;
};

TEST_P(In, AnExceptionIsCarriedThroughOrEndsTheProcess) {
  const auto m = GetParam();
  const auto body = [m] {
    freopen("/dev/null", "w", stderr);
    every_kind all;
    bool throws = true;
    all.action = [&](moment now) {
      if (now == m && throws) throw thrown{now};
    };
    if (all.place()) return 1;
    for (int round = 0; round < 10; ++round) {
      try {
        every_kind::call(m);
        return 2;
      } catch (const thrown& what) {
        if (what.from != m) return 3;
      }
    }
    throws = false;
    if (!every_kind::call_all() || all.missed(m) != 0) return 4;  // in no handler any more
    all.remove();                                                 // waits for nobody
    return every_kind::call_all() ? 0 : 5;
  };
  const bool carried = m == moment::jprobe_entry || m == moment::returned || m == moment::replaced;
  EXPECT_EQ(told(test::status_of_child(body)), carried ? exited_with(0) : killed_by(SIGABRT));
}

/// What a child says on standard error before it ends.
template <class Body>
std::string last_words(Body&& body) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const int status = test::status_of_child([&] {
    dup2(ends[1], STDERR_FILENO);
    return body();
  });
  close(ends[1]);
  std::string words(4096, '\0');
  const auto count = read(ends[0], words.data(), words.size());
  close(ends[0]);
  words.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  return told(status) + ": " + words;
}

TEST(Exceptions, ThatCannotBeCarriedThroughEndWithAWord) {
  const auto ends = [](auto place_and_hit) {
    const auto words = last_words(place_and_hit);
    EXPECT_NE(words.find(killed_by(SIGABRT)), std::string::npos) << words;
    EXPECT_NE(words.find("libprobe: a probe's handler threw an exception"), std::string::npos) << words;
  };
  ends([] {
    probe p{.at = &subject, .pre_handler = [](probe&, registers&) -> int { throw 1; }};
    return register_probe(p) ? 1 : subject(1);
  });
  ends([] {
    probe p{.at = &subject, .post_handler = [](probe&, registers&) { throw 1; }};
    return register_probe(p) ? 1 : subject(1);
  });
  ends([] {
    retprobe p{.at = &subject, .entry_handler = [](retprobe_instance&, registers&) -> int { throw 1; }};
    return register_retprobe(p) ? 1 : subject(1);
  });
  ends([] {  // while another exception unwinds the call
    static void (*const fails)(int) = [](int x) {
      if (opaque(x) == 1) throw x;
    };
    retprobe p{.at = fails, .unwind_handler = [](retprobe_instance&) { throw 2; }};
    if (register_retprobe(p)) return 1;
    try {
      opaque(fails)(1);
    } catch (int) {
      return 2;
    }
    return 3;
  });
}

// ---- handlers that never return ----
TEST(NeverReturning, AJumpOutOfAHandlerCostsTheHitsUntilItsPlaceOnTheStackIsUsed) {
  for (const auto m : every_moment) {
    if (m == moment::replaced) continue;  // not allowed: see replacement.hpp
    SCOPED_TRACE(name_of(m));
    every_kind all;
    static sigjmp_buf here;
    bool jumps = true;
    all.action = [&](moment now) {
      if (now == m && jumps) siglongjmp(here, 1);
    };
    ASSERT_FALSE(all.place());
    static int round;
    for (round = 0; round < 100; ++round) {
      if (sigsetjmp(here, 1) == 0) {
        every_kind::call(m);
        FAIL() << "came back";
      }
    }
    EXPECT_EQ(all.seen(m), 100U);
    EXPECT_EQ(all.missed(m), 0U);
    jumps = false;
    EXPECT_TRUE(every_kind::call_all());
    EXPECT_EQ(all.missed(m), 0U);
    all.remove();
  }
}

TEST(NeverReturning, SignalsThatJumpOutOfHitsLoseNothingForGood) {
  // A program's time-out: whatever it interrupts of ours, hits go on, and commits do not wait for it.
  static sigjmp_buf here;
  static volatile sig_atomic_t may_jump, jumps;
  may_jump = 0;
  jumps = 0;
  struct sigaction action {};
  action.sa_handler = [](int) {
    if (may_jump != 0) {
      jumps = jumps + 1;
      siglongjmp(here, 1);
    }
  };
  struct sigaction before {};
  sigaction(SIGALRM, &action, &before);
  probe p{.at = &subject, .pre_handler = just_count};
  probe slow{.at = &neighbour, .pre_handler = [](probe&, registers&) {
               for (int i = 0; i < 200; ++i) opaque(i);
               return 0;
             }};
  retprobe r{.at = &test::target<9>,
             .handler =
                 [](retprobe_instance&, registers&) {
                   for (int i = 0; i < 200; ++i) opaque(i);
                 },
             .maxactive = 256};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(slow));
  ASSERT_FALSE(register_retprobe(r));
  constexpr itimerval often{{0, 300}, {0, 300}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  volatile int wrong = 0;
  while (jumps < 2000) {
    if (sigsetjmp(here, 1) == 0) {
      may_jump = 1;
      for (;;) {
        if (subject(1) != 2 || neighbour(1) != 3 || test::target<9>(1) != 11) wrong = wrong + 1;
      }
    }
    may_jump = 0;
  }
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  EXPECT_EQ(wrong, 0);
  const auto hits_before = hits(p) + nmissed(p);
  const auto missed = nmissed(p) + nmissed(slow) + nmissed(r);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(subject(1), 2);
    EXPECT_EQ(neighbour(1), 3);
    EXPECT_EQ(test::target<9>(1), 11);
  }
  EXPECT_EQ(hits(p) + nmissed(p), hits_before + 10);
  EXPECT_EQ(nmissed(p) + nmissed(slow) + nmissed(r), missed) << "the thread is in no handler";
  std::thread committer{[&] {
    unregister_probe(p);
    unregister_probe(slow);
    unregister_retprobe(r);
  }};
  committer.join();
}

}  // namespace
}  // namespace libprobe
