// The retprobe: a pool of instances, and handlers at both ends of a call.
#include <libprobe/retprobe.hpp>
#include <new>
#include <thread>

#include "api/kind.hpp"
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

std::size_t default_maxactive() noexcept {
  constexpr std::size_t least = 256, each_cpu = 64;
  return std::max<std::size_t>(least, each_cpu * std::thread::hardware_concurrency());
}

}  // namespace

void api::reserve_instances(retprobe_attachment& a, std::size_t maxactive, std::size_t data_size) {
  a.reserve(maxactive != 0 ? maxactive : default_maxactive(), data_size);
}

void api::follow_calls(retprobe_attachment& a, control::request& need) {
  a.before = api::retprobe_before;
  a.counts_itself = true;
  a.pool = &a;
  if (a.unwind_handler != nullptr) a.abandoned = api::retprobe_abandoned;
  need.code = true;
  need.entry = true;
  need.follow = true;
  need.purpose = site::purpose::follow;
}

template <>
struct api::kind_of<retprobe> : plain_kind<retprobe_attachment> {
  static constexpr char letter = 'r';

  static bool has_handler(const retprobe& p) noexcept {
    return p.handler != nullptr || p.entry_handler != nullptr || p.unwind_handler != nullptr;
  }
  static bool may_free(const attachment& a) noexcept { return no_call_is_open(a); }

  static errc fill(const retprobe& p, attachment& a, control::request& need) {
    a.entered = p.entry_handler;
    a.returned = p.handler;
    a.unwind_handler = p.unwind_handler;
    reserve_instances(a, p.maxactive, p.data_size);
    follow_calls(a, need);
    a.vectors = vectors_of(p.flags, p.entry_handler);
    a.return_vectors = vectors_of(p.flags, p.handler);
    return errc::ok;
  }
};

LIBPROBE_KIND(retprobe, retprobes)

}  // namespace libprobe
