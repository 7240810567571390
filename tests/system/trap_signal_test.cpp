// SIGTRAP stays ours, whatever the program does with it: probes go on, and the program sees what it asked
// for. Each case is a child, whose first registration comes when the case says so.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <fstream>
#include <thread>
#include <vector>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::exited_with;
using test::just_count;
using test::status_of_child;
using test::told;

[[gnu::noinline]] int subject(int x) { return test::opaque(x) + 1; }

/// Ends the child with the line that does not hold.
#define HOLDS(condition)                         \
  do {                                           \
    if (!(condition)) _exit(__LINE__ % 251 + 1); \
  } while (false)
#define EXPECT_CHILD(...) \
  EXPECT_EQ(told(status_of_child([&]() -> int __VA_ARGS__)), exited_with(0)) << "line modulo 251, plus 1"

probe on_subject{.at = subject, .pre_handler = just_count};
void place() { HOLDS(!register_probe(on_subject)); }
/// A call that hits.
bool fires() {
  const auto before = hits(on_subject);
  return subject(1) == 2 && hits(on_subject) == before + 1;
}

sigset_t every_signal() {
  sigset_t all;
  sigfillset(&all);
  return all;
}
sigset_t only(int signo) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signo);
  return one;
}
bool believes_blocked(int signo) {
  sigset_t now;
  return pthread_sigmask(SIG_BLOCK, nullptr, &now) == 0 && sigismember(&now, signo) == 1;
}
/// What the kernel says.
bool is_blocked(int signo) {
  std::ifstream status{"/proc/thread-self/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("SigBlk:"))
      return (std::stoull(line.substr(7), nullptr, 16) >> (signo - 1) & 1) != 0;
  }
  return false;
}

std::atomic<int> seen{0};
siginfo_t seen_info;
void note(int, siginfo_t* info, void*) {
  seen_info = *info;
  ++seen;
}
void handle(int signo, void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  HOLDS(sigaction(signo, &action, nullptr) == 0);
}

// ---- masks

TEST(Masks, AllBlockedAfterTheFirstProbe) {
  EXPECT_CHILD({
    place();
    const auto all = every_signal();
    HOLDS(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0);
    HOLDS(believes_blocked(SIGTRAP) && believes_blocked(SIGUSR1));
    HOLDS(!is_blocked(SIGTRAP) && is_blocked(SIGUSR1));
    HOLDS(fires());
    const auto usr1 = only(SIGUSR1);
    HOLDS(sigprocmask(SIG_UNBLOCK, &usr1, nullptr) == 0);
    HOLDS(believes_blocked(SIGTRAP) && !believes_blocked(SIGUSR1));
    sigset_t before;
    HOLDS(sigprocmask(SIG_SETMASK, &usr1, &before) == 0 && sigismember(&before, SIGTRAP) == 1);
    HOLDS(!believes_blocked(SIGTRAP) && believes_blocked(SIGUSR1) && fires());
    return 0;
  });
}

