#include "api/probe_hooks.hpp"

namespace libprobe::api {

namespace {

probe_attachment& own(site::attachment& a) noexcept { return static_cast<probe_attachment&>(a); }
probe& owner(site::attachment& a) noexcept { return *static_cast<probe*>(a.owner); }

}  // namespace

int probe_before(site::attachment& a, registers& regs) { return own(a).pre_handler(owner(a), regs); }
void probe_after(site::attachment& a, registers& regs) { own(a).post_handler(owner(a), regs); }
bool probe_fault(site::attachment& a, registers& regs, int signo) {
  return own(a).fault_handler(owner(a), regs, signo);
}

}  // namespace libprobe::api
