// Processes that share a probed program's memory, or a copy of it: fork with and without libc, clone, vfork,
// exec.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "support/every_kind.hpp"
#include "support/racing.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::every_kind;
using test::exited_with;
using test::followed;
using test::just_count;
using test::moment;
using test::opaque;
using test::told;

/// Waits for a child, and says how it ended; one that hangs ends by SIGALRM.
std::string end_of(pid_t child) {
  int status = -1;
  pid_t ended = 0;
  while ((ended = waitpid(child, &status, __WALL)) < 0 && errno == EINTR) {
  }
  return ended == child ? told(status) : "no child";
}
void end_if_it_hangs() {
  signal(SIGALRM, SIG_DFL);
  alarm(60);
}
template <class Body>
std::string end_of_child(Body&& body) {
  return told(test::status_of_child(std::forward<Body>(body)));
}

/// Registers, hits and removes a probe of each kind; 0 if all is well.
int use_everything() {
  every_kind all;
  if (all.place()) return 101;
  for (int i = 0; i < 3; ++i) {
    if (!every_kind::call_all()) return 102;
  }
  for (const auto m : test::every_moment) {
    if (all.seen(m) != 3 || all.hits_of(m) != 3 || all.missed(m) != 0) return 110 + static_cast<int>(m);
  }
  all.remove();
  if (!every_kind::call_all() || all.seen(moment::pre) != 3) return 103;
  return 0;
}

[[gnu::noipa]] int subject(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + 1;
}
[[gnu::noipa]] int deep(int n) { return n == 0 ? subject(0) : opaque(deep(n - 1)) + 1; }

// ---- fork ----
TEST(Fork, ProbesGoOnInTheChildAndTheParent) {
  every_kind all;
  ASSERT_FALSE(all.place());
  ASSERT_TRUE(every_kind::call_all());
  const auto body = [&] {
    for (int i = 0; i < 10; ++i) {
      if (!every_kind::call_all()) return 1;
    }
    for (const auto m : test::every_moment) {
      if (all.seen(m) != 11 || all.hits_of(m) != 11 || all.missed(m) != 0) return 10 + static_cast<int>(m);
    }
    return 0;
  };
  EXPECT_EQ(end_of_child(body), exited_with(0));
  ASSERT_TRUE(every_kind::call_all());
  for (const auto m : test::every_moment) {
    EXPECT_EQ(all.seen(m), 2U) << name_of(m);
    EXPECT_EQ(all.hits_of(m), 2U) << name_of(m);
  }
}

TEST(Fork, TheChildRegistersRemovesAndCommitsOnItsOwn) {
  const auto original = test::bytes_at(test::code_of(&subject), 8);
  probe p{.at = &subject, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  const auto probed = test::bytes_at(test::code_of(&subject), 8);
  const auto body = [&] {
    unregister_probe(p);
    if (test::bytes_at(test::code_of(&subject), 8) != original) return 1;
    if (subject(1) != 2 || hits(p) != 0) return 2;
    if (const int wrong = use_everything()) return wrong;
    if (register_probe(p)) return 3;
    if (subject(1) != 2 || hits(p) != 1) return 4;
    // And once more from there.
    if (end_of_child([&] { return use_everything() != 0 || subject(1) != 2 || hits(p) != 2 ? 5 : 0; }) !=
        exited_with(0))
      return 6;
    return 0;
  };
  EXPECT_EQ(end_of_child(body), exited_with(0));
  EXPECT_EQ(test::bytes_at(test::code_of(&subject), 8), probed) << "the parent's text is its own";
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 1U);
}

