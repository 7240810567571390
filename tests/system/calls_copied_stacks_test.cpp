// Stacks that are copied out and in, as greenlets do: many tasks in turn on the very same bytes of stack.
// What is not there just now is in the middle of its calls all the same.
#include <sys/mman.h>
#include <ucontext.h>

#include <cstring>
#include <thread>

#include "support/observing.hpp"

namespace libprobe {
namespace {

using test::accounts_for;
using test::by;
using test::ends;
using test::opaque;

// ---- tasks on one stack ----
class task;
class shared_stack {
 public:
  shared_stack()
      : start_{static_cast<char*>(
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))} {}
  ~shared_stack() { munmap(start_, size); }
  shared_stack(const shared_stack&) = delete;
  shared_stack& operator=(const shared_stack&) = delete;
  [[nodiscard]] char* start() const { return start_; }
  [[nodiscard]] char* end() const { return start_ + size; }
  static constexpr std::size_t size = std::size_t{256} * 1024;

 private:
  char* start_;
};

class task {
 public:
  task(const shared_stack& stack, void (*body)(task&), long number)
      : id{number}, stack_{stack}, body_{body}, low_{stack.end()} {
    getcontext(&self_);
    self_.uc_stack.ss_sp = stack.start();
    self_.uc_stack.ss_size = shared_stack::size;
    const auto word = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&self_, reinterpret_cast<void (*)()>(&run), 2, static_cast<unsigned>(word),
                static_cast<unsigned>(word >> 32));
    // makecontext() has written the arguments and where to return to.
    low_ = stack.end() - 512;
    saved_.assign(low_, stack.end());
  }
  task(const task&) = delete;
  task& operator=(const task&) = delete;

  /// From a stack of its own, any thread's. False: it has ended.
  bool resume() {
    std::memcpy(low_, saved_.data(), saved_.size());
    swapcontext(&home_, &self_);
    if (ended_) return false;
    saved_.assign(low_, stack_.end());
    return true;
  }
  [[gnu::noinline]] void yield() {
    low_ = static_cast<char*>(__builtin_frame_address(0)) - 2048;
    swapcontext(&self_, &home_);
  }

  const long id;
  long result = 0;

 private:
  static void run(unsigned low, unsigned high) {
    auto& self = *reinterpret_cast<task*>(static_cast<std::uintptr_t>(high) << 32 | low);
    self.body_(self);
    self.ended_ = true;
    setcontext(&self.home_);
  }

  const shared_stack& stack_;
  void (*body_)(task&);
  ucontext_t self_{}, home_{};
  char* low_;
  std::vector<char> saved_;
  bool ended_ = false;
};

// ---- what they do; the program itself counts how its calls end ----
class counted_end {
 public:
  explicit counted_end(ends& into) : into_{into} {}
  ~counted_end() { ++(returned_ ? into_.returned : into_.unwound); }
  counted_end(const counted_end&) = delete;
  counted_end& operator=(const counted_end&) = delete;
  long with(long value) {
    returned_ = true;
    return value;
  }

 private:
  ends& into_;
  bool returned_ = false;
};

ends of_leaf, of_work;

[[gnu::noipa]] long leaf(task* me, long n) {
  counted_end end{of_leaf};
  if (n % 3 == 0 && me != nullptr) me->yield();
  if (n % 7 == 0) throw n;
  return end.with(opaque(n) + 1);
}
/// Without a task: the same, without a pause.
[[gnu::noipa]] long work(task* me, long n, int depth) {
  counted_end end{of_work};
  volatile char room[64];
  room[n & 63] = static_cast<char>(n);
  long sum = 0;
  try {
    sum = opaque(leaf)(me, n);
  } catch (long thrown) {
    sum = -thrown;
  }
  if (depth > 0) sum += opaque(work)(me, n + depth, depth - 1);
  if (me != nullptr) me->yield();
  sum += opaque(leaf)(me, sum);  // may be thrown through all of us
  if (me != nullptr) me->yield();
  return end.with(sum + (room[n & 63] == static_cast<char>(n) ? 0 : 1'000'000));
}
long all_work(task* me, long id) {
  long result = 0;
  for (long i = 0; i < 15; ++i) {
    try {
      result += opaque(work)(me, id * 100 + i, static_cast<int>(id + i) % 5);
    } catch (long thrown) {
      result += thrown * 3;
    }
  }
  return result;
}

