// Threads parked at every boundary of a jump's window, and in the code behind it, while the window is written
// and restored. A signal handler sends them to a chosen instruction and keeps them there until the text has
// changed.
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <iostream>
#include <memory>
#include <random>
#include <thread>

#include "duration.hpp"
#include "site/site.hpp"
#include "support/jumping.hpp"

extern "C" {
long jump_several_one(long, unsigned char*);
long jump_several_two(long, unsigned char*);
long jump_parked(long, unsigned char*);
int jump_short(int);
extern const std::uint8_t jump_several_one_site[], jump_several_two_site[], jump_wait[], jump_wait_end[];
}

namespace libprobe {
namespace {

/// What is left to do from an instruction on: how often the cell is added to.
struct boundary {
  unsigned offset;
  int additions;
};
struct function {
  const char* name;
  const std::uint8_t* site;
  long (*call)(long, unsigned char*);
  std::vector<boundary> boundaries;
};
const function functions[] = {
    {"one", jump_several_one_site, jump_several_one, {{0, 2}, {1, 2}, {3, 1}, {5, 0}}},
    {"two", jump_several_two_site, jump_several_two, {{0, 3}, {2, 3}, {4, 2}, {6, 1}, {8, 0}}},
};

unsigned char after(unsigned char* cell, int additions) {
  return static_cast<unsigned char>(5 + additions * static_cast<int>(reinterpret_cast<std::uintptr_t>(cell)));
}

/// Something that one thread tells another. Signal-safe; who waits sleeps, so that it is woken at once.
class flag {
 public:
  explicit operator bool() const { return set_ != 0; }
  void set() {
    set_ = 1;
    syscall(SYS_futex, &set_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  void clear() { set_ = 0; }
  void wait() {
    while (set_ == 0) syscall(SYS_futex, &set_, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }

 private:
  std::atomic<std::uint32_t> set_{0};
};

/// A thread that is sent to an instruction, stays before it, and runs on from there.
class parked_thread {
 public:
  parked_thread() { started_.wait(); }
  ~parked_thread() {
    stop_ = true;
    call_.set();
    thread_.join();
  }
  parked_thread(const parked_thread&) = delete;
  parked_thread& operator=(const parked_thread&) = delete;

  /// Comes back when the thread is in its signal handler, about to return to `where`.
  void park(std::uintptr_t where) {
    where_ = where;
    released_.clear();
    parked_.clear();
    done_.clear();
    call_.set();
    while (!parked_) {
      answered_.clear();
      pthread_kill(thread_.native_handle(), SIGUSR1);
      answered_.wait();
    }
  }
  /// Lets it go on, and gives back whether all was done that remained.
  testing::AssertionResult release(int additions) {
    released_.set();
    done_.wait();
    if (result_ != value) return testing::AssertionFailure() << "rcx is " << result_;
    const unsigned got = cell_, expected = after(&cell_, additions);
    if (got != expected) return testing::AssertionFailure() << "cell " << got << " instead of " << expected;
    return testing::AssertionSuccess();
  }

  static void on_signal(int, siginfo_t*, void* frame) {
    auto& self = *current;
    auto& registers = static_cast<ucontext_t*>(frame)->uc_mcontext.gregs;
    auto& rip = registers[REG_RIP];
    const auto at = reinterpret_cast<const std::uint8_t*>(rip);
    if (at >= jump_wait && at < jump_wait_end && !self.parked_) {
      rip = static_cast<greg_t>(self.where_.load());
      registers[REG_RAX] = reinterpret_cast<greg_t>(&self.cell_);
      registers[REG_RCX] = value;
      self.parked_.set();
      self.answered_.set();
      self.released_.wait();
      return;
    }
    self.answered_.set();
  }

 private:
  static constexpr long value = 77;
  void run() {
    current = this;
    started_.set();
    for (;;) {
      call_.wait();
      if (stop_) return;
      call_.clear();
      cell_ = 5;
      result_ = jump_parked(value, &cell_);
      done_.set();
    }
  }

  static thread_local parked_thread* current;
  std::atomic<std::uintptr_t> where_{0};
  std::atomic<bool> stop_{false};
  flag started_, call_, parked_, answered_, released_, done_;
  alignas(2) unsigned char even_ = 0;
  unsigned char cell_ = 5;  // at an odd address: no number of additions looks like another
  long result_ = 0;
  std::thread thread_{[this] { run(); }};
};
thread_local parked_thread* parked_thread::current = nullptr;

/// Runs the functions all the time, as the program does.
class passer_by {
 public:
  ~passer_by() { EXPECT_EQ(stop(), 0U); }
  std::uint64_t stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return wrong_;
  }

 private:
  void run() {
    while (!stop_) {
      for (const auto& f : functions) {
        unsigned char cell = 5;
        if (f.call(3, &cell) != 3 || cell != after(&cell, f.boundaries[0].additions)) ++wrong_;
      }
    }
  }
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> wrong_{0};
  std::thread thread_{[this] { run(); }};
};

class JumpWindows : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "it holds signals back until a thread calls libc, and a parked thread does not";
#endif
    struct sigaction action {};
    action.sa_sigaction = parked_thread::on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGUSR1, &action, nullptr);
  }
  /// A probe on a function's site, whose hits by the parked threads alone are counted: only they have the
  /// value 77.
  struct counted {
    explicit counted(const function& f, probe_flags flags = probe_flags::none)
        : p{.at = static_cast<const void*>(f.site),
            .pre_handler =
                [](probe& self, registers& regs) {
                  if (regs.rdi == 77) ++static_cast<counted*>(self.context)->seen;
                  return 0;
                },
            .flags = flags,
            .context = this} {}
    std::atomic<std::uint64_t> seen{0};
    probe p;
  };
  static void expect_window(const function& f) {
    const auto row = test::row_at(f.site);
    ASSERT_EQ(row.tactic, "over_several") << row.reason;
    ASSERT_TRUE(row.jump);
  }
  static std::uintptr_t address(const function& f, const boundary& b) {
    return reinterpret_cast<std::uintptr_t>(f.site) + b.offset;
  }
  std::mt19937 random_{1};
  std::uint64_t rounds_ = 0;
  void tell(const char* what) const { std::cout << "  " << rounds_ << " rounds: " << what << '\n'; }
};

/// All combinations: two threads, each at any boundary, and what happens to the text before they go on.
TEST_F(JumpWindows, ParkedAtEveryBoundary) {
  parked_thread first, second;
  passer_by other;
  for (const test::until_time_is_over more; more && !HasFailure();) {
    for (const auto& f : functions) {
      for (const auto& a : f.boundaries) {
        const auto& b = f.boundaries[random_() % f.boundaries.size()];
        for (const bool stands_before : {false, true}) {
          for (const bool stands_after : {false, true}) {
            for (const int between :
                 {0, 1, 2}) {  // how often it is written and restored while they are parked
              SCOPED_TRACE(testing::Message()
                           << f.name << ' ' << a.offset << ' ' << b.offset << (stands_before ? " on" : " off")
                           << (stands_after ? " on, " : " off, ") << between);
              counted c{f};
              const auto on = [&] {
                ASSERT_FALSE(register_probe(c.p)) << last_error_detail();
                expect_window(f);
              };
              const auto off = [&] { unregister_probe(c.p); };
              if (stands_before) on();
              first.park(address(f, a));
              second.park(address(f, b));
              bool stands = stands_before;
              for (int i = 0; i < between; ++i) {
                stands ? off() : on();
                stands ? on() : off();
              }
              if (stands != stands_after) stands ? off() : on();
              EXPECT_TRUE(first.release(a.additions));
              EXPECT_TRUE(second.release(b.additions));
              const std::uint64_t hit =
                  stands_after ? (a.offset == 0 ? 1U : 0U) + (b.offset == 0 ? 1U : 0U) : 0U;
              EXPECT_EQ(c.seen, hit);
              ++rounds_;
            }
          }
        }
      }
    }
  }
  tell("parked at a boundary while the window was written or restored");
}

/// Where a jump leads to, as its bytes say.
std::uintptr_t jump_target(const site::site& at) {
  const auto decoded = arch::decode({at.jump->jump.data(), at.jump->shape.window});
  return decoded ? arch::flow_of(*decoded, at.address).branch.value_or(0) : 0;
}

/// In the hop, at the start of the detour, and before each copy: they go on there, whatever becomes of the
/// probe.
TEST_F(JumpWindows, ParkedBehindTheJump) {
  enum class change { none, removed, registered_anew, takes_the_jump, disabled };
  parked_thread thread;
  passer_by other;
  for (const test::until_time_is_over more; more && !HasFailure();) {
    for (const auto& f : functions) {
      for (const auto what : {change::none, change::removed, change::registered_anew, change::takes_the_jump,
                              change::disabled}) {
        for (std::size_t place = 0; place < 1 + f.boundaries.size(); ++place) {
          SCOPED_TRACE(testing::Message()
                       << f.name << ", change " << static_cast<int>(what) << ", place " << place);
          counted c{f}, trap{f, probe_flags::no_jump};
          ASSERT_FALSE(register_probe(c.p));
          expect_window(f);
          const auto& at = *site::sites.find(reinterpret_cast<std::uintptr_t>(f.site));
          std::uintptr_t where = 0;
          int additions = f.boundaries[0].additions;
          if (place == 0) {
            where = jump_target(at);
          } else if (place == 1) {
            where = at.first_copy;
          } else {
            const auto& b = f.boundaries[place - 1];
            where = b.offset < at.jump->shape.window ? at.jump->copies[b.offset] : 0;
            additions = b.additions;
          }
          if (where == 0) continue;
          thread.park(where);
          switch (what) {
            case change::none:
              break;
            case change::removed:
              unregister_probe(c.p);
              break;
            case change::registered_anew:
              unregister_probe(c.p);
              ASSERT_FALSE(register_probe(c.p));
              break;
            case change::takes_the_jump:
              ASSERT_FALSE(register_probe(trap.p));
              commit_probes();
              ASSERT_FALSE(test::row_at(f.site).jump);
              break;
            case change::disabled:
              ASSERT_FALSE(disable_probe(c.p));
              break;
          }
          EXPECT_TRUE(thread.release(additions));
          const bool resting = what == change::removed || what == change::disabled;
          EXPECT_EQ(c.seen, place == 0 && !resting ? 1U : 0U);
          EXPECT_EQ(trap.seen, place == 0 && what == change::takes_the_jump ? 1U : 0U);
          ++rounds_;
        }
      }
    }
  }
  tell("parked in a hop, a detour or a copy while the probe changed");
}

/// A probe that gives way and returns to its jump, time and again, misses nothing.
TEST_F(JumpWindows, ComeAndGoForNeighboursWithoutALostHit) {
  for (const auto& f : functions) {
    if (HasFailure()) break;
    counted first{f};
    ASSERT_FALSE(register_probe(first.p));
    expect_window(f);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> calls{0}, wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 2; ++t) {
      threads.emplace_back([&] {
        std::uint64_t own = 0;
        for (; !stop; ++own) {
          unsigned char cell = 5;
          if (f.call(77, &cell) != 77 || cell != after(&cell, f.boundaries[0].additions)) ++wrong;
        }
        calls += own;
      });
    }
    for (const test::until_time_is_over more; more && !HasFailure();) {
      const auto& inner = f.boundaries[1 + random_() % (f.boundaries.size() - 1)];
      probe neighbour{.at = reinterpret_cast<const void*>(address(f, inner)),
                      .pre_handler = test::just_count};
      EXPECT_FALSE(register_probe(neighbour)) << last_error_detail();
      unregister_probe(neighbour);
      EXPECT_TRUE(test::row_at(f.site).jump) << test::row_at(f.site).reason;
      ++rounds_;
    }
    stop = true;
    for (auto& t : threads) t.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_EQ(hits(first.p) + nmissed(first.p), calls);
    EXPECT_EQ(nmissed(first.p), 0U);
    EXPECT_EQ(first.seen, calls);
  }
  tell("a neighbour came and went while two threads passed by");
}

}  // namespace
}  // namespace libprobe