TEST(Fork, CallsThatAreOpenReturnInBoth) {
  static int (*fork_here)() = nullptr;
  static int status;
  status = -1;
  fork_here = [] {
    const pid_t child = fork();
    if (child != 0) waitpid(child, &status, 0);
    return child == 0 ? 1000 : 0;
  };
  probe forks{.at = &subject, .pre_handler = [](probe& p, registers& regs) {
                static_cast<void>(p);
                regs.set_argument<int>(0, regs.argument<int>(0) + fork_here());
                return 0;
              }};
  {
    followed calls{&deep};
    ASSERT_FALSE(register_probe(forks));
    const int answer = deep(5);
    if (answer >= 1000) {  // the child
      unregister_probe(forks);
      // Records that belong to this thread must not be taken for those of an ended one: its number has
      // changed.
      const bool whole = answer == 1006 && calls.returns() == 6 && calls.balanced();
      commit_probes();
      bool good = whole;
      for (int i = 0; i < 50; ++i) good = good && deep(20) == 21;
      _exit(good && calls.balanced() && calls.missed() == 0 ? 0 : 1);
    }
    EXPECT_EQ(answer, 6);
    EXPECT_EQ(told(status), exited_with(0));
    EXPECT_TRUE(calls.balanced());
  }
}

TEST(Fork, AThreadsSpareRecordStaysItsOwn) {
  followed calls{&deep};
  ASSERT_EQ(deep(0), 1);
  const auto body = [&] {
    alarm(60);
    commit_probes();  // looks for what ended threads have left behind
    for (int i = 0; i < 100; ++i) {
      if (deep(30) != 31) return 1;
    }
    return calls.balanced() && calls.missed() == 0 ? 0 : 2;
  };
  EXPECT_EQ(end_of_child(body), exited_with(0));
}

/// Threads that sit in what they do until it is over.
class crowd {
 public:
  ~crowd() { leave(); }
  void add(std::function<void()> work) { threads_.emplace_back(std::move(work)); }
  void leave() {
    for (auto& t : threads_) t.join();
    threads_.clear();
  }

 private:
  std::vector<std::thread> threads_;
};

TEST(Fork, WhileOthersAreInsideHandlers) {
  static std::atomic<int> inside;
  static std::atomic<bool> go_on;
  inside = 0;
  go_on = false;
  every_kind all;
  const pid_t parent = getpid();
  all.action = [parent](moment) {
    if (getpid() != parent || go_on) return;
    ++inside;
    while (!go_on) std::this_thread::yield();
  };
  ASSERT_FALSE(all.place());
  crowd others;
  for (const auto m : test::every_moment) others.add([m] { EXPECT_TRUE(every_kind::call(m)); });
  while (inside < static_cast<int>(std::size(test::every_moment))) std::this_thread::yield();
  for (int round = 0; round < 20; ++round) {
    const auto body = [&] {
      if (!every_kind::call_all()) return 1;
      for (const auto m : test::every_moment) {
        if (all.seen(m) != 2 || all.missed(m) != 0) return 10 + static_cast<int>(m);
      }
      all.remove();  // nobody is inside here
      return use_everything();
    };
    ASSERT_EQ(end_of_child(body), exited_with(0)) << "round " << round;
  }
  go_on = true;
}

TEST(Fork, WhileOthersRegisterAndCommit) {
  std::atomic<bool> stop{false};
  crowd others;
  for (int i = 0; i < 3; ++i) {
    others.add([&stop, i] {
      for (int round = 0; !stop; ++round) {
        probe by_name{.at = i == 0   ? "libc.so.6:atoi"
                            : i == 1 ? "libc.so.6:atol"
                                     : "libc.so.6:strtol",
                      .pre_handler = just_count};
        counter counts{.at = &test::target<7>};
        latency times{.at = &test::target<8>};
        batch some;
        some.add(by_name).add(counts).add(times);
        EXPECT_FALSE(some.commit()) << last_error_detail();
        test::target<7>(round);
        test::target<8>(round);
        list_probes();
      }
    });
  }
  others.add([&stop] {
    while (!stop) {
      subject(1);
      commit_probes();
    }
  });
  for (int round = 0; round < 300; ++round) {
    const auto body = [] {
      probe p{.at = "libc.so.6:getenv", .pre_handler = just_count};
      counter counts{.at = &test::target<7>};
      latency times{.at = &test::target<9>};
      if (register_probe(p) || register_counter(counts) || register_latency(times)) return 1;
      getenv("HOME");
      test::target<7>(1);
      test::target<9>(1);
      if (hits(p) != 1 || hits(counts) != 1 || hits(times) != 1) return 2;
      unregister_probe(p);
      list_probes();
      list_functions("libc.so.6:atoi*");
      return use_everything();
    };
    ASSERT_EQ(end_of_child(body), exited_with(0)) << "round " << round;
  }
  stop = true;
}

