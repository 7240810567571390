// The hooks that carry a hit from a site to a probe's handlers. Their code is part of the hit path.
#pragma once

#include <libprobe/probe.hpp>

#include "site/site.hpp"

namespace libprobe::api {

/// A probe at its site, with its handlers as they were at registration.
struct probe_attachment : site::attachment {
  int (*pre_handler)(probe&, registers&) = nullptr;
  void (*post_handler)(probe&, registers&) = nullptr;
  bool (*fault_handler)(probe&, registers&, int) = nullptr;
};

site::step probe_before(site::attachment& a, site::hit& hit);
void probe_after(site::attachment& a, registers& regs);
bool probe_fault(site::attachment& a, registers& regs, int signo);

}  // namespace libprobe::api
