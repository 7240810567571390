// Signals at every instruction of a probed function, of what libprobe puts in its way, and of libprobe
// itself: handlers see what they would see without probes, unwind to the true callers, and may change what
// they see.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "arch/arch.hpp"
#include "support/interrupting.hpp"
#include "support/jumping.hpp"

extern "C" {
long interrupted_drive(long (*subject)(long), long x);
void interrupted_caller();
long interrupted_plain(long);
long interrupted_forms(long);
extern const char interrupted_begin[], interrupted_end[], interrupted_behind[], interrupted_recovered[];
extern const char __executable_start, etext;  // the linker's
extern std::uint64_t interrupted_stack, interrupted_r15;
}

namespace libprobe {
namespace {

std::uintptr_t address(const void* where) { return reinterpret_cast<std::uintptr_t>(where); }

constexpr int registers_kept = 6;
constexpr int kept[registers_kept] = {3, 6, 12, 13, 14, 15};  // rbx, rbp, r12-r15, as DWARF numbers them
constexpr std::size_t most_frames = 40;

/// What a handler saw.
struct sighting {
  greg_t registers[NGREG];
  std::size_t depth;  // frames from the interrupted one on
  std::uintptr_t frames[most_frames];
  bool interrupted_first;  // the frame below the handler's is the one in the context
  std::uintptr_t driver_sp;
  std::uintptr_t driver_kept[registers_kept];
};

enum class deed : std::uint8_t { look, count_in_r15, recover };

/// Shared with the tracer.
struct board {
  static constexpr std::size_t most = 6000;
  std::size_t count;
  deed what;
  std::uint64_t counted;
  long result;
  std::uint64_t r15, hits, wanted_hits, missed;
  char failure[200];
  sighting seen[most];
};
board* shared = nullptr;

struct walk {
  sighting* into;
  bool inside;
};

_Unwind_Reason_Code take_frame(_Unwind_Context* context, void* data) {
  auto& w = *static_cast<walk*>(data);
  auto& to = *w.into;
  int exact = 0;
  const auto ip = _Unwind_GetIPInfo(context, &exact);
  if (!w.inside) {
    if (exact == 0 || ip != static_cast<std::uintptr_t>(to.registers[REG_RIP])) return _URC_NO_REASON;
    w.inside = to.interrupted_first = true;
  }
  if (to.depth < most_frames) to.frames[to.depth++] = ip;
  if (ip == address(interrupted_end)) {
    to.driver_sp = _Unwind_GetCFA(context);
    for (int i = 0; i < registers_kept; ++i) to.driver_kept[i] = _Unwind_GetGR(context, kept[i]);
  }
  return _URC_NO_REASON;
}

struct extent {
  std::uintptr_t start, end;
  explicit extent(const void* function) {
    const test::whole_function whole{function};
    start = address(whole.start);
    end = start + whole.size;
  }
  [[nodiscard]] bool has(greg_t ip) const {
    return static_cast<std::uintptr_t>(ip) >= start && static_cast<std::uintptr_t>(ip) < end;
  }
};
extent* subject_text = nullptr;

void on_signal(int, siginfo_t*, void* frame) {
  auto& g = static_cast<ucontext_t*>(frame)->uc_mcontext.gregs;
  auto& to = shared->seen[shared->count < board::most - 1 ? shared->count++ : shared->count];
  to = {};
  std::memcpy(to.registers, g, sizeof to.registers);
  walk w{&to, false};
  _Unwind_Backtrace(take_frame, &w);
  const bool in_program = subject_text->has(g[REG_RIP]);
  if (shared->what == deed::count_in_r15 && in_program) {
    ++g[REG_R15];
    ++shared->counted;
  }
  if (shared->what == deed::recover && in_program) {
    g[REG_RIP] = static_cast<greg_t>(address(interrupted_recovered));
    g[REG_RAX] = 0;
    g[REG_RSP] = static_cast<greg_t>(interrupted_stack);
    ++shared->counted;
  }
  interrupting::handler_ends();
}

// ---- what stands in the way

int before(probe&, registers&) { return 0; }
void after(probe&, registers&) {}
void returned(retprobe_instance&, registers&) {}
long entry(long x) { return test::opaque(x); }

/// Probes of one kind while it lives.
struct probes {
  virtual ~probes() = default;
  [[nodiscard]] virtual std::uint64_t seen() const = 0;
  [[nodiscard]] virtual std::uint64_t missed() const { return 0; }
};

/// At every instruction of the function, or every other.
struct everywhere : probes {
  everywhere(const void* function, std::size_t from, std::size_t step, bool post, probe_flags flags) {
    const test::whole_function whole{function};
    for (std::size_t i = from; i < whole.instructions.size(); i += step) {
      auto& p = *all.emplace_back(std::make_unique<probe>());
      p.at = static_cast<const void*>(whole.instructions[i]);
      p.pre_handler = before;
      p.post_handler = post ? after : nullptr;
      p.flags = flags;
      // The function's ud2 is there to be refused or never reached.
      if (register_probe(p)) all.pop_back();
    }
    if (all.empty()) abort();
  }
  [[nodiscard]] std::uint64_t seen() const override {
    std::uint64_t sum = 0;
    for (const auto& p : all) sum += hits(*p);
    return sum;
  }
  [[nodiscard]] std::uint64_t missed() const override {
    std::uint64_t sum = 0;
    for (const auto& p : all) sum += nmissed(*p);
    return sum;
  }
  std::vector<std::unique_ptr<probe>> all;
};

struct counters : probes {
  counters(const void* function, std::size_t from) {
    const test::whole_function whole{function};
    for (std::size_t i = from; i < whole.instructions.size(); i += 2) {
      auto& c = *all.emplace_back(std::make_unique<counter>());
      c.at = static_cast<const void*>(whole.instructions[i]);
      if (register_counter(c)) all.pop_back();
    }
  }
  [[nodiscard]] std::uint64_t seen() const override {
    std::uint64_t sum = 0;
    for (const auto& c : all) sum += hits(*c);
    return sum;
  }
  std::vector<std::unique_ptr<counter>> all;
};

template <class Kind, std::error_code (*Register)(Kind&) noexcept>
struct at_entry : probes {
  explicit at_entry(const void* function) {
    one.at = function;
    if constexpr (requires { one.handler; }) one.handler = returned;
    if constexpr (requires { one.entry; }) one.entry = reinterpret_cast<void*>(&entry);
    if (Register(one)) abort();
  }
  [[nodiscard]] std::uint64_t seen() const override { return hits(one); }
  [[nodiscard]] std::uint64_t missed() const override { return nmissed(one); }
  Kind one;
};

struct replaced : probes {
  explicit replaced(long (*function)(long))
      : handle{replace(function, [](auto original, long x) { return original(x); })} {}
  [[nodiscard]] std::uint64_t seen() const override { return 0; }
  scoped_probe handle;
};

using maker = std::unique_ptr<probes> (*)(long (*)(long));
struct obstacle {
  const char* name;
  maker make;
  bool inside = false;           // at every instruction of libprobe, too, where the function is short
  bool other_registers = false;  // may change what the ABI lets it, behind the function
};

template <std::size_t From, std::size_t Step, bool Post, probe_flags Flags = probe_flags::none>
std::unique_ptr<probes> make_everywhere(long (*function)(long)) {
  return std::make_unique<everywhere>(test::code_of(function), From, Step, Post, Flags);
}
template <class Kind, std::error_code (*Register)(Kind&) noexcept>
std::unique_ptr<probes> make_entry(long (*function)(long)) {
  return std::make_unique<at_entry<Kind, Register>>(test::code_of(function));
}

const obstacle obstacles[] = {
    {"even", make_everywhere<0, 2, false>, true},
    {"odd", make_everywhere<1, 2, false>},
    {"all", make_everywhere<0, 1, false>},
    {"even_post", make_everywhere<0, 2, true>},
    {"odd_post", make_everywhere<1, 2, true>},
    {"trap_post", make_everywhere<0, 1, true, probe_flags::no_jump>, true},
    {"stepped", make_everywhere<0, 1, true, probe_flags::single_step>},
    {"counters_even",
     [](long (*f)(long)) -> std::unique_ptr<probes> {
       return std::make_unique<counters>(test::code_of(f), 0);
     }},
    {"counters_odd",
     [](long (*f)(long)) -> std::unique_ptr<probes> {
       return std::make_unique<counters>(test::code_of(f), 1);
     }},
    {"retprobe", make_entry<retprobe, register_retprobe>, true},
    {"latency", make_entry<latency, register_latency>},
    {"jprobe", make_entry<jprobe, register_jprobe>},
    {"replace", [](long (*f)(long)) -> std::unique_ptr<probes> { return std::make_unique<replaced>(f); },
     true, true},
};

struct subject_of_test {
  const char* name;
  long (*function)(long);
};
const subject_of_test subjects[] = {{"plain", interrupted_plain}, {"forms", interrupted_forms}};

// ---- the tracee

int fail(const char* why) {
  snprintf(shared->failure, sizeof shared->failure, "%s", why);
  return 1;
}

bool call(long (*function)(long)) {
  shared->result = interrupted_drive(function, 41);
  shared->r15 = interrupted_r15;
  return shared->result == 42;
}

void install() {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR1, &action, nullptr);
}

// ---- the oracle: the same signals where there are no probes

using states = std::multimap<greg_t, sighting>;

/// Of flags: the arithmetic ones and DF. A system call hands a tracer's trap flag to the program in r11.
std::vector<greg_t> comparable(const sighting& seen, bool call_clobbered) {
  constexpr greg_t flags = 0xcd5, trap_flag = 0x100;
  std::vector<greg_t> all{seen.registers[REG_RSP], seen.registers[REG_RBX], seen.registers[REG_RBP],
                          seen.registers[REG_R12], seen.registers[REG_R13], seen.registers[REG_R14]};
  if (!call_clobbered) return all;
  for (const int r : {REG_RAX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10})
    all.push_back(seen.registers[r]);
  all.push_back(seen.registers[REG_R11] & ~trap_flag);
  all.push_back(seen.registers[REG_EFL] & flags);
  return all;
}

/// Callers, without the return slots, which unwinders list.
std::vector<std::uintptr_t> chain(const sighting& seen) {
  std::vector<std::uintptr_t> frames;
  for (std::size_t i = 0; i < seen.depth; ++i) {
    if (arch::return_slot_at(seen.frames[i]) == arch::return_slot_count) frames.push_back(seen.frames[i]);
    if (seen.frames[i] == address(interrupted_end)) break;
  }
  return frames;
}
/// From the function that called the probed one on.
std::vector<std::uintptr_t> outer(const std::vector<std::uintptr_t>& frames) {
  return {std::find(frames.begin(), frames.end(), address(interrupted_behind)), frames.end()};
}
bool same_driver(const sighting& a, const sighting& b) {
  // r15 may have been changed in the meantime.
  return a.driver_sp == b.driver_sp &&
         std::equal(a.driver_kept, a.driver_kept + registers_kept - 1, b.driver_kept);
}

std::string told(const sighting& s) {
  std::string text = symbols::describe(static_cast<std::uintptr_t>(s.registers[REG_RIP])).symbol;
  const auto add = [&text](const char* name, greg_t value) {
    char word[64];
    snprintf(word, sizeof word, " %s %#llx", name, value);
    text += word;
  };
  add("rip", s.registers[REG_RIP]);
  add("rsp", s.registers[REG_RSP]);
  add("rax", s.registers[REG_RAX]);
  add("rcx", s.registers[REG_RCX]);
  add("rbx", s.registers[REG_RBX]);
  add("flags", s.registers[REG_EFL]);
  text += "\n  from";
  for (std::size_t i = 0; i < s.depth; ++i) add("", static_cast<greg_t>(s.frames[i]));
  add("\n  driver", static_cast<greg_t>(s.driver_sp));
  for (const auto k : s.driver_kept) add("", static_cast<greg_t>(k));
  return text;
}

void PrintTo(const subject_of_test& what, std::ostream* to) { *to << what.name; }
void PrintTo(const obstacle& what, std::ostream* to) { *to << what.name; }

struct Interrupted : testing::TestWithParam<std::tuple<subject_of_test, obstacle>> {
  void SetUp() override {
    shared = static_cast<board*>(
        mmap(nullptr, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(shared, MAP_FAILED);
    text_.emplace(test::code_of(function()));
    subject_text = &*text_;
  }
  void TearDown() override { munmap(shared, sizeof *shared); }
  static long (*function())(long) { return std::get<0>(GetParam()).function; }
  static const obstacle& in_the_way() { return std::get<1>(GetParam()); }

  /// In the probed function, or in code that was made for its probes.
  [[nodiscard]] bool on_the_way(std::uintptr_t ip) const {
    return text_->has(static_cast<greg_t>(ip)) || arch::return_slot_at(ip) != arch::return_slot_count ||
           ip < address(&__executable_start) || ip >= address(&etext);
  }
  /// At each instruction, so often; at those of libprobe itself once, if at all.
  interrupting::plan each(int times, bool inside) {
    visits_.clear();
    return {address(interrupted_begin), address(interrupted_end), SIGUSR1,
            [this, times, inside](std::uintptr_t ip) {
              return visits_[ip]++ < (on_the_way(ip) ? times : inside ? 1 : 0);
            }};
  }
  /// Only once: at the n-th instruction on the way of those that have not been reached before.
  interrupting::plan only(std::size_t n) {
    visits_.clear();
    return {
        address(interrupted_begin), address(interrupted_recovered), SIGUSR1,
        [this, n](std::uintptr_t ip) { return on_the_way(ip) && visits_[ip]++ == 0 && visits_.size() == n; }};
  }
  void keep_native() {
    native_.clear();
    for (std::size_t i = 0; i < shared->count; ++i)
      native_.emplace(shared->seen[i].registers[REG_RIP], shared->seen[i]);
  }
  /// Every handler's view is one that the oracle has seen; or that of libprobe's own code, from where
  /// unwinding reaches the true callers.
  void compare() {
    ASSERT_LT(shared->count, board::most - 1);
    std::size_t in_program = 0, wrong = 0;
    const auto complain = [&](const char* what, const sighting& seen) {
      if (++wrong <= 4) ADD_FAILURE() << what << ": " << told(seen);
    };
    for (std::size_t i = 0; i < shared->count; ++i) {
      const auto& seen = shared->seen[i];
      if (!seen.interrupted_first) complain("not to be unwound at all", seen);
      const auto [first, last] = native_.equal_range(seen.registers[REG_RIP]);
      if (first == last) {
        const auto& entered = native_.find(static_cast<greg_t>(subject_text->start))->second;
        const bool right = outer(chain(seen)) == outer(chain(entered)) && same_driver(seen, entered);
        if (!right) complain("wrong callers", seen);
        continue;
      }
      ++in_program;
      const bool behind = seen.registers[REG_RIP] == static_cast<greg_t>(address(interrupted_behind)) ||
                          !text_->has(seen.registers[REG_RIP]);
      const bool whole = !(in_the_way().other_registers && behind);
      const bool in_driver = seen.registers[REG_RIP] >= static_cast<greg_t>(address(interrupted_begin)) &&
                             seen.registers[REG_RIP] < static_cast<greg_t>(address(interrupted_recovered));
      const auto same = std::find_if(first, last, [&](const auto& one) {
        return comparable(one.second, whole) == comparable(seen, whole) &&
               (in_driver || chain(one.second) == chain(seen)) && same_driver(one.second, seen);
      });
      if (same == last) {
        complain("no such state", seen);
        if (wrong <= 4) ADD_FAILURE() << "but for instance: " << told(first->second);
      }
    }
    EXPECT_GE(in_program, native_.size() / 2);
    std::printf("%zu signals, %zu of them in the program\n", shared->count, in_program);
  }

  std::optional<extent> text_;
  std::map<std::uintptr_t, int> visits_;
  states native_;
};

std::string name_of(const testing::TestParamInfo<Interrupted::ParamType>& info) {
  return std::string{std::get<0>(info.param).name} + "_" + std::get<1>(info.param).name;
}
/// Those that differ in the code that runs; each step of the tracer takes its time.
const obstacle at_all_forms[] = {obstacles[2], obstacles[4], obstacles[6], obstacles[8]};
INSTANTIATE_TEST_SUITE_P(Short, Interrupted,
                         testing::Combine(testing::Values(subjects[0]), testing::ValuesIn(obstacles)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Long, Interrupted,
                         testing::Combine(testing::Values(subjects[1]), testing::ValuesIn(at_all_forms)),
                         name_of);

TEST_P(Interrupted, ShowsWhatThereWouldBeWithoutProbes) {
  const auto body = [] {
    install();
    interrupting::next_round();
    if (!call(function())) return fail("natively");
    const auto probes = in_the_way().make(function());
    if (!call(function())) return fail("undisturbed");
    const auto before = probes->seen();
    if (!call(function())) return fail("undisturbed");
    shared->wanted_hits = probes->seen() - before;
    shared->count = 0;
    interrupting::next_round();
    if (!call(function())) return fail("interrupted");
    shared->hits = probes->seen() - before - shared->wanted_hits;
    shared->missed = probes->missed();
    interrupting::next_round();
    return call(function()) ? 0 : fail("at last");
  };
  const int code = interrupting::run(
      body,
      [this](int round) {
        const bool whole = in_the_way().inside && function() == interrupted_plain;
        return each(round == 0 ? 9 : round == 1 ? 2 : 0, whole && round == 1);
      },
      [this](int round) {
        if (round == 0) keep_native();
      });
  EXPECT_EQ(code, 0) << shared->failure << ", after "
                     << told(shared->seen[shared->count - (shared->count > 0 ? 1 : 0)]);
  EXPECT_EQ(shared->hits, shared->wanted_hits);
  EXPECT_EQ(shared->missed, 0U);
  compare();
}

TEST_P(Interrupted, LetsHandlersChangeRegisters) {
  const auto body = [] {
    install();
    const auto probes = in_the_way().make(function());
    if (!call(function())) return fail("undisturbed");
    const auto before = interrupted_r15;
    shared->what = deed::count_in_r15;
    interrupting::next_round();
    if (!call(function())) return fail("interrupted");
    shared->r15 -= before;
    return 0;
  };
  EXPECT_EQ(interrupting::run(
                body, [this](int) { return each(2, false); }, [](int) {}),
            0)
      << shared->failure;
  EXPECT_EQ(shared->r15, shared->counted);
  EXPECT_GT(shared->counted, 5U);
}

/// The handler sends the program elsewhere, each time from another instruction.
TEST_P(Interrupted, LetsHandlersLeave) {
  const auto body = [] {
    install();
    const auto probes = in_the_way().make(function());
    if (!call(function())) return fail("undisturbed");
    const auto before = probes->seen();
    if (!call(function())) return fail("undisturbed");
    shared->wanted_hits = probes->seen() - before;
    shared->what = deed::recover;
    for (int n = 1;; ++n) {
      shared->count = 0;
      const auto counted = shared->counted;
      interrupting::next_round();
      const bool done = call(function());
      if (shared->count == 0) break;  // there are no more instructions
      if (done == (shared->counted != counted)) return fail(done ? "not sent elsewhere" : "sent elsewhere");
    }
    shared->what = deed::look;
    const auto then = probes->seen();
    if (!call(function())) return fail("at last");
    shared->hits = probes->seen() - then;
    shared->missed = probes->missed();
    return commit_probes() ? fail("a handler seems to be running") : 0;
  };
  const int code = interrupting::run(
      body, [this](int round) { return only(static_cast<std::size_t>(round) + 1); }, [](int) {});
  EXPECT_EQ(code, 0) << shared->failure << " " << shared->result;
  EXPECT_EQ(shared->hits, shared->wanted_hits);
  EXPECT_EQ(shared->missed, 0U);
  EXPECT_GT(shared->counted, 5U);
}

}  // namespace
}  // namespace libprobe
