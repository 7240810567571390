// The explorer's two halves: memory as the threads see it, and the search through all executions.
#include "interleavings/model.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "interleavings/fibers.hpp"

namespace model {

namespace {

constexpr int setting_up = most_threads;  // the clock of setup and finally
constexpr int clocks = 8;
constexpr int most_locations = 160;
constexpr std::size_t most_steps = 4000;
constexpr int most_waits = 3;

/// What a thread has seen: of each thread's clock, and of each location how far in its order of stores.
struct view {
  std::array<std::int16_t, clocks> clock{};
  std::array<std::int16_t, most_locations> at{};

  void join(const view& other) noexcept {
    for (int i = 0; i < clocks; ++i) clock[i] = std::max(clock[i], other.clock[i]);
    join_locations(other);
  }
  /// Coherence only: it orders no data. See full_fence().
  void join_locations(const view& other) noexcept {
    for (int i = 0; i < most_locations; ++i) at[i] = std::max(at[i], other.at[i]);
  }
};

struct message {
  word value;
  int step;     // that stored it; -1: none
  bool passes;  // anything on to who acquires it
  view released;
};

struct access {
  std::array<std::int16_t, clocks> read{};  // clocks at which each thread read last
  int writer = setting_up;
  std::int16_t written = 0;
  bool freed = false;
};

struct location {
  const void* address = nullptr;
  std::vector<message> messages;
  access uses;  // for its birth and its death, and of data all
  void begin(const void* where) {
    address = where;
    messages.clear();
    uses = {};
  }
};

enum class kind : std::uint8_t { begin, load, store, modify, fence, barrier, spin, note };

/// What a thread is about to do, as far as it matters to the others.
struct operation {
  kind what = kind::begin;
  int location = -1;
  bool writes = false;
  bool in_order = false;  // takes part in the order of sequentially consistent operations
  int behalf = -1;        // whose view it changes, besides the thread's own
  const char* note = "";
  bool sees_all = false;  // depends on every store
};

struct thread {
  operation next;
  bool ended = false;
  int waits = 0;
  int synchronized = 0;
  view now;       // what it sees
  view to_come;   // what an acquire fence would let it see
  view fetched;   // what its core fetches at least
  view released;  // what its relaxed stores pass on since the last release fence
  struct seen {
    int location;
    std::int16_t at;
  };
  std::vector<seen> looked_at;             // since it spun last
  std::array<int, most_threads> before{};  // steps of each thread, plus one, that happen before its next one
};

struct step_taken {
  operation what;
  int thread;
  std::size_t node;
  std::array<int, most_threads> before;
  word value = 0, other = 0;
  order o = order::relaxed;
  bool stale = false, failed = false;
};

/// A point where the search had a choice.
struct node {
  bool of_threads = false;
  int chosen = 0;
  int options = 0;  // of values
  // Of threads, as sets of bits:
  unsigned enabled = 0, to_try = 0, tried = 0, asleep = 0;
  int preemptions = 0;  // before it
};

class explorer {
 public:
  report explore(const bounds& limits, const std::function<void(program&)>& setup);

  // Of the running execution.
  bool active = false;
  int current = setting_up;

  word load(const void* at, word initial, order o);
  void store(const void* at, word initial, word value, order o);
  word modify(const void* at, word initial, order o, word (*change)(word, word, word), word operand,
              word mask);
  bool compare_exchange(const void* at, word initial, word& expected, word wanted, order success,
                        order failure);
  void fence(order o);
  void barrier_everywhere();
  void spin();
  word fetch(const void* at, word initial);
  void serialize();
  void synchronize_cores();
  int times_synchronized() { return me().synchronized; }
  void note(const char* what);
  void born(const void* at, word initial);
  void dies(const void* at);
  void data_read(const void* at) { data(at, false, false); }
  void data_written(const void* at) { data(at, true, false); }
  void data_freed(const void* at) { data(at, true, true); }
  int choose(int options);
  void name(const void* at, std::string what) { names_[at] = std::move(what); }
  [[noreturn]] void violation(const std::string& what);