TEST(Masks, AllBlockedBeforeTheFirstProbe) {
  EXPECT_CHILD({
    const auto all = every_signal();
    HOLDS(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
    place();
    HOLDS(believes_blocked(SIGTRAP) && !is_blocked(SIGTRAP) && is_blocked(SIGUSR1) && fires());
    return 0;
  });
}

TEST(Masks, BlockedInOtherThreadsBeforeTheFirstProbe) {
  EXPECT_CHILD({
    std::atomic<int> ready{0};
    std::atomic<bool> placed{false};
    std::atomic<int> good{0};
    int pipe_ends[2];
    HOLDS(pipe(pipe_ends) == 0);
    const auto body = [&](bool in_kernel) {
      const auto all = every_signal();
      HOLDS(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0);
      ++ready;
      if (in_kernel) {
        char byte = 0;
        HOLDS(read(pipe_ends[0], &byte, 1) == 1);
      }
      while (!placed) subject(1);
      HOLDS(believes_blocked(SIGTRAP) && believes_blocked(SIGUSR1) && !is_blocked(SIGTRAP));
      for (int i = 0; i < 1000; ++i) HOLDS(subject(i) == i + 1);
      ++good;
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back(body, i % 2 == 0);
    while (ready != 8) std::this_thread::yield();
    place();
    placed = true;
    HOLDS(write(pipe_ends[1], "four", 4) == 4);
    for (auto& t : threads) t.join();
    HOLDS(good == 8 && hits(on_subject) >= 8000);
    HOLDS(wait(nullptr) == -1 && errno == ECHILD);  // whatever was done for it left no child behind
    return 0;
  });
}

/// libc has all signals blocked while it makes a thread: in the one that makes it, and in the new one.
TEST(Masks, BlockedForAMomentInThreadsThatAreMade) {
  if (std::getenv("LIBPROBE_NO_JUMPS") != nullptr)
    GTEST_SKIP()
        << "guards are breakpoints then, and must not come while threads are made: docs/robustness.md";
  for (int round = 0; round < 20; ++round) {
    EXPECT_CHILD({
      std::atomic<bool> stop{false};
      const auto makes_threads = [&stop] {
        while (!stop) std::thread{[] {}}.join();
      };
      std::vector<std::thread> makers;
      for (int i = 0; i < 3; ++i) makers.emplace_back(makes_threads);
      place();
      stop = true;
      for (auto& one : makers) one.join();
      HOLDS(fires());
      return 0;
    });
  }
}

TEST(Masks, OfThreadsFollowTheirCreators) {
  EXPECT_CHILD({
    place();
    const auto all = every_signal();
    HOLDS(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0);
    std::thread{[] { HOLDS(believes_blocked(SIGTRAP) && fires()); }}.join();
    HOLDS(pthread_sigmask(SIG_UNBLOCK, &all, nullptr) == 0);
    std::thread{[] { HOLDS(!believes_blocked(SIGTRAP) && fires()); }}.join();
    return 0;
  });
}

TEST(Masks, ComeBackWithLongJumpsAndContexts) {
  EXPECT_CHILD({
    place();
    const auto all = every_signal();
    sigjmp_buf there;
    if (sigsetjmp(there, 1) == 0) {
      HOLDS(sigprocmask(SIG_BLOCK, &all, nullptr) == 0 && fires());
      siglongjmp(there, 1);
    }
    HOLDS(!believes_blocked(SIGTRAP));
    HOLDS(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
    if (sigsetjmp(there, 1) == 0) {
      HOLDS(sigprocmask(SIG_UNBLOCK, &all, nullptr) == 0);
      siglongjmp(there, 1);
    }
    HOLDS(believes_blocked(SIGTRAP) && !is_blocked(SIGTRAP) && fires());

    // A context carries its mask, too.
    static ucontext_t here;
    static ucontext_t other;
    static char stack[64 * 1024];
    HOLDS(getcontext(&other) == 0);
    other.uc_stack.ss_sp = stack;
    other.uc_stack.ss_size = sizeof stack;
    other.uc_link = &here;
    sigemptyset(&other.uc_sigmask);
    makecontext(
        &other, [] { HOLDS(!believes_blocked(SIGTRAP) && fires()); }, 0);
    HOLDS(swapcontext(&here, &other) == 0);
    HOLDS(believes_blocked(SIGTRAP) && !is_blocked(SIGTRAP) && fires());
    return 0;
  });
}

TEST(Masks, BySystemCallsOfTheProgramsOwn) {
  EXPECT_CHILD({
    place();
    const std::uint64_t all = ~std::uint64_t{0};
    std::uint64_t before = 0;
    HOLDS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, 8) == 0);
    HOLDS((before >> (SIGTRAP - 1) & 1) == 0 && believes_blocked(SIGTRAP) && !is_blocked(SIGTRAP) && fires());
    HOLDS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, 16, nullptr, 8) == -1 && errno == EFAULT);
    HOLDS(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, 4) == -1 && errno == EINVAL);
    HOLDS(syscall(SYS_rt_sigprocmask, 77, &all, nullptr, 8) == -1 && errno == EINVAL);
    HOLDS(syscall(SYS_rt_sigaction, SIGUSR1, 16, nullptr, 8) == -1 && errno == EFAULT);
    HOLDS(syscall(SYS_rt_sigaction, SIGTRAP, nullptr, 16, 8) == -1 && errno == EFAULT);
    HOLDS(believes_blocked(SIGTRAP) && fires());
    return 0;
  });
}