constexpr long task_count = 20;

using tasks = std::vector<std::unique_ptr<task>>;
/// A step of each. False: all have ended.
bool step(tasks& all) {
  bool more = false;
  for (auto& one : all) {
    if (one == nullptr) continue;
    if (one->resume()) {
      more = true;
      continue;
    }
    EXPECT_EQ(one->result, all_work(nullptr, one->id)) << "task " << one->id;
    one.reset();
  }
  return more;
}
void in_one_thread(tasks& all) {
  while (step(all)) {
  }
}
void in_threads_by_turns(tasks& all) {
  constexpr int threads = 3;
  std::atomic<int> turn{0};
  std::atomic<bool> more{true};
  std::vector<std::thread> workers;
  for (int mine = 0; mine < threads; ++mine) {
    workers.emplace_back([&, mine] {
      for (int round = mine;; round += threads) {
        while (turn != round) std::this_thread::yield();
        if (more) more = step(all);
        ++turn;
        if (!more) return;
      }
    });
  }
  for (auto& one : workers) one.join();
}
void in_threads_that_end(tasks& all) {
  for (bool more = true; more;) std::thread{[&] { more = step(all); }}.join();
}

using running = void (*)(tasks&);
class CopiedStacks : public testing::TestWithParam<std::tuple<by, running>> {};
std::string name_of_case(const testing::TestParamInfo<CopiedStacks::ParamType>& t) {
  const auto how = std::get<1>(t.param);
  return (how == in_one_thread         ? "OneThread"
          : how == in_threads_by_turns ? "ThreadsByTurns"
                                       : "ThreadsThatEnd") +
         std::string{"SeenBy"} + test::name_of(std::get<0>(t.param));
}
INSTANTIATE_TEST_SUITE_P(In, CopiedStacks,
                         testing::Combine(testing::ValuesIn(test::every_follower),
                                          testing::Values(&in_one_thread, &in_threads_by_turns,
                                                          &in_threads_that_end)),
                         name_of_case);

/// Twice as many calls as it says: each task's result is made once more, without a stack of its own.
void run_all(running how) {
  of_leaf = of_work = {};
  const shared_stack stack;
  tasks all;
  for (long id = 0; id < task_count; ++id)
    all.push_back(std::make_unique<task>(
        stack, [](task& me) { me.result = all_work(&me, me.id); }, id));
  how(all);
}

TEST_P(CopiedStacks, EndEachCallOnceAndRightly) {
  const auto [kind, how] = GetParam();
  run_all(how);
  ASSERT_FALSE(HasFailure()) << "without probes";
  ASSERT_GT(of_work.unwound, 0U);
  ASSERT_GT(of_leaf.unwound, 0U);
  for (const std::size_t maxactive : {1000U, 1U, 2U, 4U}) {
    const auto follows_leaf = test::observe(kind, test::code_of(&leaf), maxactive);
    const auto follows_work = test::observe(kind, test::code_of(&work), maxactive);
    run_all(how);
    ASSERT_FALSE(HasFailure()) << "with up to " << maxactive;
    EXPECT_TRUE(accounts_for(*follows_leaf, of_leaf)) << "with up to " << maxactive;
    EXPECT_TRUE(accounts_for(*follows_work, of_work)) << "with up to " << maxactive;
    if (maxactive == 1000) {
      EXPECT_EQ(follows_leaf->seen().missed + follows_work->seen().missed, 0U);
    }
  }
}

}  // namespace
}  // namespace libprobe
