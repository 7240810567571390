// The hooks of functions that are called with the probed function's own arguments. Part of the hit path.
#pragma once

#include <libprobe/jprobe.hpp>
#include <libprobe/replacement.hpp>

#include "site/site.hpp"

namespace libprobe::api {

/// A jprobe, or a replacement, at its site.
struct jprobe_attachment : site::attachment {
  void* entry = nullptr;
  std::size_t stack_bytes = 0;
  result_registers result = result_registers::all;  // of a replacement
};

site::step jprobe_before(site::attachment& a, site::hit& hit);
site::step replacement_before(site::attachment& a, site::hit& hit);
void replacement_run(site::attachment& a, registers& regs, void* vectors);
void replacement_run_live(site::attachment& a, registers& regs);

}  // namespace libprobe::api
