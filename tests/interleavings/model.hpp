// An explorer of interleavings under a weak memory model: runs a small program of some threads again and
// again, each time another way, until all ways have been seen.
//
// The threads are fibers of one real thread; each access to an atomic is a point where any of them may go on,
// and a load may answer with any value that the memory model allows. What is explored:
//  - C++'s memory model by views: each location keeps all that was ever stored to it, in order; a thread
//  reads
//    anything that is not older than what it has seen of the location. Release and acquire, by accesses and
//    fences, pass views on; read-modify-writes read the newest, and carry on a release sequence; sequentially
//    consistent fences share one more view, accesses only what concerns their own location (so such a store
//    is no fence, as on Arm). Store buffers, and loads and stores that overtake each other, come out of that.
//  - Not explored: loads that see what is stored after them in program order by a chain of dependencies (load
//    buffering), stores that enter a location's order before what was stored there earlier (2+2W), and
//    spurious failures of compare_exchange_weak.
//  - All interleavings: depth first, without those that differ only in the order of independent steps
//  (dynamic
//    partial order reduction with sleep sets, Flanagan and Godefroid 2005). Or, where that is too much, all
//    with a bounded number of preemptions and no reduction.
//  - A thread that waits in a loop (spin()) goes on when something that it looked at has changed, and sees
//  the change.
//    With bounded preemptions one that has done so three times gives way to all that do not wait: else
//    threads that wait and wake each other would never let the others come.
//
// Found are: accesses to what was freed, or is freed without being ordered behind them; data races on data<>;
// failed checks; threads that wait for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace model {

enum class order : std::uint8_t { relaxed, acquire, release, acq_rel, seq_cst };

// ---- what a scenario is made of

struct bounds {
  int preemptions = -1;                   // at most so many in an execution; -1: any, with reduction
  int old_values = -1;                    // at most so many loads of anything but the newest; -1: any
  std::uint64_t executions = 20'000'000;  // more than these is an error: the scenario is too large
};

/// One program: made anew for each execution.
struct program {
  std::vector<std::function<void()>> threads;  // at most `most_threads`
  std::function<void()> finally;               // when all have ended; sees all they did
};

struct report {
  std::uint64_t executions = 0;  // to the end
  std::uint64_t cut = 0;         // left early: equal to others
  std::size_t longest = 0;       // steps
  std::string violation;         // empty: none found
  std::string trace;
};

inline constexpr int most_threads = 6;

/// Runs all interleavings of the program that `setup` makes, or until the first violation.
report explore(const bounds& limits, const std::function<void(program&)>& setup);

/// A violation, unless it holds. In a thread of the program, or in `finally`.
void check(bool holds, const char* what);
/// For traces.
void name(const volatile void* location, std::string what);
/// The calling thread of the program, from 0 on; -1: none.
int self() noexcept;
/// A choice: 0 to `options` - 1, each explored.
int choose(int options);
/// The thread waits for what it has read since the last time: no more than a change lets it go on.
void spin();
/// A barrier on behalf of all threads, each at its own moment between call and return: membarrier(2).
void barrier_everywhere();
/// Instructions are fetched without order, even from one place: each fetch may bring what stood there at any
/// time since the thread's core was synchronised last.
std::uint64_t fetch(const volatile void* at, std::uint64_t initial);
/// The calling thread's core goes on with what stands there now, and the thread sees what had been stored
/// before what it has fetched: a trap does both.
void serialize();
/// How often the calling thread's core has been synchronised. It is so between two instructions: one that had
/// been fetched in part is fetched again.
int times_synchronized();
/// All cores go on with what the caller sees, each at its own moment between call and return.
void synchronize_cores();
/// A point where other threads may go on.
void step(const char* what);

// ---- under the types below

using word = std::uint64_t;
bool active() noexcept;
word load(const volatile void* at, word initial, order o);
void store(const volatile void* at, word initial, word value, order o);
/// What it was. `change` computes the new value.
word modify(const volatile void* at, word initial, order o, word (*change)(word old, word operand, word mask),
            word operand, word mask);
bool compare_exchange(const volatile void* at, word initial, word& expected, word wanted, order success,
                      order failure);
void fence(order o);
void born(const volatile void* at, word initial);
void dies(const volatile void* at);
void data_born(const void* at);
void data_read(const void* at);
void data_written(const void* at);
void data_freed(const void* at);

/// Ordinary data: accesses that are not ordered are a violation.
template <class T>
class data {
 public:
  data() { data_born(this); }
  explicit data(T value) : value_{value} { data_born(this); }
  data(const data&) = delete;
  data& operator=(const data&) = delete;
  [[nodiscard]] T get() const {
    data_read(this);
    return value_;
  }
  void set(T value) {
    data_written(this);
    value_ = value;
  }
  /// Its memory is given back: nobody may come here any more.
  void free() { data_freed(this); }

 private:
  T value_{};
};

/// A lock. The unlocked path is one step.
class mutex {
 public:
  void lock();
  void unlock();

 private:
  word held_ = 0;
};

// ---- what a program of scenarios is made of

/// Prints what was explored. False: a violation, or, for a litmus test, none.
bool run(const char* title, const bounds& limits, const std::function<void(program&)>& setup);

}  // namespace model
