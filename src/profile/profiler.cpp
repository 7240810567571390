#include <algorithm>
#include <libprobe/retprobe.hpp>
#include <set>

#include "profile/state.hpp"

namespace libprobe {

namespace {

template <class Kind>
std::error_code register_disabled(Kind& one, std::error_code (*place)(Kind&) noexcept) {
  const auto flags = std::exchange(one.flags, one.flags | probe_flags::disabled);
  const auto refused = place(one);
  one.flags = flags;
  return refused;
}

std::atomic<std::uint64_t> last_profiler{0};

}  // namespace

profiler::profiler(profile_options options) : state_{std::make_unique<state>(std::move(options))} {}
profiler::~profiler() = default;
std::error_code profiler::start() { return state_->start(); }
void profiler::stop() { state_->stop(); }
bool profiler::running() const { return state_->running(); }
profile_report profiler::report() const { return state_->report(); }

profiler::state::state(profile_options options)
    : options_{std::move(options)},
      shared_{profile::clock{!options_.system_clock}},
      calibration_{shared_.timer} {
  profile::session::prepare_fork();
  choose();
  const bool stacks = options_.detail == profile_detail::times && options_.sample_every != 0;
  shared_.id = ++last_profiler;
  const auto functions = static_cast<std::uint32_t>(entries_.size());
  shared_.room = {.functions = functions,
                  .nodes = profile::capacity::tree_nodes + 1 + functions,
                  .samples = stacks ? profile::capacity::distinct_samples : 0,
                  .events = options_.trace_events};
  shared_.sample_every = stacks ? options_.sample_every : 0;
  shared_.value = options_.value;
  if (stacks) profile::prepare_unwinder();
}

profiler::state::~state() {
  stop();
  for (auto* one = shared_.buffers.load(std::memory_order_acquire); one != nullptr;) {
    profile::buffer::free(*std::exchange(one, one->next));
  }
}

void profiler::state::choose() {
  std::set<const void*> except;
  for (const auto& pattern : options_.except) {
    for (const auto& one : list_functions(pattern)) except.insert(one.address);
  }
  std::vector<function_info> chosen;
  for (const auto& pattern : options_.functions) {
    auto found = list_functions(pattern);
    if (found.empty()) {
      skipped_.push_back(
          {pattern, {}, errc::symbol_not_found, "no loaded module has a function of that pattern"});
    }
    std::ranges::move(found, std::back_inserter(chosen));
  }
  std::ranges::stable_sort(chosen, {}, &function_info::address);
  const auto same = [](const auto& one, const auto& other) { return one.address == other.address; };
  chosen.erase(std::unique(chosen.begin(), chosen.end(), same), chosen.end());
  for (auto& one : chosen) {
    if (!except.contains(one.address)) set_up(one);
  }
}

void profiler::state::set_up(const function_info& function) {
  auto& one = entries_.emplace_back();
  one.what = {&shared_, static_cast<std::uint32_t>(entries_.size() - 1), function};
  // What is not the profiler's own may use vector registers: the user's function, the unwinder, libc's clock.
  const bool own_code_only = options_.sample_every == 0 && shared_.timer.counts();
  const auto flags = own_code_only ? probe_flags::general_regs_only : probe_flags::none;
  one.count.at = function.address;
  one.time.at = function.address;
  one.time.entry_handler = profile::entered;
  one.time.handler = profile::returned;
  one.time.unwind_handler = profile::unwound;
  one.time.maxactive = options_.maxactive;
  one.time.data_size = sizeof(profile::mark);
  one.time.flags = flags;
  one.time.context = &one.what;
}

std::error_code profiler::state::start() {
  const std::lock_guard guard{lock_};
  if (running_) return {};
  std::vector<entry*> wanted;
  for (auto& one : entries_) {
    if (!one.refused) wanted.push_back(&one);
  }
  shared_.number.fetch_add(1, std::memory_order_relaxed);
  auto refused = wanted.empty() ? make_error_code(errc::symbol_not_found) : register_all(wanted);
  if (refused && !wanted.empty()) {
    // One is enough to have all refused: so each is asked alone, without touching the text, and left out.
    refused = leave_out_refused(wanted);
    if (!wanted.empty()) refused = register_all(wanted);
  }
  if (refused) return refused;
  for (auto* one : wanted) one->armed = true;
  started_ns_ = profile::monotonic_ns();
  running_ = true;
  return {};
}

// Gives the last refusal.
std::error_code profiler::state::leave_out_refused(std::vector<entry*>& wanted) {
  std::error_code last;
  std::vector<retprobe*> asked;
  std::vector<counter*> asked_count;
  const auto ask = [&](entry& one) {
    if (options_.detail == profile_detail::calls) {
      asked_count.push_back(&one.count);
      return register_disabled(one.count, register_counter);
    }
    asked.push_back(&one.time);
    return register_disabled(one.time, register_retprobe);
  };
  std::erase_if(wanted, [&](entry* one) {
    const auto refused = ask(*one);
    if (!refused) return false;
    const auto& function = one->what.function;
    skipped_.push_back({function.name, function.module, refused, last_error_detail()});
    one->refused = true;
    last = refused;
    return true;
  });
  unregister_counters(asked_count);
  unregister_retprobes(asked);
  return last;
}

std::error_code profiler::state::register_all(std::span<entry* const> some) {
  if (options_.detail == profile_detail::calls) {
    std::vector<counter*> counters;
    for (auto* one : some) counters.push_back(&one->count);
    return register_counters(counters);
  }
  std::vector<retprobe*> probes;
  for (auto* one : some) probes.push_back(&one->time);
  return register_retprobes(probes);
}

void profiler::state::stop() {
  const std::lock_guard guard{lock_};
  if (!running_) return;
  disarm();
  ran_ns_ += profile::monotonic_ns() - started_ns_;
  running_ = false;
}

void profiler::state::disarm() {
  std::vector<counter*> counts;
  std::vector<retprobe*> times;
  for (auto& one : entries_) {
    if (!one.armed) continue;
    if (options_.detail == profile_detail::calls) {
      counts.push_back(&one.count);
    } else {
      times.push_back(&one.time);
    }
  }
  unregister_counters(counts);
  unregister_retprobes(times);
  for (auto& one : entries_) {
    if (!one.armed) continue;
    one.calls_before = one.calls();
    one.missed_before = one.missed();
    one.armed = false;
  }
}

bool profiler::state::running() const {
  const std::lock_guard guard{lock_};
  return running_;
}

}  // namespace libprobe
