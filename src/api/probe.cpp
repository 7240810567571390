// The probe: user handlers, wired onto an attachment's hooks.
#include <libprobe/probe.hpp>

#include "api/kind.hpp"
#include "api/probe_hooks.hpp"

namespace libprobe {

template <>
struct api::kind_of<probe> : plain_kind<probe_attachment> {
  static constexpr char letter = 'k';

  static bool has_handler(const probe& p) noexcept {
    return p.pre_handler != nullptr || p.post_handler != nullptr || p.fault_handler != nullptr;
  }

  static errc fill(const probe& p, attachment& a, control::request& need) {
    a.pre_handler = p.pre_handler;
    a.post_handler = p.post_handler;
    a.fault_handler = p.fault_handler;
    if (p.pre_handler != nullptr) a.before = probe_before;
    if (p.post_handler == nullptr && p.fault_handler == nullptr)
      a.site::attachment::pre_handler = p.pre_handler;
    if (p.post_handler != nullptr) a.after = probe_after;
    if (p.fault_handler != nullptr) a.fault = probe_fault;
    a.vectors = vectors_of(p.flags, p.pre_handler, p.post_handler);
    need.step = any(p.flags & probe_flags::single_step);
    need.after = p.post_handler != nullptr;
    return errc::ok;
  }
};

LIBPROBE_KIND(probe, probes)

}  // namespace libprobe
