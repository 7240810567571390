#include "api/probe_hooks.hpp"

#include "arch/trap.hpp"

namespace libprobe::api {

namespace {

probe_attachment& own(site::attachment& a) noexcept { return static_cast<probe_attachment&>(a); }
probe& owner(site::attachment& a) noexcept { return *static_cast<probe*>(a.owner); }

}  // namespace

site::step probe_before(site::attachment& a, site::hit& hit) {
  return own(a).pre_handler(owner(a), hit.regs) != 0 ? site::step::redirected : site::step::go_on;
}
void probe_after(site::attachment& a, registers& regs) { own(a).post_handler(owner(a), regs); }
bool probe_fault(site::attachment& a, registers& regs, int signo) {
  // The signal's handler is entered from the kernel: no frame of ours lies between that would stop an
  // exception.
  return (arch::call_confined(reinterpret_cast<const void*>(own(a).fault_handler), &owner(a), &regs, signo) &
          0xff) != 0;
}

}  // namespace libprobe::api

std::uint64_t libprobe::detail::hits(const probe_state& s) noexcept { return site::hits_of(s.ledger); }
std::uint64_t libprobe::detail::nmissed(const probe_state& s) noexcept { return site::missed_of(s.ledger); }
