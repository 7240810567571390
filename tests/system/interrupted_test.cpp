// Signals at every instruction of a probed function, of what libprobe puts in its way, and of libprobe
// itself: handlers see what they would see without probes, unwind to the true callers, and may change what
// they see.
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include <map>
#include <set>

#include "arch/arch.hpp"
#include "support/interrupting.hpp"
#include "support/jumping.hpp"

extern "C" {
long interrupted_drive(long (*subject)(long), long x);
void interrupted_caller();
long interrupted_plain(long);
long interrupted_forms(long);
extern const char interrupted_begin[], interrupted_end[], interrupted_behind[], interrupted_recovered[];
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
    {"even", make_everywhere<0, 2, false>},
    {"odd", make_everywhere<1, 2, false>},
    {"all", make_everywhere<0, 1, false>},
    {"even_post", make_everywhere<0, 2, true>},
    {"odd_post", make_everywhere<1, 2, true>},
    {"trap_post", make_everywhere<0, 1, true, probe_flags::no_jump>},
    {"stepped", make_everywhere<0, 1, true, probe_flags::single_step>},
    {"counters_even", [](long (*f)(long)) -> std::unique_ptr<probes> { return std::make_unique<counters>(test::code_of(f), 0); }},
    {"counters_odd", [](long (*f)(long)) -> std::unique_ptr<probes> { return std::make_unique<counters>(test::code_of(f), 1); }},
    {"retprobe", make_entry<retprobe, register_retprobe>},
    {"latency", make_entry<latency, register_latency>},
    {"jprobe", make_entry<jprobe, register_jprobe>},
    {"replace", [](long (*f)(long)) -> std::unique_ptr<probes> { return std::make_unique<replaced>(f); }, true},
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

// ---- the oracle

constexpr greg_t flags_compared = 0xcd5;

struct Interrupted : testing::TestWithParam<std::tuple<subject_of_test, obstacle>> {
  void SetUp() override {
    shared = static_cast<board*>(
        mmap(nullptr, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    text_.emplace(test::code_of(function()));
    subject_text = &*text_;
  }
  void TearDown() override { munmap(shared, sizeof *shared); }
  static long (*function())(long) { return std::get<0>(GetParam()).function; }
  static const obstacle& in_the_way() { return std::get<1>(GetParam()); }

  /// The program's own text: where the oracle is the unprobed function.
  [[nodiscard]] bool in_program(greg_t ip) const {
    static const extent driver{reinterpret_cast<const void*>(&interrupted_drive)};
    static const extent caller{reinterpret_cast<const void*>(&interrupted_caller)};
    return text_->has(ip) || caller.has(ip) || driver.has(ip) || leaf().has(ip);
  }
  static const extent& leaf() {
    static const extent found = [] {
      const auto place = symbols::resolve_symbol("interrupted_leaf");
      return extent{reinterpret_cast<const void*>(place)};
    }();
    return found;
  }

  std::optional<extent> text_;
};

}  // namespace
}  // namespace libprobe
