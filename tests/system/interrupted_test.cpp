// Signals at every instruction of a probed function, of what libprobe puts in its way, and of libprobe
// itself: handlers see what they would see without probes, unwind to the true callers, and may change what
// they see.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "arch/arch.hpp"
#include "site/site.hpp"
#include "site/slots.hpp"
#include "support/interrupting.hpp"
#include "support/jumping.hpp"

extern "C" {
long interrupted_drive(long (*subject)(long), long x);
void interrupted_caller();
long interrupted_plain(long);
long interrupted_forms(long);
long interrupted_far(long);
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

enum class deed : std::uint8_t { look, count_in_r15, recover, jump };

/// Shared with the tracer.
struct board {
  static constexpr std::size_t most = 6000;
  std::size_t count;
  deed what;
  std::uint64_t counted;
  long result;
  std::uint64_t r15, hits, wanted_hits, missed;
  char failure[200];
  char tactics[100];
  struct slot {
    std::uintptr_t start, end;
  } far_copies[50];  // that reach their operand by another register
  std::size_t far_copies_count;
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
sigjmp_buf before_call;

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
  if (shared->what == deed::jump) ++shared->counted;
  interrupting::handler_ends();
  if (shared->what == deed::jump) siglongjmp(before_call, 1);
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

/// The function's caller is followed, too: one call begins inside of another one.
struct nested : probes {
  explicit nested(const void* function) : outer{test::code_of(interrupted_caller)}, inner{function} {}
  [[nodiscard]] std::uint64_t seen() const override { return outer.seen() + inner.seen(); }
  [[nodiscard]] std::uint64_t missed() const override { return outer.missed() + inner.missed(); }
  at_entry<retprobe, register_retprobe> outer, inner;
};

struct replaced : probes {
  explicit replaced(long (*function)(long))
      : handle{replace(function, [](auto original, long x) { return original(x); })} {}
  [[nodiscard]] std::uint64_t seen() const override { return handle.hits(); }
  scoped_probe handle;
};

/// Called by its detour with nothing of libprobe in between; itself it calls the original.
struct direct : probes {
  explicit direct(const void* function, probe_flags flags) {
    one.at = function;
    one.entry = reinterpret_cast<void*>(call_original);
    one.stack_bytes = 0;
    one.result = result_registers::first_integer;
    one.flags = flags;
    if (register_replacement(one)) abort();
    self = &one;
  }
  static long call_original(long x) {
    const auto go_on = reinterpret_cast<long (*)(long)>(original(*self));
    return go_on(x);
  }
  [[nodiscard]] std::uint64_t seen() const override { return hits(one); }
  [[nodiscard]] std::uint64_t missed() const override { return nmissed(one); }
  static inline const replacement* self = nullptr;
  replacement one;
};

using maker = std::unique_ptr<probes> (*)(long (*)(long));
struct obstacle {
  const char* name;
  maker make;
  bool inside = false;           // at every instruction of libprobe, too, where the function is short
  bool other_registers = false;  // may change what the ABI lets it, behind the function
  bool caller = false;           // the function's caller is probed, too
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
    {"nested",
     [](long (*f)(long)) -> std::unique_ptr<probes> { return std::make_unique<nested>(test::code_of(f)); },
     true, false, true},
    {"replace", [](long (*f)(long)) -> std::unique_ptr<probes> { return std::make_unique<replaced>(f); },
     true, true},
    {"direct",
     [](long (*f)(long)) -> std::unique_ptr<probes> {
       return std::make_unique<direct>(test::code_of(f), probe_flags::none);
     },
     true, true},
    {"direct_standard",
     [](long (*f)(long)) -> std::unique_ptr<probes> {
       return std::make_unique<direct>(test::code_of(f), probe_flags::standard_abi);
     },
     true, true},
    {"replaced_by_trap",
     [](long (*f)(long)) -> std::unique_ptr<probes> {
       return std::make_unique<direct>(test::code_of(f), probe_flags::no_jump);
     },
     true, true},
};
constexpr std::size_t replacing = 4;  // the last ones

struct subject_of_test {
  const char* name;
  long (*function)(long);
};
const subject_of_test subjects[] = {
    {"plain", interrupted_plain}, {"forms", interrupted_forms}, {"far", interrupted_far}};

/// How each probe in the function is reached: a letter for each, by address.
void note_tactics(long (*function)(long)) {
  const extent where{test::code_of(function)};
  auto rows = list_probes();
  std::ranges::sort(rows, {}, &probe_row::address);
  std::size_t count = 0;
  for (const auto& row : rows) {
    if (!where.has(static_cast<greg_t>(row.address)) || count + 1 == sizeof shared->tactics) continue;
    static const std::map<std::string, char, std::less<>> letters{
        {"over_long", 'l'}, {"punned", 'p'}, {"prefixed", 'x'}, {"over_several", 's'}, {"breakpoint", '.'}};
    const auto letter = letters.find(row.tactic);
    shared->tactics[count++] = letter == letters.end() ? '?' : letter->second;
  }
  shared->tactics[count] = 0;
}

/// From now on all that is mapped for code is more than 2 GiB from this program, but for pages: hops. Those
/// of a jump in the place of the function's first instruction are among them, which is one byte long: the
/// jump's distance ends in the next one's bytes, 48 8b 1d, wherever the linker has put its operand.
void crowd_out() {
  constexpr std::uintptr_t most = std::uintptr_t{1} << 20, least = std::uintptr_t{1} << 15;
  constexpr std::uintptr_t reach = (std::uintptr_t{1} << 31) + 2 * most;
  const auto reserve = [](std::uintptr_t at, std::uintptr_t size) {
    return mmap(reinterpret_cast<void*>(at), size, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED;
  };
  constexpr std::uintptr_t jump_length = 5, first_bytes = 0x1d8b48, page = 4096;
  const auto hop = address(test::code_of(interrupted_far)) + jump_length + first_bytes;
  const auto here = (hop - (most - least / 2)) & ~(page - 1);
  for (auto at = here - reach; at != here + reach; at += most) {
    if (reserve(at, most - least)) continue;
    for (auto part = at; part != at + most - least; part += least) reserve(part, least);
  }
}

/// Which copies of the function's instructions came to use another register instead of the instruction
/// pointer.
void note_far_copies(long (*function)(long)) {
  const extent where{test::code_of(function)};
  for (const auto& row : list_probes()) {
    const auto* const at =
        where.has(static_cast<greg_t>(row.address)) ? site::sites.find(row.address) : nullptr;
    const auto* const slot = at == nullptr ? nullptr : site::slot_at(at->first_copy);
    if (slot == nullptr || slot->layout.scratch == arch::displaced::no_register) continue;
    shared->far_copies[shared->far_copies_count++] = {slot->code,
                                                      slot->code + slot->layout.units * arch::slot_unit};
  }
}

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
  /// In the tracee.
  static std::unique_ptr<probes> place(long (*function)(long)) {
    if (function == interrupted_far) crowd_out();
    auto made = in_the_way().make(function);
    note_tactics(function);
    note_far_copies(function);
    return made;
  }
  /// Whatever is reached by another tactic is another case. Which of the short jumps one is may depend on
  /// where the linker has put what an instruction refers to.
  static void expect_tactics() {
    static const std::map<std::string, std::string, std::less<>> meant{
        {"plain_even", ".jlj"},
        {"plain_odd", "jllj"},
        {"plain_all", "...lll.j"},
        {"plain_stepped", "........"},
        {"forms_all", "..l.....l..l.ll.l.ll...l.l....l.l..j"},
        {"forms_odd", "jjj.jlljjljlljjjjj"},
        {"forms_stepped", "...................................."},
        {"plain_replaced_by_trap", "."},
        {"far_even", "jlllll."},
        {"far_odd", "llll.l."}};
    const std::string subject = std::get<0>(GetParam()).name;
    std::string kind = in_the_way().name;
    if (kind == "counters_even" || kind == "even_post") kind = "even";
    if (kind == "counters_odd" || kind == "odd_post") kind = "odd";
    if (kind == "trap_post") kind = "stepped";
    const auto known = meant.find(subject + "_" + kind);
    // At the entry, of functions that begin alike.
    const std::string wanted = known != meant.end() ? known->second : "j";
    std::string found = shared->tactics;
    std::ranges::replace_if(
        found, [](char c) { return c == 'p' || c == 'x' || c == 's'; }, 'j');
    EXPECT_EQ(found, wanted) << shared->tactics;
  }

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
  interrupting::plan only(std::size_t n, bool inside = false) {
    visits_.clear();
    return {address(interrupted_begin), address(interrupted_recovered), SIGUSR1,
            [this, n, inside](std::uintptr_t ip) {
              return (inside || on_the_way(ip)) && visits_[ip]++ == 0 && visits_.size() == n;
            }};
  }
  /// Leaves by siglongjmp, each time from another instruction. What it interrupted was no handler: so nothing
  /// is missed from then on, and no removal waits for it.
  void leave_from_each(bool inside);
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
    const auto& entered = native_.find(static_cast<greg_t>(subject_text->start))->second;
    const auto right = [this, &entered](const sighting& seen) {
      const auto callers = chain(seen);
      const auto found = outer(callers);
      // Where the caller itself begins or returns.
      const bool in_caller = in_the_way().caller && found.empty() && !callers.empty() &&
                             callers.back() == address(interrupted_end);
      return (in_caller || found == outer(chain(entered))) && same_driver(seen, entered);
    };
    const auto complain = [&](const char* what, const sighting& seen) {
      if (++wrong <= 4) ADD_FAILURE() << what << ": " << told(seen);
    };
    for (std::size_t i = 0; i < shared->count; ++i) {
      const auto& seen = shared->seen[i];
      if (!seen.interrupted_first) complain("not to be unwound at all", seen);
      const auto [first, last] = native_.equal_range(seen.registers[REG_RIP]);
      if (first == last) {
        if (!right(seen)) complain("wrong callers", seen);
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
      // A replacement calls the function from deeper down.
      const bool deeper = in_the_way().other_registers && text_->has(seen.registers[REG_RIP]);
      if (same == last && !(deeper && right(seen))) {
        complain("no such state", seen);
        if (wrong <= 4) ADD_FAILURE() << "but for instance: " << told(first->second);
      }
    }
    EXPECT_GE(in_program, native_.size() / 2);
    std::printf("%zu signals, %zu of them in the program\n", shared->count, in_program);
  }

  /// There are such, and signals came at their instructions.
  void expect_far_copies() const {
    EXPECT_GE(shared->far_copies_count, 3U);
    for (std::size_t i = 0; i < shared->far_copies_count; ++i) {
      const auto& copy = shared->far_copies[i];
      const auto distance = static_cast<std::int64_t>(copy.start - address(interrupted_begin));
      EXPECT_GT(std::abs(distance), std::int64_t{1} << 31);
      const auto inside = std::ranges::count_if(visits_, [&copy](const auto& visit) {
        return visit.first >= copy.start && visit.first < copy.end;
      });
      EXPECT_GE(inside, 5) << "instructions of a copy";
    }
    std::printf("%zu copies far from their operands\n", shared->far_copies_count);
  }

  std::optional<extent> text_;
  std::map<std::uintptr_t, int> visits_;
  states native_;
};

std::string name_of(const testing::TestParamInfo<Interrupted::ParamType>& info) {
  return std::string{std::get<0>(info.param).name} + "_" + std::get<1>(info.param).name;
}
/// Those at the function's entry alone, and so few steps from its begin to its end.
const auto at_entries = [] {
  std::vector<obstacle> some;
  std::ranges::copy_if(obstacles, std::back_inserter(some), [](const obstacle& one) {
    const std::string_view name = one.name;
    return !name.starts_with("even") && !name.starts_with("odd") && !name.starts_with("trap") &&
           name != "all" && name != "stepped" && !name.starts_with("counters");
  });
  some.push_back({"one", [](long (*f)(long)) -> std::unique_ptr<probes> {
                    return std::make_unique<everywhere>(test::code_of(f), 0, 100, false, probe_flags::none);
                  }});
  some.push_back({"one_post", [](long (*f)(long)) -> std::unique_ptr<probes> {
                    return std::make_unique<everywhere>(test::code_of(f), 0, 100, true, probe_flags::none);
                  }});
  some.push_back({"one_trap", [](long (*f)(long)) -> std::unique_ptr<probes> {
                    return std::make_unique<everywhere>(test::code_of(f), 0, 100, true, probe_flags::no_jump);
                  }});
  some.push_back({"counter", [](long (*f)(long)) -> std::unique_ptr<probes> {
                    return std::make_unique<at_entry<counter, register_counter>>(test::code_of(f));
                  }});
  return some;
}();
/// Those that differ in the code that runs; each step of the tracer takes its time.
const obstacle at_all_forms[] = {obstacles[2], obstacles[4], obstacles[6], obstacles[8]};
INSTANTIATE_TEST_SUITE_P(Short, Interrupted,
                         testing::Combine(testing::Values(subjects[0]), testing::ValuesIn(obstacles)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Long, Interrupted,
                         testing::Combine(testing::Values(subjects[1]), testing::ValuesIn(at_all_forms)),
                         name_of);

/// Without replacements: these are functions with registers to restore, and their end must be told.
struct Changed : Interrupted {};
const auto but_replaced = testing::ValuesIn(std::begin(obstacles), std::end(obstacles) - replacing);
INSTANTIATE_TEST_SUITE_P(Short, Changed, testing::Combine(testing::Values(subjects[0]), but_replaced),
                         name_of);
struct Left : Interrupted {};
INSTANTIATE_TEST_SUITE_P(Short, Left, testing::Combine(testing::Values(subjects[0]), but_replaced), name_of);
struct Jumped : Interrupted {};
INSTANTIATE_TEST_SUITE_P(Short, Jumped,
                         testing::Combine(testing::Values(subjects[0]), testing::ValuesIn(obstacles)),
                         name_of);
struct JumpedInside : Interrupted {};
INSTANTIATE_TEST_SUITE_P(Short, JumpedInside,
                         testing::Combine(testing::Values(subjects[0]), testing::ValuesIn(at_entries)),
                         name_of);
/// Copies that reach their operands by another register.
INSTANTIATE_TEST_SUITE_P(Far, Interrupted,
                         testing::Combine(testing::Values(subjects[2]),
                                          testing::Values(obstacles[0], obstacles[4])),
                         name_of);

TEST_P(Interrupted, ShowsWhatThereWouldBeWithoutProbes) {
  const auto body = [] {
    install();
    interrupting::next_round();
    if (!call(function())) return fail("natively");
    const auto probes = place(function());
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
        return each(round == 0 ? 9 : round == 1 ? 2 : 0, round == 0 || (whole && round == 1));
      },
      [this](int round) {
        if (round == 0) keep_native();
      });
  EXPECT_EQ(code, 0) << shared->failure << ", after "
                     << told(shared->seen[shared->count - (shared->count > 0 ? 1 : 0)]);
  EXPECT_EQ(shared->hits, shared->wanted_hits);
  EXPECT_EQ(shared->missed, 0U);
  compare();
  expect_tactics();
  if (function() == interrupted_far) expect_far_copies();
}

TEST_P(Changed, ByHandlersRegistersStayChanged) {
  const auto body = [] {
    install();
    const auto probes = place(function());
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
TEST_P(Left, ByHandlersGoesOnThere) {
  const auto body = [] {
    install();
    const auto probes = place(function());
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

void Interrupted::leave_from_each(bool inside) {
  // There are hundreds in libprobe, and each is stepped to: all of them by hand, with
  // LIBPROBE_EVERY_INSTRUCTION=1.
  const std::size_t stride = inside && std::getenv("LIBPROBE_EVERY_INSTRUCTION") == nullptr ? 5 : 1;
  const auto body = [] {
    install();
    auto probes = place(function());
    if (!call(function())) return fail("undisturbed");
    const auto before = probes->seen();
    if (!call(function())) return fail("undisturbed");
    shared->wanted_hits = probes->seen() - before;
    shared->what = deed::jump;
    for (int n = 1;; ++n) {
      shared->count = 0;
      const volatile auto counted = shared->counted;
      interrupting::next_round();
      if (sigsetjmp(before_call, 1) == 0) {
        if (!call(function())) return fail("no jump, and a wrong result");
        if (shared->counted != counted) return fail("came back");
        break;  // there are no more instructions
      }
      // To where the round ends, with the probes hit in between.
      if (!call(function())) return fail("after the jump");
    }
    shared->what = deed::look;
    const auto then = probes->seen();
    if (!call(function())) return fail("at last");
    shared->hits = probes->seen() - then;
    shared->missed = probes->missed();
    probes.reset();  // comes back
    if (commit_probes()) return fail("a handler seems to be running");
    return call(function()) ? 0 : fail("without probes");
  };
  const int code = interrupting::run(
      body, [&](int round) { return only(static_cast<std::size_t>(round) * stride + 1, inside); }, [](int) {},
      false);
  EXPECT_EQ(code, 0) << shared->failure << " " << shared->result << ", after " << told(shared->seen[0]);
  EXPECT_EQ(shared->hits, shared->wanted_hits);
  EXPECT_EQ(shared->missed, 0U);
  EXPECT_GT(shared->counted, 5U);
  std::printf("left from %llu instructions\n", static_cast<unsigned long long>(shared->counted));
}

TEST_P(Jumped, OutOfByHandlers) { leave_from_each(false); }
/// From libprobe's own code, too.
TEST_P(JumpedInside, OutOfByHandlers) { leave_from_each(true); }

}  // namespace
}  // namespace libprobe
