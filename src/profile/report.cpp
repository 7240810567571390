// From what the threads recorded to what people ask for.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "profile/state.hpp"

namespace libprobe {

using profile::buckets;
using profile::buffer;

latency_histogram::latency_histogram(std::vector<bucket> ascending) : buckets_{std::move(ascending)} {
  for (const auto& one : buckets_) count_ += one.count;
}

double latency_histogram::quantile(double q) const noexcept {
  if (count_ == 0) return 0;
  // The product of a decimal fraction may come out just above the whole number that is meant.
  const double wanted = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_) * (1 - 1e-12);
  std::uint64_t so_far = 0;
  for (const auto& one : buckets_) {
    so_far += one.count;
    if (static_cast<double>(so_far) >= wanted) return one.middle;
  }
  return buckets_.back().middle;
}

namespace {

/// The trees of all threads as one. Children come behind their parents.
class merged_tree {
 public:
  struct place {
    std::size_t parent;  // none for those without a profiled caller
    std::uint32_t function;
    std::uint64_t calls = 0;
    std::uint64_t unwound = 0;
    std::uint64_t total = 0;
    std::uint64_t self = 0;
  };
  static constexpr std::size_t none = ~std::size_t{0};

  void add(const buffer& one, std::uint32_t functions) {
    const auto count = one.node_count.load(std::memory_order_acquire);
    std::vector<std::size_t> becomes(count, none);
    for (std::uint32_t at = 1; at < count; ++at) {
      const auto& from = one.nodes[at];
      const auto calls = from.calls.read();
      if (at <= functions && calls == 0) continue;  // a spare one that was not needed
      becomes[at] = find_or_make(becomes[from.parent], from.function);
      auto& to = places_[becomes[at]];
      to.calls += calls;
      to.unwound += from.unwound.read();
      to.total += from.total.read();
      to.self += from.self.read();
    }
  }

  [[nodiscard]] const std::vector<place>& places() const { return places_; }
  /// Whether a caller of it is the same function: its time is in the caller's already.
  [[nodiscard]] bool is_recursion(const place& one) const {
    for (auto at = one.parent; at != none; at = places_[at].parent) {
      if (places_[at].function == one.function) return true;
    }
    return false;
  }
  /// Outermost first.
  [[nodiscard]] std::vector<std::uint32_t> path_to(std::size_t at) const {
    std::vector<std::uint32_t> path;
    for (; at != none; at = places_[at].parent) path.push_back(places_[at].function);
    std::ranges::reverse(path);
    return path;
  }

 private:
  std::size_t find_or_make(std::size_t parent, std::uint32_t function) {
    const auto [found, fresh] = known_.try_emplace({parent, function}, places_.size());
    if (fresh) places_.push_back({parent, function});
    return found->second;
  }

  std::vector<place> places_;
  std::map<std::pair<std::size_t, std::uint32_t>, std::size_t> known_;
};

latency_histogram latencies_of(const std::vector<const buffer*>& threads, std::size_t function,
                               double ns_per_tick) {
  std::vector<latency_histogram::bucket> filled;
  for (std::size_t at = 0; at < buckets::count; ++at) {
    std::uint64_t calls = 0;
    for (const auto* one : threads) calls += one->latencies[function * buckets::count + at].read();
    if (calls == 0) continue;
    const auto first = static_cast<double>(buckets::first_in(at));
    const auto last = static_cast<double>(buckets::last_in(at));
    filled.push_back(
        {first * ns_per_tick, (last + 1) * ns_per_tick, (first + last) / 2 * ns_per_tick, calls});
  }
  return latency_histogram{std::move(filled)};
}

/// What code addresses are called in a stack. Looks up each once.
class frame_names {
 public:
  /// Empty for libprobe's own return slots, which stand between a followed call and its caller.
  const std::string& of(std::uintptr_t address) {
    const auto [found, fresh] = known_.try_emplace(address);
    if (fresh) found->second = name(address);
    return found->second;
  }

