// The two steps of every hit that are ours alone.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "epoch/epoch.hpp"
#include "site/table.hpp"

namespace {

void epoch_section(benchmark::State& state) {
  libprobe::epoch::prepare();
  for (auto _ : state) {
    const libprobe::epoch::section section;
    benchmark::DoNotOptimize(&section);
  }
}
BENCHMARK(epoch_section);

struct fake_site {
  std::uintptr_t next;
};

/// Addresses as dense probes have them, 1 to 8 bytes apart, and an order in which each leads to the next, so
/// that no lookup can begin before the last one has ended.
class lookups {
 public:
  explicit lookups(std::size_t count) : sites_(count) {
    std::mt19937_64 random{42};
    std::uintptr_t address = 0x7f12'3456'7000;
    for (std::size_t i = 0; i < count; ++i) addresses_.push_back(address += 1 + random() % 8);
    std::vector<std::size_t> order(count);
    for (std::size_t i = 0; i < count; ++i) order[i] = i;
    std::ranges::shuffle(order, random);
    table_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      sites_[order[i]].next = addresses_[order[(i + 1) % count]];
      table_.insert(addresses_[order[i]], &sites_[order[i]]);
    }
  }

  /// Kept, since tables of sites live as long as the process.
  static const lookups& of(std::int64_t count) {
    static std::map<std::int64_t, lookups> all;
    return all.try_emplace(count, static_cast<std::size_t>(count)).first->second;
  }
  [[nodiscard]] std::uintptr_t first() const { return addresses_.front(); }
  [[nodiscard]] const std::vector<std::uintptr_t>& addresses() const { return addresses_; }
  [[nodiscard]] const fake_site* find(std::uintptr_t address) const { return table_.find(address); }

 private:
  std::vector<fake_site> sites_;
  std::vector<std::uintptr_t> addresses_;
  libprobe::site::table<fake_site> table_;
};

/// The table's own cost: the sites that are found are not touched.
void lookup_random(benchmark::State& state) {
  const lookups& table = lookups::of(state.range(0));
  auto order = table.addresses();
  std::ranges::shuffle(order, std::mt19937_64{7});
  std::size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(table.find(order[at]));
    if (++at == order.size()) at = 0;
  }
}
BENCHMARK(lookup_random)->Arg(1000)->Arg(100'000);

/// Each waits for the one before and for its site's memory.
void lookup_chain(benchmark::State& state) {
  const lookups& table = lookups::of(state.range(0));
  auto address = table.first();
  for (auto _ : state) address = table.find(address)->next;
  benchmark::DoNotOptimize(address);
}
BENCHMARK(lookup_chain)->Arg(1000)->Arg(100'000);

}  // namespace
