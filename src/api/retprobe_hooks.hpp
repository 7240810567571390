// The hooks at both ends of a followed call. Their code is part of the hit path.
#pragma once

#include <cstdlib>
#include <libprobe/retprobe.hpp>
#include <memory>

#include "site/instances.hpp"

namespace libprobe::api {

/// A retprobe at its site.
struct retprobe_attachment : site::instance_pool {
  void (*unwind_handler)(retprobe_instance&) = nullptr;

  /// Control side; throws std::bad_alloc. The memory is zero, and the system's until it is used.
  void reserve(std::size_t maxactive, std::size_t data_size);

 private:
  struct deallocate {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  using block = std::unique_ptr<void, deallocate>;

  block instances;
  block claimed;
};

site::step retprobe_before(site::attachment& a, site::hit& hit);
void retprobe_abandoned(site::instance_pool& pool, retprobe_instance& instance);

}  // namespace libprobe::api