 private:
  static std::string name(std::uintptr_t address) {
    const auto function = function_at(reinterpret_cast<const void*>(address));
    if (!function) return "?";
    if (function->name.empty()) return "[" + function->module + "]";
    return function->name.starts_with("libprobe_return_slots") ? std::string{} : function->name;
  }
  std::unordered_map<std::uintptr_t, std::string> known_;
};

}  // namespace

profile_report profiler::state::report() const {
  const std::lock_guard guard{lock_};
  profile_report told;
  told.skipped = skipped_;
  told.from_tsc = shared_.timer.counts();
  told.running_ns = static_cast<double>(ran_ns_ + (running_ ? profile::monotonic_ns() - started_ns_ : 0));
  const double ns_per_tick = calibration_.ns_per_tick();
  const auto ns = [&](std::uint64_t ticks) { return static_cast<double>(ticks) * ns_per_tick; };

  std::vector<const buffer*> threads;
  merged_tree tree;
  for (const auto* one = shared_.buffers.load(std::memory_order_acquire); one != nullptr; one = one->next) {
    threads.push_back(one);
    tree.add(*one, shared_.room.functions);
  }

  // Refused functions have no row, so rows are numbered anew.
  std::vector<std::size_t> row_of(entries_.size());
  for (const auto& one : entries_) {
    if (one.refused) continue;
    row_of[one.what.number] = told.functions.size();
    auto& row = told.functions.emplace_back();
    row.function = one.what.function;
    row.calls = one.calls();
    row.missed = one.missed();
    told.losses.missed += row.missed;
    if (!threads.empty()) row.latencies = latencies_of(threads, one.what.number, ns_per_tick);
  }

  for (std::size_t at = 0; at < tree.places().size(); ++at) {
    const auto& place = tree.places()[at];
    auto& row = told.functions[row_of[place.function]];
    row.calls += place.calls;
    row.unwound += place.unwound;
    row.self_ns += ns(place.self);
    if (!tree.is_recursion(place)) row.total_ns += ns(place.total);
    auto& stack = told.call_tree.emplace_back();
    for (const auto function : tree.path_to(at))
      stack.frames.push_back(entries_[function].what.function.name);
    stack.calls = place.calls;
    stack.self_ns = ns(place.self);
  }

  frame_names names;
  std::map<std::vector<std::string>, std::size_t> stacks;
  told.losses.untimed = shared_.without_buffer.load(std::memory_order_relaxed);
  for (const auto* one : threads) {
    told.losses.untimed += one->untimed.read();
    told.losses.unplaced += one->unplaced.read();
    told.losses.events += one->events_lost.read();
    told.losses.samples += one->samples_lost.read();
    const auto samples = one->sample_count.load(std::memory_order_acquire);
    for (std::uint32_t i = 0; i < samples; ++i) {
      const auto& from = one->samples[i];
      std::vector<std::string> frames;
      for (std::uint32_t depth = from.depth; depth-- != 0;) {
        if (const auto& name = names.of(one->addresses[from.first + depth]); !name.empty())
          frames.push_back(name);
      }
      frames.push_back(entries_[from.function].what.function.name);
      const auto [found, fresh] = stacks.try_emplace(std::move(frames), told.samples.size());
      if (fresh) told.samples.push_back({found->first});
      told.samples[found->second].calls += from.calls.read() * shared_.sample_every;
      told.samples[found->second].value += from.value.read() * shared_.sample_every;
    }
    const auto events = one->event_count.load(std::memory_order_acquire);
    for (std::uint64_t i = 0; i < events; ++i) {
      const auto& from = one->events[i];
      told.events.push_back(
          {row_of[from.function], from.thread, ns(from.start - calibration_.origin()), ns(from.duration)});
    }
  }
  std::ranges::sort(told.events, {}, &profile_event::start_ns);
  return told;
}

}  // namespace libprobe