TEST(Fork, InsideAHandlerOfEachKind) {
  for (const auto m : test::every_moment) {
    static int status;
    status = -1;
    const pid_t parent = getpid();
    bool forked = false;
    every_kind all;
    all.action = [&](moment) {
      if (std::exchange(forked, true)) return;
      const pid_t child = fork();
      if (child == 0) {
        end_if_it_hangs();
      } else {
        waitpid(child, &status, 0);
      }
    };
    ASSERT_FALSE(all.place());
    const bool right = every_kind::call(m);
    if (getpid() != parent) {
      const bool good = right && every_kind::call_all() && all.seen(m) == 2 && all.missed(m) == 0;
      all.remove();
      _exit(good ? use_everything() : 1);
    }
    EXPECT_TRUE(right);
    EXPECT_EQ(told(status), exited_with(0)) << name_of(m);
  }
}

TEST(Fork, FromASignalHandlerWhereverItInterrupts) {
  // fork() is async-signal-safe: so it must be inside libprobe's own work, too.
  static std::atomic<int> forks, bad;
  forks = bad = 0;
  struct sigaction action {};
  action.sa_handler = [](int) {
    const int saved = errno;
    const pid_t child = fork();
    if (child == 0) _exit(0);
    if (child > 0) {
      int status = 0;
      while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
      }
      if (status != 0) ++bad;
      ++forks;
    }
    errno = saved;
  };
  struct sigaction before {};
  sigaction(SIGALRM, &action, &before);
  followed calls{&deep};
  for (int i = 0; forks < 300; ++i) {
    // One at a time: where the machine is slow, too, there is time to go on in between.
    const itimerval soon{{0, 0}, {0, 20 + i * 37 % 1500}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    probe p{.at = &subject, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p));
    ASSERT_EQ(deep(3), 4);
    unregister_probe(p);
  }
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  EXPECT_EQ(bad, 0);
  EXPECT_TRUE(calls.balanced());
}

// ---- without libc's atfork ----
enum class way { fork_call, clone_call, underscore };
class RawFork : public testing::TestWithParam<way> {
 protected:
  static pid_t make_child() {
    switch (GetParam()) {
      case way::fork_call:
        return static_cast<pid_t>(syscall(SYS_fork));
      case way::clone_call:
        return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
      case way::underscore:
        return _Fork();
    }
    return -1;
  }
  template <class Body>
  static std::string end_of_raw_child(Body&& body) {
    const pid_t child = make_child();
    if (child == 0) {
      end_if_it_hangs();
      _exit(body());
    }
    return end_of(child);
  }
};
INSTANTIATE_TEST_SUITE_P(By, RawFork, testing::Values(way::fork_call, way::clone_call, way::underscore),
                         [](const auto& t) {
                           return t.param == way::fork_call    ? "ForkCall"
                                  : t.param == way::clone_call ? "CloneCall"
                                                               : "UnderscoreFork";
                         });

TEST_P(RawFork, ProbesGoOnAndMoreCanBeRegistered) {
  every_kind all;
  ASSERT_FALSE(all.place());
  followed calls{&deep};
  ASSERT_EQ(deep(0), 1);
  const auto body = [&] {
    if (!every_kind::call_all()) return 1;
    for (const auto m : test::every_moment) {
      if (all.seen(m) != 1 || all.missed(m) != 0) return 10 + static_cast<int>(m);
    }
    commit_probes();
    for (int i = 0; i < 50; ++i) {
      if (deep(20) != 21) return 2;
    }
    if (!calls.balanced() || calls.missed() != 0) return 3;
    all.remove();
    return use_everything();
  };
  EXPECT_EQ(end_of_raw_child(body), exited_with(0));
  EXPECT_TRUE(every_kind::call_all());
}