/// Handlers that run while a system call waits with a mask of its own.
TEST(Masks, OfWaitingSystemCalls) {
  EXPECT_CHILD({
    place();
    static std::atomic<int> good{0};
    handle(SIGUSR1, [](int, siginfo_t*, void*) { good += fires() ? 1 : 0; });
    const auto usr1 = only(SIGUSR1);
    HOLDS(sigprocmask(SIG_BLOCK, &usr1, nullptr) == 0);
    auto all_but = every_signal();
    sigdelset(&all_but, SIGUSR1);
    const int epoll = epoll_create1(0);
    epoll_event event;
    const auto pending = [] { HOLDS(kill(getpid(), SIGUSR1) == 0); };
    pending();
    HOLDS(sigsuspend(&all_but) == -1 && errno == EINTR && good == 1);
    pending();
    HOLDS(ppoll(nullptr, 0, nullptr, &all_but) == -1 && errno == EINTR && good == 2);
    pending();
    HOLDS(pselect(0, nullptr, nullptr, nullptr, nullptr, &all_but) == -1 && errno == EINTR && good == 3);
    pending();
    HOLDS(epoll_pwait(epoll, &event, 1, -1, &all_but) == -1 && errno == EINTR && good == 4);
    HOLDS(believes_blocked(SIGUSR1) && !believes_blocked(SIGTRAP) && fires());
    return 0;
  });
}

TEST(Masks, OfAHandler) {
  EXPECT_CHILD({
    place();
    static std::atomic<int> good{0};
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t*, void* frame) {
      const auto& mask = static_cast<ucontext_t*>(frame)->uc_sigmask;
      HOLDS(believes_blocked(SIGTRAP) && sigismember(&mask, SIGTRAP) == 0 && fires());
      ++good;
    };
    action.sa_flags = SA_SIGINFO;
    sigfillset(&action.sa_mask);
    HOLDS(sigaction(SIGUSR1, &action, nullptr) == 0);
    struct sigaction told {};
    HOLDS(sigaction(SIGUSR1, nullptr, &told) == 0 && told.sa_sigaction == action.sa_sigaction);
    HOLDS(sigismember(&told.sa_mask, SIGTRAP) == 1 && (told.sa_flags & SA_SIGINFO) != 0);
    raise(SIGUSR1);
    HOLDS(good == 1 && !believes_blocked(SIGTRAP) && fires());
    // What a handler writes into its frame is the mask behind it.
    handle(SIGUSR2, [](int, siginfo_t*, void* frame) {
      sigaddset(&static_cast<ucontext_t*>(frame)->uc_sigmask, SIGTRAP);
    });
    raise(SIGUSR2);
    HOLDS(believes_blocked(SIGTRAP) && !is_blocked(SIGTRAP) && fires());
    handle(SIGUSR2, [](int, siginfo_t*, void* frame) {
      auto& mask = static_cast<ucontext_t*>(frame)->uc_sigmask;
      HOLDS(sigismember(&mask, SIGTRAP) == 1);
      sigdelset(&mask, SIGTRAP);
    });
    raise(SIGUSR2);
    HOLDS(!believes_blocked(SIGTRAP) && fires());
    return 0;
  });
}

// ---- waiting for SIGTRAP itself

TEST(Blocked, ATrapWaitsUntilItIsUnblocked) {
  EXPECT_CHILD({
    place();
    handle(SIGTRAP, note);
    const auto trap = only(SIGTRAP);
    HOLDS(sigprocmask(SIG_BLOCK, &trap, nullptr) == 0);
    raise(SIGTRAP);
    raise(SIGTRAP);
    sigset_t pending;
    HOLDS(seen == 0 && fires() && sigpending(&pending) == 0 && sigismember(&pending, SIGTRAP) == 1);
    HOLDS(sigprocmask(SIG_UNBLOCK, &trap, nullptr) == 0);
    HOLDS(seen == 1 && seen_info.si_code == SI_TKILL && seen_info.si_pid == getpid());  // as natively: one
    HOLDS(sigpending(&pending) == 0 && sigismember(&pending, SIGTRAP) == 0 && fires());
    return 0;
  });
}

