// The hooks at both ends of a followed call. Their code is part of the hit path.
#pragma once

#include <libprobe/retprobe.hpp>
#include <vector>

#include "site/instances.hpp"

namespace libprobe::api {

/// A retprobe at its site.
struct retprobe_attachment : site::instance_pool {
  int (*entry_handler)(retprobe_instance&, registers&) = nullptr;
  void (*return_handler)(retprobe_instance&, registers&) = nullptr;
  void (*unwind_handler)(retprobe_instance&) = nullptr;

  /// Control side; throws std::bad_alloc.
  void reserve(std::size_t maxactive, std::size_t data_size) {
    constexpr std::size_t alignment = alignof(std::max_align_t);
    stride = (sizeof(retprobe_instance) + data_size + alignment - 1) / alignment * alignment;
    storage = std::vector<std::max_align_t>(stride / alignment * maxactive);
    links = std::vector<std::atomic<std::uint32_t>>(maxactive);
    memory = reinterpret_cast<std::byte*>(storage.data());
    count = maxactive;
    free.adopt(links.data());
    for (auto number = static_cast<std::uint32_t>(maxactive); number > 0; --number) free.give(number - 1);
  }

  std::vector<std::max_align_t> storage;
  std::vector<std::atomic<std::uint32_t>> links;
};

site::step retprobe_before(site::attachment& a, site::hit& hit);
void retprobe_returned(site::instance_pool& pool, retprobe_instance& instance, registers& regs);
void retprobe_abandoned(site::instance_pool& pool, retprobe_instance& instance);

}  // namespace libprobe::api