TEST_P(RawFork, WhileOthersAreInsideHandlers) {
  static std::atomic<int> inside;
  static std::atomic<bool> go_on;
  inside = 0;
  go_on = false;
  every_kind all;
  const pid_t parent = getpid();
  all.action = [parent](moment) {
    if (syscall(SYS_getpid) != parent || go_on) return;
    ++inside;
    while (!go_on) std::this_thread::yield();
  };
  ASSERT_FALSE(all.place());
  crowd others;
  for (const auto m : test::every_moment) others.add([m] { EXPECT_TRUE(every_kind::call(m)); });
  while (inside < static_cast<int>(std::size(test::every_moment))) std::this_thread::yield();
  const auto body = [&] {
    if (!every_kind::call_all()) return 1;
    all.remove();  // nobody is inside here
    return use_everything();
  };
  EXPECT_EQ(end_of_raw_child(body), exited_with(0));
  go_on = true;
}

// ---- children in the same memory ----
/// Runs in a child that has this memory, on a stack of its own: the kernel's uprobe selftest clone_vm does
/// so.
std::string end_of_clone(int (*body)(void*), void* argument, int flags) {
  constexpr std::size_t size = std::size_t{256} * 1024;
  void* const stack = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const pid_t child = clone(body, static_cast<char*>(stack) + size, flags | SIGCHLD, argument);
  const auto end = end_of(child);
  munmap(stack, size);
  return end;
}

class CloneVm : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(As, CloneVm, testing::Values(CLONE_VM, CLONE_VM | CLONE_VFORK),
                         [](const auto& t) { return t.param == CLONE_VM ? "AStackOfItsOwn" : "Vfork"; });

TEST_P(CloneVm, HitsEveryKindAndTheParentSeesIt) {
  for (const bool first_hit_in_child : {true, false}) {
    // In a thread of its own, whose first hit may be the child's.
    std::thread{[&] {
      every_kind all;
      ASSERT_FALSE(all.place());
      if (!first_hit_in_child) every_kind::call_all();
      const std::uint64_t before = first_hit_in_child ? 0 : 1;
      for (unsigned round = 1; round <= 20; ++round) {
        ASSERT_EQ(end_of_clone([](void*) { return every_kind::call_all() ? 0 : 1; }, nullptr, GetParam()),
                  exited_with(0));
        for (const auto m : test::every_moment) {
          ASSERT_EQ(all.seen(m), before + round) << name_of(m);
          ASSERT_EQ(all.missed(m), 0U) << name_of(m);
        }
      }
      EXPECT_TRUE(every_kind::call_all());
      all.remove();
    }}.join();
  }
  EXPECT_EQ(use_everything(), 0);
}

TEST_P(CloneVm, OtherThreadsRecordsStayTheirs) {
  // The child's process has no such threads; they are alive all the same.
  std::atomic<bool> stop{false};
  followed calls{&deep, 4096};
  crowd others;
  std::atomic<std::uint64_t> wrong{0};
  for (int i = 0; i < 40; ++i) {
    others.add([&] {
      while (!stop) {
        if (deep(5) != 6) ++wrong;
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
      }
    });
  }
  for (int round = 0; round < 50; ++round) {
    const auto body = [](void*) {
      int bad = 0;
      for (int i = 0; i < 20; ++i) bad += deep(5) != 6 ? 1 : 0;
      commit_probes();
      return bad;
    };
    std::thread{[&] { EXPECT_EQ(end_of_clone(body, nullptr, GetParam()), exited_with(0)); }}.join();
    EXPECT_EQ(use_everything(), 0);
  }
  stop = true;
  others.leave();
  EXPECT_EQ(wrong, 0U);
  EXPECT_TRUE(calls.balanced());
  EXPECT_EQ(calls.missed(), 0U);
}

