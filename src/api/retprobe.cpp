// The retprobe: a pool of instances, and handlers at both ends of a call.
#include <libprobe/batch.hpp>
#include <libprobe/retprobe.hpp>
#include <new>
#include <thread>

#include "api/retprobe.hpp"

namespace libprobe {

void api::retprobe_attachment::reserve(std::size_t maxactive, std::size_t data_size) {
  const auto zeroed = [](std::size_t count, std::size_t size) {
    block made{std::calloc(count, size)};
    if (made == nullptr) throw std::bad_alloc{};
    return made;
  };
  constexpr std::size_t alignment = alignof(std::max_align_t);
  stride = (sizeof(retprobe_instance) + data_size + alignment - 1) / alignment * alignment;
  claimed = zeroed(site::claims::bytes_for(maxactive), 1);
  instances = zeroed(maxactive, stride);
  memory = static_cast<std::byte*>(instances.get());
  in_use.adopt(claimed.get(), static_cast<std::uint32_t>(maxactive));
}

namespace {

bool release(site::attachment& base) noexcept {
  auto& a = static_cast<api::retprobe_attachment&>(base);
  a.part(a);
  // Calls that have not returned still hold instances: pairs with the release in instance_pool::give().
  if (a.in_use.any()) return false;
  delete &a;
  return true;
}

std::size_t default_maxactive() noexcept {
  constexpr std::size_t least = 256, each_cpu = 64;
  return std::max<std::size_t>(least, each_cpu * std::thread::hardware_concurrency());
}

}  // namespace

result<api::wish> api::wish_for(retprobe& p) {
  const bool any_handler = p.handler != nullptr || p.entry_handler != nullptr || p.unwind_handler != nullptr;
  if (!any_handler) return errc::no_handler;
  auto* a = new api::retprobe_attachment;
  auto wish = api::wish_of(p, a);
  api::fill(*a, p, 'r', release);
  a->entered = p.entry_handler;
  a->returned = p.handler;
  a->unwind_handler = p.unwind_handler;
  api::reserve_instances(*a, p.maxactive, p.data_size);
  api::follow_calls(*a, wish);
  a->vectors = api::vectors_of(p.flags, p.entry_handler);
  a->return_vectors = api::vectors_of(p.flags, p.handler);
  return wish;
}

void api::reserve_instances(retprobe_attachment& a, std::size_t maxactive, std::size_t data_size) {
  a.reserve(maxactive != 0 ? maxactive : default_maxactive(), data_size);
}

void api::follow_calls(retprobe_attachment& a, wish& wish) {
  a.before = api::retprobe_before;
  a.counts_itself = true;
  a.pool = &a;
  if (a.unwind_handler != nullptr) a.abandoned = api::retprobe_abandoned;
  wish.need.code = true;
  wish.need.entry = true;
  wish.need.follow = true;
  wish.need.purpose = site::purpose::follow;
}

std::error_code register_retprobes(std::span<retprobe* const> probes) noexcept {
  return api::register_all(probes);
}
std::error_code register_retprobe(retprobe& p) noexcept {
  retprobe* const one[] = {&p};
  return register_retprobes(one);
}
void unregister_retprobe_fast(retprobe& p) noexcept { api::detach(p.state_); }
void unregister_retprobe(retprobe& p) noexcept {
  retprobe* const one[] = {&p};
  api::unregister_all(std::span<retprobe* const>{one});
}
void unregister_retprobes(std::span<retprobe* const> probes) noexcept { api::unregister_all(probes); }
std::error_code enable_retprobe(retprobe& p) noexcept { return api::set_disabled(p.state_, false); }
std::error_code disable_retprobe(retprobe& p) noexcept { return api::set_disabled(p.state_, true); }

}  // namespace libprobe
