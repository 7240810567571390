// The latency: a retprobe with handlers of libprobe's own, and a table of histograms.
#include <libprobe/latency.hpp>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "api/kind.hpp"
#include "api/latency_hooks.hpp"
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

}  // namespace

void api::return_table::operator()(std::uint64_t* table) const noexcept { give_table(table); }

template <>
struct api::kind_of<latency> : plain_kind<latency_attachment> {
  static constexpr char letter = 'l';

  static bool may_free(const attachment& a) noexcept { return no_call_is_open(a); }

  static errc fill(const latency& l, attachment& a, control::request& need) {
    reserve_instances(a, l.maxactive, sizeof(std::uint64_t));
    a.table.reset(take_table());
    if (a.table == nullptr) return errc::out_of_memory;
    a.entered = latency_entry;
    a.returned = latency_return;
    follow_calls(a, need);
    return errc::ok;
  }
};

LIBPROBE_KIND(latency, latencies)

latency_buckets latencies_of(const latency& l) noexcept {
  latency_buckets sum;
  control::registry::instance().with_attachment(l.state_.attachment, [&sum](const site::attachment& base) {
    const auto* const table = static_cast<const api::latency_attachment&>(base).table.get();
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
