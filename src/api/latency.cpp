// The latency: a retprobe with handlers of libprobe's own, and a table of histograms.
#include <libprobe/batch.hpp>
#include <libprobe/latency.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "api/latency_hooks.hpp"
#include "api/place.hpp"
#include "api/retprobe.hpp"
#include "os/zeros.hpp"

namespace libprobe {

namespace {

static_assert((1 + latency_buckets::count_of) * sizeof(std::uint64_t) <= epoch::row_bytes);

/// Tables that no latency uses now. Never unmapped: a thread may be about to add to one.
struct spare_tables {
  std::vector<std::uint64_t*> free;
  static spare_tables& instance() {
    static auto* const one = new spare_tables;
    return *one;
  }
};

/// All zero; null where there is no memory.
std::uint64_t* take_table() {
  auto& spare = spare_tables::instance();
  const std::lock_guard guard{control::registry::instance().stores()};
  spare.free.reserve(spare.free.size() + 1);
  const auto size = epoch::most_rows() * epoch::row_bytes;
  if (spare.free.empty()) return static_cast<std::uint64_t*>(os::map_zeros(size));
  auto* const table = spare.free.back();
  spare.free.pop_back();
  return table;
}

void give_table(std::uint64_t* table) noexcept {
  auto& spare = spare_tables::instance();
  const std::lock_guard guard{control::registry::instance().stores()};
  os::clear_zeros(table, epoch::most_rows() * epoch::row_bytes);
  try {
    spare.free.push_back(table);
  } catch (const std::bad_alloc&) {
    // It stays unused: untouched pages cost nothing.
  }
}

bool release(site::attachment& base) noexcept {
  auto& a = static_cast<api::latency_attachment&>(base);
  a.part(a);
  if (a.in_use.any()) return false;  // calls that have not returned; see give()
  give_table(a.table);
  delete &a;
  return true;
}

}  // namespace

result<api::wish> api::wish_for(latency& l) {
  auto a = std::make_unique<api::latency_attachment>();
  api::reserve_instances(*a, l.maxactive, sizeof(std::uint64_t));
  a->table = take_table();
  if (a->table == nullptr) return errc::out_of_memory;
  auto* const made = a.release();
  auto wish = api::wish_of(l, made);
  api::fill(*made, l, 'r', release);
  made->entered = api::latency_entry;
  made->returned = api::latency_return;
  api::follow_calls(*made, wish);
  return wish;
}

std::error_code register_latencies(std::span<latency* const> all) noexcept { return api::register_all(all); }
std::error_code register_latency(latency& l) noexcept {
  latency* const one[] = {&l};
  return register_latencies(one);
}
void unregister_latency_fast(latency& l) noexcept { api::detach(l.state_); }
void unregister_latency(latency& l) noexcept {
  latency* const one[] = {&l};
  api::unregister_all(std::span<latency* const>{one});
}
void unregister_latencies(std::span<latency* const> all) noexcept { api::unregister_all(all); }
std::error_code enable_latency(latency& l) noexcept { return api::set_disabled(l.state_, false); }
std::error_code disable_latency(latency& l) noexcept { return api::set_disabled(l.state_, true); }

latency_buckets latencies_of(const latency& l) noexcept {
  latency_buckets sum;
  control::registry::instance().with_attachment(l.state_.attachment, [&sum](const site::attachment& base) {
    const auto* const table = static_cast<const api::latency_attachment&>(base).table;
    for (std::size_t row = 0; row < epoch::rows(); ++row) {
      const auto* const words = table + row * site::counter::columns;
      sum.total_ticks += __atomic_load_n(words, __ATOMIC_RELAXED);
      for (std::size_t i = 0; i < sum.calls.size(); ++i)
        sum.calls[i] += __atomic_load_n(words + 1 + i, __ATOMIC_RELAXED);
    }
  });
  return sum;
}

std::uint64_t latency_buckets::count() const noexcept {
  return std::accumulate(calls.begin(), calls.end(), std::uint64_t{0});
}

std::uint64_t latency_buckets::quantile(double q) const noexcept {
  const auto all = count();
  if (all == 0) return 0;
  const auto wanted = static_cast<std::uint64_t>(std::clamp(q, 0.0, 1.0) * static_cast<double>(all - 1)) + 1;
  std::uint64_t seen = 0;
  std::size_t bucket = 0;
  while ((seen += calls[bucket]) < wanted) ++bucket;
  return (first_in(bucket) + first_in(bucket + 1)) / 2;  // its middle
}

double ticks_per_second() noexcept {
  static const double answer = [] {
    using clock = std::chrono::steady_clock;
    const auto begun = clock::now();
    const auto first = arch::ticks();
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    const auto last = arch::ticks();
    return static_cast<double>(last - first) / std::chrono::duration<double>(clock::now() - begun).count();
  }();
  return answer;
}

}  // namespace libprobe
