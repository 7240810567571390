// Profiles of functions that are chosen by pattern: calls, times, latencies, call stacks.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <libprobe/functions.hpp>
#include <libprobe/registers.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace libprobe {

enum class profile_detail {
  calls,  ///< how often each function is called: one counter each, nothing else
  times,  ///< also total and self time, latencies and who called whom: one retprobe each
};

struct profile_options {
  /// Patterns as for list_functions(): `"libsqlite3.so.0:sqlite3_*"`. Looked up when the profiler is made:
  /// the modules must be loaded by then, and stay loaded while it lives.
  std::vector<std::string> functions{};
  std::vector<std::string> except{};  ///< patterns of functions to leave out
  profile_detail detail = profile_detail::times;
  /// With `times`, the whole stack of one call in so many is taken, callers that are not profiled too; on
  /// average, at random. 0: of none. About a microsecond for ten frames; the clock that callers are timed by
  /// stands still meanwhile.
  std::uint32_t sample_every = 0;
  /// What a sampled call weighs, asked at its entry: the bytes that it allocates, say. Runs as a retprobe's
  /// entry_handler, with its rules. Null: nothing.
  std::uint64_t (*value)(const function_info&, const registers&) = nullptr;
  std::size_t trace_events = 0;  ///< calls of each thread to be kept one by one for a timeline, 24 bytes each
  std::size_t maxactive = 0;     ///< see retprobe::maxactive
  bool system_clock = false;     ///< time by clock_gettime, even where the CPU's counter would do
};

/// How often which latency came up, in buckets each of which is a 32nd of a power of two wide.
class latency_histogram {
 public:
  /// How far a quantile may be off, as a part of the true one.
  static constexpr double relative_error = 1.0 / 64;

  struct bucket {
    double from = 0;  ///< nanoseconds; first value in
    double to = 0;    ///< first value above
    double middle = 0;
    std::uint64_t count = 0;  ///< never 0
  };

  latency_histogram() = default;
  explicit latency_histogram(std::vector<bucket> ascending);

  [[nodiscard]] std::span<const bucket> buckets() const noexcept { return buckets_; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  /// Nanoseconds within which the part `q` (0 to 1) of all calls ended: the ceil(q * count)-th shortest. 0
  /// without calls.
  [[nodiscard]] double quantile(double q) const noexcept;

 private:
  std::vector<bucket> buckets_;
  std::uint64_t count_ = 0;
};

struct profiled_function {
  function_info function;
  std::uint64_t calls = 0;    ///< that began, those that are still inside too
  std::uint64_t unwound = 0;  ///< of these, ended by an exception, longjmp or thread exit
  std::uint64_t missed = 0;   ///< further ones that could not be seen: see retprobe's nmissed()
  double total_ns = 0;        ///< with what it called; time of recursive calls counts once
  double self_ns = 0;         ///< without the profiled functions that it called
  latency_histogram latencies;
};

/// What was asked for, and is not profiled: why.
struct skipped_function {
  std::string name;  ///< of the function; or a pattern that nothing fits
  std::string module;
  std::error_code why;
  std::string detail;
};

/// Calls with the same stack.
struct profile_stack {
  std::vector<std::string> frames;  ///< outermost first
  std::uint64_t calls = 0;
  double self_ns = 0;       ///< call tree only
  std::uint64_t value = 0;  ///< samples only: sum of profile_options::value
};

/// One call. Times are nanoseconds since the profiler was made.
struct profile_event {
  std::size_t function = 0;  ///< number in profile_report::functions
  int thread = 0;            ///< the kernel's number of it
  double start_ns = 0;
  double duration_ns = 0;
};

/// What was not recorded though it happened.
struct profile_losses {
  std::uint64_t missed = 0;  ///< calls that no handler saw: sum over the functions
  std::uint64_t untimed =
      0;  ///< calls seen without a time: nested too deep, no memory, ended on another thread
  std::uint64_t unplaced = 0;  ///< calls whose callers are not known, because the thread's call tree is full
  std::uint64_t events = 0;    ///< calls beyond profile_options::trace_events
  std::uint64_t samples = 0;   ///< stacks that could not be walked or kept
};

struct profile_report {
  std::vector<profiled_function> functions;  ///< by address
  std::vector<skipped_function> skipped;
  std::vector<profile_stack> call_tree;  ///< exact; profiled functions alone
  std::vector<profile_stack>
      samples;  ///< estimates for all calls: what was sampled, times profile_options::sample_every
  std::vector<profile_event> events;
  profile_losses losses;
  double running_ns = 0;  ///< between start() and stop(), summed up
  bool from_tsc = false;  ///< timed by the CPU's time-stamp counter, else by clock_gettime
};

/// Profiles while it is started. Any number may exist, on the same functions too.
///
/// A call's time is from the end of its entry handler to its return. What the probes themselves cost is in
/// the time of the functions around it. Handlers take no lock and allocate nothing but, at a thread's first
/// call, by mmap the buffers of that thread, which a later thread inherits. Their size is virtual: 10 KiB a
/// function, and what is asked for traces; what is touched is much less. In a child of fork() it goes on.
class profiler {
 public:
  /// Looks up the functions; places nothing. Allocates; throws std::bad_alloc.
  explicit profiler(profile_options options);
  /// Stops.
  ~profiler();
  profiler(const profiler&) = delete;
  profiler& operator=(const profiler&) = delete;

  /// Places the probes in one patching pass. Functions that are refused are left out and reported as skipped.
  /// An error if no function is left (the last refusal, or errc::symbol_not_found), or if the others cannot
  /// be placed together: nothing is placed then. What was recorded before stays and is added to. Any thread,
  /// not from a handler; nothing happens if it is running.
  std::error_code start();
  /// Takes the probes away in one grace period: the program's text is as it was, and no handler runs any
  /// more. Calls that are inside end untimed. Any thread; not from a handler.
  void stop();
  [[nodiscard]] bool running() const;

  /// What has been recorded so far; while it is running, too, of calls that have ended. Any thread, not from
  /// a handler.
  [[nodiscard]] profile_report report() const;

 private:
  class state;
  std::unique_ptr<state> state_;
};

/// For people: functions by self time (by calls where no times were taken), then what was skipped and lost.
/// `rows` 0: all.
void write_table(std::ostream& out, const profile_report& report, std::size_t rows = 0);

/// By what stacks are weighed.
enum class stack_weight { calls, self_time, value };

/// One line a stack: `outer;inner;innermost 123`. Self time in nanoseconds. The form that flamegraph.pl,
/// speedscope and others read.
void write_folded(std::ostream& out, std::span<const profile_stack> stacks, stack_weight weight);

/// A flame graph as an SVG that needs nothing else: a click zooms in, typing searches, the pointer tells.
/// Boxes of less than a 5,000th of the whole are left out.
void write_flame_graph(std::ostream& out, std::span<const profile_stack> stacks, stack_weight weight,
                       std::string_view title);

/// One function's latencies as an SVG, with its quantiles.
void write_latency_histogram(std::ostream& out, const profiled_function& function);

/// profile_report::events in Chrome's trace format, for ui.perfetto.dev and chrome://tracing.
void write_trace(std::ostream& out, const profile_report& report);

/// The whole report but for its events, for programs.
void write_json(std::ostream& out, const profile_report& report);

}  // namespace libprobe