TEST_P(CloneVm, MayRegisterAndRemoveForBoth) {
  // The process itself has to be the first to register: signal handlers are each process's own.
  ASSERT_EQ(use_everything(), 0);
  const auto body = [](void*) { return use_everything(); };
  EXPECT_EQ(end_of_clone(body, nullptr, GetParam()), exited_with(0));
  EXPECT_EQ(use_everything(), 0);
}

TEST(Vfork, TheChildHitsProbesAndEnds) {
  every_kind all;
  ASSERT_FALSE(all.place());
  for (unsigned round = 1; round <= 50; ++round) {
    const pid_t child = vfork();
    if (child == 0) {
      const bool good = every_kind::call_all();
      _exit(good ? 0 : 1);
    }
    ASSERT_EQ(end_of(child), exited_with(0));
    for (const auto m : test::every_moment) ASSERT_EQ(all.seen(m), round) << name_of(m);
  }
}

[[gnu::noipa]] void ends_here(int how) {
  asm volatile("" : "+r"(how)::"memory");
  if (how == 0) _exit(0);
  execl("/bin/true", "true", nullptr);
  _exit(127);
}
TEST(Vfork, ACallThatTheChildNeverReturnsFromIsGivenUp) {
  followed calls{&ends_here, 1};
  for (int round = 0; round < 20; ++round) {
    const pid_t child = vfork();
    if (child == 0) {
      ends_here(round % 2);
      _exit(1);
    }
    ASSERT_EQ(end_of(child), exited_with(0));
  }
  EXPECT_EQ(calls.missed(), 0U);
  EXPECT_EQ(calls.returns(), 0U);
  EXPECT_GE(calls.unwinds(), calls.entries() - 1) << "the last one is noticed at the next hit";
  unregister_retprobe(calls.probe());
  EXPECT_EQ(use_everything(), 0);
}

// ---- exec ----
TEST(Exec, FromAProbedProcessWithThreadsInHandlers) {
  const auto body = [] {
    static std::atomic<bool> inside{false};
    every_kind all;
    all.action = [](moment m) {
      if (m != moment::pre) return;
      inside = true;
      for (;;) pause();
    };
    if (all.place()) return 1;
    std::thread{[] { every_kind::call(moment::pre); }}.detach();
    while (!inside) std::this_thread::yield();
    // What the new program finds: SIGTRAP as ever, no signal blocked, no descriptor of ours.
    execl("/bin/sh", "sh", "-c",
          "grep -q '^SigBlk:.0*$' /proc/self/status && grep -q '^SigIgn:.0*$' /proc/self/status && "
          "for f in /proc/$$/fd/*; do case $(readlink $f) in */mem|*/maps|*.so*) exit 3;; esac; done",
          nullptr);
    return 2;
  };
  EXPECT_EQ(end_of_child(body), exited_with(0));
}

TEST(Exec, InsideAHandlerOfEachKind) {
  for (const auto m : test::every_moment) {
    const auto body = [m] {
      every_kind all;
      all.action = [](moment) { execl("/bin/sh", "sh", "-c", "kill -TRAP $$; exit 1", nullptr); };
      if (all.place()) return 2;
      every_kind::call(m);
      return 3;
    };
    EXPECT_EQ(end_of_child(body), test::killed_by(SIGTRAP)) << name_of(m) << ": the default action is back";
  }
}

TEST(Exec, OfAProbedProgramsOwnFile) {
  // The text on disk is never written.
  followed calls{&deep};
  const auto body = [] {
    execl("/proc/self/exe", "processes", "--gtest_filter=Fork.ProbesGoOnInTheChildAndTheParent",
          "--gtest_brief=1", nullptr);
    return 1;
  };
  EXPECT_EQ(end_of_child(body), exited_with(0));
}

}  // namespace
}  // namespace libprobe