TEST(Blocked, SigwaitTakesIt) {
  EXPECT_CHILD({
    place();
    const auto trap = only(SIGTRAP);
    HOLDS(sigprocmask(SIG_BLOCK, &trap, nullptr) == 0);
    raise(SIGTRAP);
    int got = 0;
    HOLDS(sigwait(&trap, &got) == 0 && got == SIGTRAP);
    siginfo_t info;
    const timespec none{0, 0};
    HOLDS(sigtimedwait(&trap, &info, &none) == -1 && errno == EAGAIN);
    sigval value;
    value.sival_int = 77;
    HOLDS(sigqueue(getpid(), SIGTRAP, value) == 0);
    HOLDS(sigwaitinfo(&trap, &info) == SIGTRAP && info.si_code == SI_QUEUE && info.si_value.sival_int == 77);
    HOLDS(believes_blocked(SIGTRAP) && fires());
    // It comes while the thread waits.
    std::thread sender{[main = pthread_self()] { HOLDS(pthread_kill(main, SIGTRAP) == 0); }};
    HOLDS(sigwaitinfo(&trap, &info) == SIGTRAP);
    sender.join();
    HOLDS(fires());
    return 0;
  });
}

TEST(Blocked, SignalsReadFromADescriptor) {
  EXPECT_CHILD({
    place();
    const auto all = every_signal();
    HOLDS(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
    const int file = signalfd(-1, &all, SFD_CLOEXEC);
    for (const int signo : {SIGUSR1, SIGTERM}) {
      raise(signo);
      signalfd_siginfo info;
      HOLDS(read(file, &info, sizeof info) == sizeof info && info.ssi_signo == static_cast<unsigned>(signo) &&
            fires());
    }
    return 0;
  });
}

// ---- the program's own handler

void expect_own_handler_works() {
  HOLDS(fires());
  const int before = seen;
  raise(SIGTRAP);
  HOLDS(seen == before + 1 && seen_info.si_code == SI_TKILL && fires());
  asm volatile("int3");
  HOLDS(seen == before + 2 && seen_info.si_code == SI_KERNEL && fires());
  struct sigaction told {};
  HOLDS(sigaction(SIGTRAP, nullptr, &told) == 0 && told.sa_sigaction == note);
}

TEST(OwnHandler, SetBeforeAndAfter) {
  EXPECT_CHILD({
    handle(SIGTRAP, note);
    place();
    expect_own_handler_works();
    return 0;
  });
  EXPECT_CHILD({
    place();
    handle(SIGTRAP, note);
    expect_own_handler_works();
    HOLDS(signal(SIGTRAP, SIG_IGN) == reinterpret_cast<sighandler_t>(reinterpret_cast<std::uintptr_t>(note)));
    raise(SIGTRAP);
    HOLDS(seen == 2 && fires());
    handle(SIGTRAP, note);
    expect_own_handler_works();
    return 0;
  });
}

TEST(OwnHandler, BySignal) {
  EXPECT_CHILD({
    place();
    HOLDS(signal(SIGTRAP, [](int signo) { seen += signo == SIGTRAP ? 1 : 100; }) == SIG_DFL);
    raise(SIGTRAP);
    asm volatile("int3");
    HOLDS(seen == 2 && fires());
    unregister_probe(on_subject);
    raise(SIGTRAP);
    HOLDS(seen == 3);
    place();
    HOLDS(fires());
    return 0;
  });
}

TEST(OwnHandler, IsResetWhenItAsksForThat) {
  EXPECT_CHILD({
    place();
    handle(SIGTRAP, note, SA_RESETHAND);
    raise(SIGTRAP);
    struct sigaction told {};
    HOLDS(seen == 1 && sigaction(SIGTRAP, nullptr, &told) == 0 && told.sa_handler == SIG_DFL && fires());
    handle(SIGUSR1, note, SA_RESETHAND);
    raise(SIGUSR1);
    HOLDS(seen == 2 && sigaction(SIGUSR1, nullptr, &told) == 0 && told.sa_handler == SIG_DFL && fires());
    return 0;
  });
  const auto killed = [](void (*action)()) {
    return told(status_of_child([action] {
      place();
      action();
      return fires() ? 7 : 8;
    }));
  };
  EXPECT_EQ(killed([] {
              handle(SIGTRAP, note, SA_RESETHAND);
              raise(SIGTRAP);
              raise(SIGTRAP);
            }),
            test::killed_by(SIGTRAP));
  EXPECT_EQ(killed([] {
              handle(SIGUSR1, note, SA_RESETHAND);
              raise(SIGUSR1);
              raise(SIGUSR1);
            }),
            test::killed_by(SIGUSR1));
  EXPECT_EQ(killed([] {
              handle(SIGTRAP, note);
              signal(SIGTRAP, SIG_DFL);
              raise(SIGTRAP);
            }),
            test::killed_by(SIGTRAP));
  // The kernel does not let a breakpoint pass that is blocked.
  EXPECT_EQ(killed([] {
              handle(SIGTRAP, note);
              const auto trap = only(SIGTRAP);
              sigprocmask(SIG_BLOCK, &trap, nullptr);
              asm volatile("int3");
            }),
            test::killed_by(SIGTRAP));
  EXPECT_EQ(killed([] {
              signal(SIGTRAP, SIG_IGN);
              asm volatile("int3");
            }),
            test::killed_by(SIGTRAP));
  EXPECT_EQ(killed([] { raise(SIGTRAP); }), test::killed_by(SIGTRAP));
}

TEST(OwnHandler, MayLeaveByALongJump) {
  EXPECT_CHILD({
    place();
    static sigjmp_buf there;
    handle(SIGTRAP, [](int, siginfo_t*, void*) { siglongjmp(there, 1); });
    for (int i = 0; i < 1000; ++i) {
      if (sigsetjmp(there, 1) == 0) {
        if (i % 2 == 0) raise(SIGTRAP);
        asm volatile("int3");
        return 1;
      }
      HOLDS(!believes_blocked(SIGTRAP) && fires());
    }
    // Out of one that was kept, and comes while the mask changes.
    const auto trap = only(SIGTRAP);
    if (sigsetjmp(there, 1) == 0) {
      HOLDS(sigprocmask(SIG_BLOCK, &trap, nullptr) == 0);
      raise(SIGTRAP);
      sigprocmask(SIG_UNBLOCK, &trap, nullptr);
      return 2;
    }
    HOLDS(fires());
    unregister_probe(on_subject);  // nothing holds its grace period up
    return 0;
  });
}

TEST(OwnHandler, OfOtherSignalsRunsProbes) {
  EXPECT_CHILD({
    static std::atomic<int> good{0};
    handle(SIGUSR1, [](int, siginfo_t*, void*) { good += fires() ? 1 : 100; });  // before the first probe
    place();
    handle(SIGUSR2, [](int, siginfo_t*, void*) { good += fires() ? 1 : 100; });
    for (int i = 0; i < 100; ++i) {
      raise(SIGUSR1);
      raise(SIGUSR2);
    }
    HOLDS(good == 200);
    return 0;
  });
}

// ---- probes on what changes signals, and in code that runs with all signals blocked

TEST(LibcOwnWork, ProbesOnTheSignalFunctionsThemselves) {
  EXPECT_CHILD({
    place();
    constexpr const char* names[] = {"libc.so.6:sigaction",   "libc.so.6:pthread_sigmask",
                                     "libc.so.6:sigprocmask", "libc.so.6:raise",
                                     "libc.so.6:signal",      "libc.so.6:sigwait"};
    std::vector<std::unique_ptr<probe>> probes;
    for (const auto* name : names) {
      probes.push_back(std::make_unique<probe>());
      probes.back()->at = name;
      probes.back()->pre_handler = just_count;
      HOLDS(!register_probe(*probes.back()));
    }
    // Every instruction of the function that holds the system call.
    const auto start = address_of(*probes[1]);
    std::vector<std::unique_ptr<probe>> inner;
    for (std::uintptr_t at = 1; at < 64; ++at) {
      inner.push_back(std::make_unique<probe>());
      inner.back()->at = static_cast<const void*>(static_cast<const std::byte*>(start) + at);
      inner.back()->pre_handler = just_count;
      inner.back()->post_handler = [](probe&, registers&) {};
      register_probe(*inner.back());  // where there is none: refused
    }
    handle(SIGTRAP, note);
    const auto all = every_signal();
    for (int i = 0; i < 100; ++i) {
      sigset_t before;
      HOLDS(pthread_sigmask(SIG_BLOCK, &all, &before) == 0 && believes_blocked(SIGTRAP));
      raise(SIGTRAP);
      int got = 0;
      const auto trap = only(SIGTRAP);
      HOLDS(sigwait(&trap, &got) == 0 && got == SIGTRAP);
      HOLDS(pthread_sigmask(SIG_SETMASK, &before, nullptr) == 0 && fires());
    }
    std::uint64_t within = 0;
    for (const auto& p : inner) within += hits(*p);
    HOLDS(hits(*probes[0]) >= 1 && hits(*probes[1]) >= 300 && hits(*probes[3]) == 100 && within > 1000);
    expect_own_handler_works();
    return 0;
  });
}

TEST(LibcOwnWork, ProbesWhereLibcBlocksAllSignals) {
  EXPECT_CHILD({
    // What posix_spawn's child calls in the parent's memory, and what pthread_create's does before the
    // thread's own code.
    constexpr const char* names[] = {"libc.so.6:dup2",    "libc.so.6:open64", "libc.so.6:close",
                                     "libc.so.6:setpgid", "libc.so.6:execve", "libc.so.6:memset",
                                     "libc.so.6:strlen",  "libc.so.6:mmap",   "libc.so.6:mprotect"};
    std::vector<std::unique_ptr<probe>> probes;
    for (const auto* name : names) {
      probes.push_back(std::make_unique<probe>());
      probes.back()->at = name;
      probes.back()->pre_handler = just_count;
      HOLDS(!register_probe(*probes.back()));
    }
    place();
    const auto missed = [&] {
      std::uint64_t sum = 0;
      for (const auto& p : probes) sum += nmissed(*p);
      return sum;
    };
    const auto before = missed();  // by what libprobe itself called meanwhile
    for (int i = 0; i < 20; ++i) {
      HOLDS(WEXITSTATUS(std::system("exit 7")) == 7);
      FILE* const out = popen("echo hello", "r");
      char line[8] = {};
      HOLDS(out != nullptr && std::fgets(line, sizeof line, out) != nullptr &&
            std::string_view{line} == "hello\n");
      HOLDS(pclose(out) == 0);
      std::thread{[] { HOLDS(fires()); }}.join();
    }
    HOLDS(fires());
    HOLDS(missed() == before && hits(*probes[0]) >= 20 && hits(*probes[4]) >= 40);
    return 0;
  });
  // raise and abort, too.
  EXPECT_EQ(told(status_of_child([] {
              static probe on_kill{.at = "libc.so.6:getpid", .pre_handler = just_count};
              if (register_probe(on_kill)) return 1;
              std::abort();
            })),
            test::killed_by(SIGABRT));
}

/// A child that shares the memory until it executes another program changes nothing for its parent.
TEST(LibcOwnWork, AChildsActionsAreNotTheParents) {
  EXPECT_CHILD({
    place();
    handle(SIGTRAP, note);
    handle(SIGUSR1, note);
    const pid_t child = vfork();
    if (child == 0) {
      signal(SIGTRAP, SIG_DFL);
      signal(SIGUSR1, SIG_IGN);
      execl("/bin/true", "true", nullptr);
      _exit(1);
    }
    int status = 0;
    HOLDS(waitpid(child, &status, 0) == child && status == 0);
    expect_own_handler_works();
    const int before = seen;
    raise(SIGUSR1);
    HOLDS(seen == before + 1);
    // A program that is executed finds the default.
    HOLDS(WEXITSTATUS(std::system("sh -c 'kill -TRAP $$'")) == 128 + SIGTRAP);
    return 0;
  });
}

}  // namespace
}  // namespace libprobe