 private:
  static constexpr int all_executions = 1, cut_short = 2, violated = 3;

  // Memory.
  int find(const void* at, word initial);
  int find_slot(const void* at);
  location& grow(const void* at);
  void tick(int t) noexcept { ++threads_[t].now.clock[t]; }
  thread& me() noexcept { return threads_[current]; }
  void alive(const location& where);
  void saw(int where, std::int16_t at);
  void read(int where, std::size_t which, order o);
  void append(int where, word value, order o, const message* continued);
  void full_fence(int t);
  void data(const void* at, bool writes, bool frees);

  // The search.
  void take(const operation& next);
  void go_on();
  unsigned enabled() const;
  bool can_wake(const thread& t) const;
  void note_races();
  void race(int thread, std::size_t first);
  int pick();
  int choose_old(int options);
  void run_step(int chosen, std::size_t at);
  bool independent(int a, const operation& first, int b, const operation& second) const;
  bool advance();
  void run_once(const std::function<void(program&)>& setup);
  std::string describe() const;
  step_taken& latest() { return count_steps_ == 0 ? spare_ : steps_[count_steps_ - 1]; }
  int step_count() const { return static_cast<int>(count_steps_); }

  bounds limits_;
  report report_;
  std::vector<node> path_;
  std::size_t position_ = 0;
  std::size_t same_until_ = 0;     // the last node of threads in the path
  std::vector<step_taken> steps_;  // the first of the last execution's stay, while the path is the same
  std::size_t count_steps_ = 0;
  step_taken spare_{};
  std::array<thread, clocks> threads_;
  int count_ = 0;
  unsigned asleep_ = 0;
  int preemptions_ = 0;
  int old_values_ = 0;
  int last_ = -1;
  std::vector<location> locations_;
  int used_ = 0;
  view in_order_;  // of sequentially consistent fences and accesses
  std::array<short, 4096> slots_{};
  std::map<const void*, std::string> names_;
  std::string what_;
};

explorer self_;

bool acquires(order o) { return o == order::acquire || o == order::acq_rel || o == order::seq_cst; }
bool releases(order o) { return o == order::release || o == order::acq_rel || o == order::seq_cst; }

// ---- memory

location& explorer::grow(const void* at) {
  if (used_ == most_locations) violation("more locations than the model has room for");
  if (static_cast<std::size_t>(used_) == locations_.size()) locations_.emplace_back();
  locations_[used_].begin(at);
  return locations_[used_++];
}

int explorer::find_slot(const void* at) {
  for (auto i = (reinterpret_cast<std::uintptr_t>(at) * 0x9e3779b97f4a7c15) >> 52;; ++i) {
    const int slot = static_cast<int>(i % slots_.size());
    if (slots_[slot] == 0 || locations_[slots_[slot] - 1].address == at) return slot;
  }
}

int explorer::find(const void* at, word initial) {
  const int slot = find_slot(at);
  if (slots_[slot] == 0) {
    grow(at).messages.push_back({initial, -1, false, {}});
    slots_[slot] = static_cast<short>(used_);
  }
  return slots_[slot] - 1;
}

void explorer::alive(const location& where) {
  if (where.uses.freed) violation("use after free");
  if (where.uses.written > me().now.clock[where.uses.writer])
    violation("use of memory before its making is seen");
}

void explorer::saw(int where, std::int16_t at) {
  if (current == setting_up) return;
  for (auto& one : me().looked_at) {
    if (one.location == where) return;  // what it saw first
  }
  me().looked_at.push_back({where, at});
}

void explorer::read(int where, std::size_t which, order o) {
  auto& l = locations_[where];
  const auto& m = l.messages[which];
  const auto at = static_cast<std::int16_t>(which);
  auto& t = me();
  t.now.at[where] = std::max(t.now.at[where], at);
  if (m.passes && acquires(o))
    t.now.join(m.released);
  else if (m.passes)
    t.to_come.join(m.released);
  if (o == order::seq_cst) in_order_.at[where] = std::max(in_order_.at[where], at);
  l.uses.read[current] = t.now.clock[current];
  saw(where, at);
}

void explorer::append(int where, word value, order o, const message* continued) {
  auto& l = locations_[where];
  auto& t = me();
  const auto at = static_cast<std::int16_t>(l.messages.size());
  t.now.at[where] = at;
  message made{value, step_count() - 1, true, releases(o) ? t.now : t.released};
  if (continued != nullptr) made.released.join(continued->released);
  made.released.at[where] = at;
  l.messages.push_back(made);
  l.uses.read[current] = t.now.clock[current];  // also of a store: who frees must be behind it
  if (o == order::seq_cst) in_order_.at[where] = at;
  if (current != setting_up) {
    for (auto& one : t.looked_at) {
      if (one.location == where && one.at + 1 == at) one.at = at;  // its own stores do not wake it
    }
  }
  tick(current);
}

word explorer::load(const void* at, word initial, order o) {
  int where = find(at, initial);
  take({kind::load, where, false, o == order::seq_cst, -1, ""});
  auto& l = locations_[where];
  alive(l);
  auto oldest = me().now.at[where];
  if (o == order::seq_cst) oldest = std::max(oldest, in_order_.at[where]);
  const auto newest = static_cast<int>(l.messages.size()) - 1;
  const int back = choose_old(newest - oldest + 1);
  read(where, static_cast<std::size_t>(newest - back), o);
  auto& s = latest();
  s.value = l.messages[static_cast<std::size_t>(newest - back)].value;
  s.o = o;
  s.stale = back != 0;
  return s.value;
}

void explorer::store(const void* at, word initial, word value, order o) {
  const int where = find(at, initial);
  take({kind::store, where, true, o == order::seq_cst, -1, ""});
  alive(locations_[where]);
  append(where, value, o, nullptr);
  latest().value = value;
  latest().o = o;
}

word explorer::modify(const void* at, word initial, order o, word (*change)(word, word, word), word operand,
                      word mask) {
  const int where = find(at, initial);
  take({kind::modify, where, true, o == order::seq_cst, -1, ""});
  auto& l = locations_[where];
  alive(l);
  const message was = l.messages.back();
  read(where, l.messages.size() - 1, o);
  const auto value = change(was.value, operand, mask);
  append(where, value, o, &was);
  latest().value = value;
  latest().other = was.value;
  latest().o = o;
  return was.value;
}

bool explorer::compare_exchange(const void* at, word initial, word& expected, word wanted, order success,
                                order failure) {
  const int where = find(at, initial);
  take({kind::modify, where, true, success == order::seq_cst || failure == order::seq_cst, -1, ""});
  auto& l = locations_[where];
  alive(l);
  // A failure is but a load: of anything that differs, old or new.
  const auto newest = l.messages.size() - 1;
  auto oldest = static_cast<std::size_t>(me().now.at[where]);
  if (failure == order::seq_cst) oldest = std::max<std::size_t>(oldest, in_order_.at[where]);
  std::array<std::size_t, 64> fits{};
  int options = 0;
  for (auto i = newest + 1; i-- > oldest && options < 64;) {
    if (i == newest || l.messages[i].value != expected) fits[options++] = i;
  }
  const auto which = fits[choose_old(options)];
  const message was = l.messages[which];
  const bool done = was.value == expected;
  read(where, which, done ? success : failure);
  if (done) append(where, wanted, success, &was);
  latest().value = wanted;
  latest().other = was.value;
  latest().o = success;
  latest().failed = !done;
  latest().stale = which != newest;
  expected = was.value;
  return done;
}

/// Orders what is seen of atomics, not data: what the others did counts as seen only by what was read from
/// them.
void explorer::full_fence(int t) {
  auto& mine = threads_[t];
  mine.now.join(mine.to_come);
  mine.now.join_locations(in_order_);
  in_order_.join_locations(mine.now);
  mine.released = mine.now;
  tick(t);
}

void explorer::fence(order o) {
  auto& t = me();
  if (o == order::seq_cst) {
    take({kind::fence, -1, false, true, -1, ""});
    full_fence(current);
    return;
  }
  if (acquires(o)) t.now.join(t.to_come);  // the thread's own affair: no step
  if (releases(o)) {
    t.released = t.now;
    tick(current);
  }
}

void explorer::barrier_everywhere() {
  if (current == setting_up) return;
  const int caller = current;
  fence(order::seq_cst);
  for (int t = 0; t < count_; ++t) {
    if (t == caller) continue;
    take({kind::barrier, -1, false, true, t, ""});
    full_fence(t);
  }
  fence(order::seq_cst);
}

word explorer::fetch(const void* at, word initial) {
  const int where = find(at, initial);
  take({kind::load, where, false, false, -1, ""});
  const auto& l = locations_[where];
  const auto newest = static_cast<int>(l.messages.size()) - 1;
  const int back = choose_old(newest - me().fetched.at[where] + 1);
  me().to_come.join(l.messages[static_cast<std::size_t>(newest - back)].released);
  auto& s = latest();
  s.value = l.messages[static_cast<std::size_t>(newest - back)].value;
  s.stale = back != 0;
  return s.value;
}

void explorer::serialize() {
  take({kind::fence, -1, false, false, -1, "", true});
  auto& t = me();
  t.now.join(t.to_come);
  for (int i = 0; i < used_; ++i) {
    const auto& l = locations_[i];
    if (l.messages.empty()) continue;
    t.fetched.at[i] = static_cast<std::int16_t>(l.messages.size() - 1);
  }
}

void explorer::synchronize_cores() {
  if (current == setting_up) return;
  const int caller = current;
  fence(order::seq_cst);
  for (int t = 0; t < count_; ++t) {
    if (t != caller) {
      take({kind::barrier, -1, false, true, t, ""});
      full_fence(t);
    }
    threads_[t].fetched.join_locations(me().now);
    ++threads_[t].synchronized;
  }
  fence(order::seq_cst);
}

void explorer::born(const void* at, word initial) {
  const int slot = find_slot(at);
  auto& l = grow(at);  // if there was another thing at that place: it is forgotten
  slots_[slot] = static_cast<short>(used_);
  l.messages.push_back({initial, -1, false, {}});
  l.uses.writer = current;
  l.uses.written = me().now.clock[current];
}

void explorer::dies(const void* at) {
  const int slot = find_slot(at);
  if (slots_[slot] == 0) return;  // nobody ever used it
  auto& l = locations_[slots_[slot] - 1];
  alive(l);
  for (int t = 0; t < clocks; ++t) {
    if (l.uses.read[t] > me().now.clock[t]) violation("freed while a use of it is not over: " + names_[at]);
  }
  l.uses.freed = true;
}

void explorer::data(const void* at, bool writes, bool frees) {
  const int slot = find_slot(at);
  if (slots_[slot] == 0) {
    grow(at).messages.push_back({0, -1, false, {}});
    slots_[slot] = static_cast<short>(used_);
  }
  auto& l = locations_[slots_[slot] - 1];
  auto& now = me().now;
  const auto known = [&] {
    const auto found = names_.find(at);
    return found == names_.end() ? std::string{} : ": " + found->second;
  };
  if (l.uses.freed) violation("use after free" + known());
  if (l.uses.written > now.clock[l.uses.writer]) violation("data race" + known());
  if (writes) {
    for (int t = 0; t < clocks; ++t) {
      if (l.uses.read[t] > now.clock[t])
        violation((frees ? "freed while a use of it is not over" : "data race") + known());
    }
    l.uses.writer = current;
    l.uses.written = now.clock[current];
    l.uses.freed = frees;
  } else {
    l.uses.read[current] = now.clock[current];
  }
}

// ---- the search

bool explorer::independent(int a, const operation& first, int b, const operation& second) const {
  if (a == b || first.behalf == b || second.behalf == a) return false;
  if (first.behalf >= 0 && first.behalf == second.behalf) return false;
  if ((first.sees_all && second.writes) || (second.sees_all && first.writes)) return false;
  if (first.location >= 0 && first.location == second.location &&
      (first.writes || second.writes || (first.in_order && second.in_order)))
    return false;
  // Fences with fences and with all accesses that they order; accesses among each other by their location
  // only.
  const bool fences = first.location < 0 || second.location < 0;
  return !(first.in_order && second.in_order && fences);
}

bool explorer::can_wake(const thread& t) const {
  return std::any_of(t.looked_at.begin(), t.looked_at.end(), [this](const thread::seen& one) {
    return locations_[one.location].messages.size() > one.at + 1U;
  });
}

unsigned explorer::enabled() const {
  unsigned all = 0, patient = 0;
  for (int t = 0; t < count_; ++t) {
    const auto& one = threads_[t];
    if (one.ended || (one.next.what == kind::spin && !can_wake(one))) continue;
    (one.next.what == kind::spin && one.waits >= most_waits && limits_.preemptions >= 0 ? patient : all) |=
        1U << t;
  }
  return all != 0 ? all : patient;
}

/// The latest step from `first` on that the thread's next one may as well come before.
void explorer::race(int p, std::size_t first) {
  const auto& mine = threads_[p];
  for (auto i = count_steps_; i-- > first;) {
    const auto& s = steps_[i];
    if (mine.before[s.thread] > static_cast<int>(i) || independent(s.thread, s.what, p, mine.next)) continue;
    auto& n = path_[s.node];
    if ((n.enabled >> p & 1U) != 0) {
      n.to_try |= 1U << p;
      return;
    }
    for (auto j = i + 1; j < count_steps_; ++j) {
      const int q = steps_[j].thread;
      if ((n.enabled >> q & 1U) != 0 && mine.before[q] > static_cast<int>(j)) {
        n.to_try |= 1U << q;
        return;
      }
    }
    n.to_try |= n.enabled;
    return;
  }
}

void explorer::note_races() {
  if (limits_.preemptions >= 0 || count_steps_ == 0) return;
  const int moved = latest().thread;
  for (int p = 0; p < count_; ++p) {
    if (threads_[p].ended) continue;
    race(p, p == moved ? 0 : count_steps_ - 1);
  }
}

int explorer::pick() {
  if (position_ < path_.size()) {
    if (!path_[position_].of_threads) violation("the program is not the same each time it runs");
    return path_[position_].chosen;
  }
  note_races();
  node n;
  n.of_threads = true;
  n.enabled = enabled();
  n.asleep = asleep_;
  n.preemptions = preemptions_;
  if (n.enabled == 0) violation("a thread waits for ever");
  const bool bounded = limits_.preemptions >= 0;
  const bool can_stay = last_ >= 0 && (n.enabled >> last_ & 1U) != 0;
  auto usable = n.enabled;
  if (bounded && can_stay && preemptions_ >= limits_.preemptions) usable = 1U << last_;
  if (!bounded) usable &= ~asleep_;
  if (usable == 0) abandon(cut_short);
  n.chosen = can_stay && (usable >> last_ & 1U) != 0 ? last_ : __builtin_ctz(usable);
  n.to_try = bounded ? usable : 1U << n.chosen;
  path_.push_back(n);
  return n.chosen;
}

void explorer::run_step(int chosen, std::size_t at) {
  auto& t = threads_[chosen];
  const auto& n = path_[at];
  if (last_ >= 0 && last_ != chosen && (n.enabled >> last_ & 1U) != 0) preemptions_ = n.preemptions + 1;
  last_ = chosen;
  if (at < same_until_) {  // as in the last execution
    auto& s = steps_[count_steps_++];
    s.o = order::relaxed;
    s.stale = s.failed = false;
    t.before = s.before;
    return;
  }
  unsigned asleep = 0;
  for (int q = 0; q < count_; ++q) {
    if (q != chosen && ((n.asleep | n.tried) >> q & 1U) != 0 &&
        independent(chosen, t.next, q, threads_[q].next))
      asleep |= 1U << q;
  }
  asleep_ = asleep;
  // What happens before it, for the reduction: all that it does not commute with.
  if (limits_.preemptions < 0) {
    auto& before = t.before;
    if (t.next.what != kind::begin && t.next.what != kind::spin) {
      for (auto i = count_steps_; i-- > 0;) {
        const auto& s = steps_[i];
        if (before[s.thread] > static_cast<int>(i) || independent(s.thread, s.what, chosen, t.next)) continue;
        for (int q = 0; q < most_threads; ++q) before[q] = std::max(before[q], s.before[q]);
      }
    }
    before[chosen] = step_count() + 1;
  }
  if (count_steps_ == most_steps) violation("no end to it");
  steps_.resize(count_steps_++);
  steps_.push_back({t.next, chosen, at, t.before});
}

/// The calling thread has said what comes next: whoever's turn it is goes on.
void explorer::go_on() {
  const int chosen = pick();
  run_step(chosen, position_++);
  const int from = current;
  if (from != chosen) {
    current = chosen;
    fiber_switch(from == setting_up ? -1 : from, chosen);
  }
}

void explorer::take(const operation& next) {
  if (current == setting_up) return;
  me().next = next;
  go_on();
}

/// The newest is 0.
int explorer::choose_old(int options) {
  if (limits_.old_values >= 0 && old_values_ >= limits_.old_values) return 0;
  const int back = choose(options);
  if (back != 0) ++old_values_;
  return back;
}

int explorer::choose(int options) {
  if (options <= 1 || current == setting_up) return 0;
  if (position_ < path_.size()) {
    const auto& n = path_[position_++];
    if (n.of_threads || n.options != options) violation("the program is not the same each time it runs");
    return n.chosen;
  }
  node n;
  n.options = options;
  path_.push_back(n);
  ++position_;
  return 0;
}

void explorer::spin() {
  if (current == setting_up) violation("nobody is there to wait for");
  take({kind::spin, -1, false, false, -1, ""});
  auto& t = me();
  std::array<int, most_locations> changed{};
  int count = 0;
  for (const auto& one : t.looked_at) {
    if (locations_[one.location].messages.size() > one.at + 1U) changed[count++] = one.location;
  }
  const int where = changed[choose(count)];
  // It sees that change, at the latest now.
  const auto seen = std::find_if(t.looked_at.begin(), t.looked_at.end(),
                                 [where](const thread::seen& one) { return one.location == where; });
  const auto at = static_cast<std::int16_t>(seen->at + 1);
  t.now.at[where] = std::max(t.now.at[where], at);
  const int woken_by = locations_[where].messages[at].step;
  if (woken_by >= 0) {
    for (int q = 0; q < most_threads; ++q) t.before[q] = std::max(t.before[q], steps_[woken_by].before[q]);
  }
  latest().before = t.before;
  t.looked_at.clear();
  ++t.waits;
}

void explorer::note(const char* what) { take({kind::note, -1, false, false, -1, what}); }

void explorer::violation(const std::string& what) {
  what_ = what;
  abandon(violated);
}

bool explorer::advance() {
  while (!path_.empty()) {
    auto& n = path_.back();
    if (n.of_threads) {
      n.tried |= 1U << n.chosen;
      auto left = n.to_try & ~n.tried;
      if (limits_.preemptions < 0) left &= ~n.asleep;
      if (left != 0) {
        n.chosen = __builtin_ctz(left);
        return true;
      }
    } else if (n.chosen + 1 < n.options) {
      ++n.chosen;
      return true;
    }
    path_.pop_back();
  }
  return false;
}

void explorer::run_once(const std::function<void(program&)>& setup) {
  slots_.fill(0);
  used_ = 0;
  in_order_ = {};
  count_steps_ = 0;
  position_ = 0;
  same_until_ = path_.size();
  while (same_until_ > 0 && !path_[--same_until_].of_threads) {
  }
  asleep_ = 0;
  preemptions_ = 0;
  old_values_ = 0;
  last_ = -1;
  for (auto& t : threads_) {
    t.next = {};
    t.ended = false;
    t.waits = t.synchronized = 0;
    t.now = t.to_come = t.released = t.fetched = {};
    t.looked_at.clear();
    t.before = {};
  }
  current = setting_up;
  me().now.clock[setting_up] = 1;
  active = true;
  program made;
  const auto set_up = [&] {
    fiber_own_memory(true);  // gone with the execution, whatever becomes of it
    setup(made);
  };
  if (fiber_run(set_up) != 0) {
    report_.violation = what_;
    active = false;
    return;
  }
  count_ = static_cast<int>(made.threads.size());
  tick(setting_up);
  for (int t = 0; t < count_; ++t) {
    threads_[t].now = threads_[t].fetched = me().now;
    threads_[t].now.clock[t] = 1;
    fiber_make(t, [this, t, &made] {
      made.threads[t]();
      fiber_own_memory(false);
      threads_[t].ended = true;
      if (std::all_of(threads_.begin(), threads_.begin() + count_,
                      [](const thread& one) { return one.ended; })) {
        current = setting_up;
        fiber_switch(t, -1);
      }
      const int chosen = pick();
      run_step(chosen, position_++);
      current = chosen;
      fiber_switch(t, chosen);
    });
  }
  const int how = fiber_run([this] { go_on(); });
  if (how == 0) {
    current = setting_up;
    for (int t = 0; t < count_; ++t) me().now.join(threads_[t].now);
    const int after = fiber_run([&made] {
      if (made.finally) made.finally();
    });
    if (after == 0)
      ++report_.executions;
    else
      report_.violation = what_;
  } else if (how == cut_short) {
    ++report_.cut;
  } else {
    report_.violation = what_;
  }
  if (!report_.violation.empty()) report_.trace = describe();
  report_.longest = std::max(report_.longest, count_steps_);
  active = false;
}

report explorer::explore(const bounds& limits, const std::function<void(program&)>& setup) {
  limits_ = limits;
  report_ = {};
  path_.clear();
  steps_.clear();
  names_.clear();
  do {
    run_once(setup);
    fiber_forget_memory();
    if (!report_.violation.empty()) break;
    if (report_.executions + report_.cut > limits.executions) {
      report_.violation = "more executions than the scenario's bound allows: nothing is shown";
      break;
    }
  } while (advance());
  return report_;
}

std::string explorer::describe() const {
  const char* const orders[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};
  std::string all;
  char line[256];
  for (std::size_t i = 0; i < count_steps_; ++i) {
    const auto& s = steps_[i];
    std::string where;
    if (s.what.location >= 0) {
      const auto* at = locations_[s.what.location].address;
      const auto known = names_.find(at);
      std::snprintf(line, sizeof line, "%p", at);
      where = known == names_.end() ? line : known->second;
    }
    const auto* o = orders[static_cast<int>(s.o)];
    const auto value = static_cast<unsigned long long>(s.value),
               other = static_cast<unsigned long long>(s.other);
    switch (s.what.what) {
      case kind::begin:
        std::snprintf(line, sizeof line, "begins");
        break;
      case kind::load:
        std::snprintf(line, sizeof line, "%s: reads %#llx%s (%s)", where.c_str(), value,
                      s.stale ? ", an old value" : "", o);
        break;
      case kind::store:
        std::snprintf(line, sizeof line, "%s: stores %#llx (%s)", where.c_str(), value, o);
        break;
      case kind::modify:
        std::snprintf(line, sizeof line, "%s: %s %#llx, was %#llx%s (%s)", where.c_str(),
                      s.failed ? "does not become" : "becomes", value, other, s.stale ? ", an old value" : "",
                      o);
        break;
      case kind::fence:
        std::snprintf(line, sizeof line, "full fence");
        break;
      case kind::barrier:
        std::snprintf(line, sizeof line, "full fence in thread %d", s.what.behalf);
        break;
      case kind::spin:
        std::snprintf(line, sizeof line, "has waited");
        break;
      case kind::note:
        std::snprintf(line, sizeof line, "%s", s.what.note);
        break;
    }
    all += "  thread " + std::to_string(s.thread) + ": " + line + "\n";
  }
  return all;
}

}  // namespace

// ---- what the types call

report explore(const bounds& limits, const std::function<void(program&)>& setup) {
  return self_.explore(limits, setup);
}

namespace {

/// The program's thread is in the model: what the model allocates is not the program's.
struct inside {
  bool before = fiber_own_memory(false);
  ~inside() { fiber_own_memory(before); }
};

}  // namespace

void check(bool holds, const char* what) {
  if (holds || !self_.active) return;
  const inside model;
  self_.violation(what);
}
void name(const volatile void* location, std::string what) {
  const inside model;
  self_.name(const_cast<const void*>(location), std::move(what));
}
int self() noexcept { return self_.active && self_.current != setting_up ? self_.current : -1; }
int choose(int options) {
  const inside model;
  return self_.choose(options);
}
void spin() {
  const inside model;
  self_.spin();
}
void barrier_everywhere() {
  const inside model;
  self_.barrier_everywhere();
}
std::uint64_t fetch(const volatile void* at, std::uint64_t initial) {
  const inside model;
  return self_.fetch(const_cast<const void*>(at), initial);
}
void serialize() {
  const inside model;
  self_.serialize();
}
int times_synchronized() { return self_.times_synchronized(); }
void synchronize_cores() {
  const inside model;
  self_.synchronize_cores();
}
void step(const char* what) {
  const inside model;
  self_.note(what);
}
bool active() noexcept { return self_.active; }
word load(const volatile void* at, word initial, order o) {
  const inside model;
  return self_.load(const_cast<const void*>(at), initial, o);
}
void store(const volatile void* at, word initial, word value, order o) {
  const inside model;
  self_.store(const_cast<const void*>(at), initial, value, o);
}
word modify(const volatile void* at, word initial, order o, word (*change)(word, word, word), word operand,
            word mask) {
  const inside model;
  return self_.modify(const_cast<const void*>(at), initial, o, change, operand, mask);
}
bool compare_exchange(const volatile void* at, word initial, word& expected, word wanted, order success,
                      order failure) {
  const inside model;
  return self_.compare_exchange(const_cast<const void*>(at), initial, expected, wanted, success, failure);
}
void fence(order o) {
  const inside model;
  self_.fence(o);
}
void born(const volatile void* at, word initial) {
  if (!self_.active) return;
  const inside model;
  self_.born(const_cast<const void*>(at), initial);
}
void dies(const volatile void* at) {
  if (!self_.active) return;
  const inside model;
  self_.dies(const_cast<const void*>(at));
}
void data_born(const void* at) {
  if (!self_.active) return;
  const inside model;
  self_.born(at, 0);
}
void data_read(const void* at) {
  if (!self_.active) return;
  const inside model;
  self_.data_read(at);
}
void data_written(const void* at) {
  if (!self_.active) return;
  const inside model;
  self_.data_written(at);
}
void data_freed(const void* at) {
  if (!self_.active) return;
  const inside model;
  self_.data_freed(at);
}

void mutex::lock() {
  for (word free = 0; !compare_exchange(&held_, 0, free, 1, order::acquire, order::relaxed); free = 0) spin();
}
void mutex::unlock() { store(&held_, 0, 0, order::release); }

bool run(const char* title, const bounds& limits, const std::function<void(program&)>& setup) {
  const auto found = explore(limits, setup);
  const auto bound = limits.preemptions < 0
                         ? std::string{"all interleavings"}
                         : "at most " + std::to_string(limits.preemptions) + " preemptions";
  const auto old = limits.old_values < 0 ? std::string{}
                                         : ", " + std::to_string(limits.old_values) + " reads of old values";
  std::printf("%s: %llu executions, %llu more cut short as equal to others, at most %zu steps; %s%s\n", title,
              static_cast<unsigned long long>(found.executions), static_cast<unsigned long long>(found.cut),
              found.longest, bound.c_str(), old.c_str());
  if (!found.violation.empty())
    std::printf("  VIOLATION: %s\n%s", found.violation.c_str(), found.trace.c_str());
  std::fflush(stdout);
  return found.violation.empty();
}

}  // namespace model
