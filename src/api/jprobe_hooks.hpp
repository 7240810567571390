// The hooks of functions that are called with the probed function's own arguments. Part of the hit path.
#pragma once

#include <libprobe/jprobe.hpp>
#include <libprobe/replacement.hpp>

#include "site/direct_call.hpp"
#include "site/site.hpp"

namespace libprobe::api {

/// A jprobe, or a replacement, at its site.
struct jprobe_attachment : site::attachment {
  void* entry = nullptr;
  std::size_t stack_bytes = 0;
};
struct replacement_attachment : jprobe_attachment {
  result_registers result = result_registers::all;
  std::atomic<std::uint64_t> begun_by_others{0}, ended_by_others{0};  // by threads that have no row
  std::unique_ptr<std::uint64_t, void (*)(std::uint64_t*)> column_of_begun{nullptr, nullptr},
      column_of_ended{nullptr, nullptr};
  site::direct_call call;
};

site::step jprobe_before(site::attachment& a, site::hit& hit);
site::step replacement_before(site::attachment& a, site::hit& hit);
void replacement_run(site::attachment& a, registers& regs, void* vectors);
void replacement_run_live(site::attachment& a, registers& regs);

}  // namespace libprobe::api
