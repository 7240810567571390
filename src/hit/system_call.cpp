// The system calls by which a program changes what probes need: its signal actions and masks.
//
// The program sees the actions and masks that it sets; in the kernel libprobe's handlers stay, and SIGTRAP is
// never blocked.

#include <asm/unistd.h>

#include <cerrno>

#include "arch/machine.hpp"
#include "arch/trap.hpp"
#include "hit/signal.hpp"
#include "os/process.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

constexpr std::uint64_t trap = os::signal_bit(SIGTRAP);
constexpr std::uint64_t never_blocked = os::signal_bit(SIGKILL) | os::signal_bit(SIGSTOP);

long address(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }

/// Reads the program's memory, which need not be there. Only the kernel may find that out: a fault kills
/// where SIGSEGV is blocked. It looks at what it is given before it finds that there is no such signal, and
/// no such way to change a mask.
bool read(long from, os::signal_action& to) noexcept {
  if (arch::system_call(__NR_rt_sigaction, 0, from, 0, sizeof to.mask) == -EFAULT) return false;
  to = *reinterpret_cast<const os::signal_action*>(from);
  return true;
}
bool read(long from, std::uint64_t& mask) noexcept {
  if (arch::system_call(__NR_rt_sigprocmask, -1, from, 0, sizeof mask) == -EFAULT) return false;
  mask = *reinterpret_cast<const std::uint64_t*>(from);
  return true;
}

/// Where the kernel has just written the program's memory.
template <class T>
T& written(long at) noexcept {
  return *reinterpret_cast<T*>(at);
}

bool is_ours(const os::signal_action& action) noexcept {
  return action.handler == libprobe_signal_entry || action.handler == libprobe_fault_entry ||
         action.handler == libprobe_trap_entry || action.handler == libprobe_hold_entry;
}

/// A child that shares our memory until it executes another program (vfork, posix_spawn) has actions of its
/// own: what it wants must not be believed of the parent. It keeps the handlers that probes need.
long change_action_of_child(int signo, const os::signal_action& wanted, long old) noexcept {
  const bool keep = site::raised_by_probes(signo);
  const long answer =
      arch::system_call(__NR_rt_sigaction, signo, keep ? 0 : address(&wanted), old, sizeof wanted.mask);
  if (answer == 0 && old != 0) {
    auto& before = written<os::signal_action>(old);
    if (is_ours(before)) before = site::actions[signo].load();
  }
  return answer;
}

long change_action(int signo, long next, long old) noexcept {
  os::signal_action wanted;
  if (next != 0 && !read(next, wanted)) return -EFAULT;
  wanted.mask &= ~never_blocked;
  if (next != 0 && os::is_guest() && !os::was_copied()) return change_action_of_child(signo, wanted, old);

  const site::action_change change;
  auto& believed = site::actions[signo];
  const auto before = believed.load();
  os::signal_action ours;
  if (next != 0) {
    ours = site::kernel_action(signo, wanted);
    if (is_ours(ours)) believed.store(wanted);  // it may be called before this one returns
  }
  const long answer =
      arch::system_call(__NR_rt_sigaction, signo, next != 0 ? address(&ours) : 0, old, sizeof ours.mask);
  if (answer != 0) {
    believed.store(before);
    return answer;
  }
  if (next != 0) believed.store(wanted);
  if (old != 0) {
    auto& told = written<os::signal_action>(old);
    if (is_ours(told)) told = before;
  }
  return 0;
}

long change_mask(int how, long next, long old) noexcept {
  std::uint64_t wanted = 0;
  if (next != 0 && !read(next, wanted)) return -EFAULT;
  const std::uint64_t allowed = how == SIG_UNBLOCK ? wanted : wanted & ~trap;
  const long answer =
      arch::system_call(__NR_rt_sigprocmask, how, next != 0 ? address(&allowed) : 0, old, sizeof allowed);
  if (answer != 0) return answer;
  auto& blocked = site::self.trap_blocked;
  if (old != 0 && blocked) written<std::uint64_t>(old) |= trap;
  if (next == 0) return 0;
  if (how == SIG_SETMASK) {
    blocked = (wanted & trap) != 0;
  } else if ((wanted & trap) != 0) {
    blocked = how == SIG_BLOCK;
  }
  send_kept_trap();
  return 0;
}

/// A kept SIGTRAP goes to who waits for it. The kernel hands it over, if for this moment it is truly blocked.
bool take_kept_trap(const arch::system_call_words& call, long& answer) noexcept {
  auto& self = site::self;
  std::uint64_t wanted = 0;
  if (!self.trap_pending || !read(call.arguments[0], wanted) || (wanted & trap) == 0) return false;
  std::uint64_t before = 0;
  os::change_mask(SIG_BLOCK, trap, &before);
  self.trap_pending = false;
  os::send_here(SIGTRAP, self.trap_info);
  answer = arch::system_call(call.number, call.arguments[0], call.arguments[1], call.arguments[2],
                             call.arguments[3]);
  os::change_mask(SIG_SETMASK, before);
  return true;
}

}  // namespace

bool answer_signal_call(registers& regs) noexcept {
  const auto call = arch::system_call_at(regs);
  const auto& a = call.arguments;
  const bool pending = call.number == __NR_rt_sigpending;
  if (a[pending ? 1 : 3] != sizeof(std::uint64_t)) return false;  // not as the kernel wants it
  const auto first = static_cast<int>(a[0]);
  long answer = 0;
  switch (call.number) {
    case __NR_rt_sigaction:
      if (first < 1 || first > site::last_signal || first == SIGKILL || first == SIGSTOP) return false;
      answer = change_action(first, a[1], a[2]);
      break;
    case __NR_rt_sigprocmask:
      answer = change_mask(first, a[1], a[2]);
      break;
    case __NR_rt_sigtimedwait:
      if (!take_kept_trap(call, answer)) return false;
      break;
    case __NR_rt_sigpending:
      answer = arch::system_call(call.number, a[0], a[1]);
      if (answer == 0 && site::self.trap_pending) written<std::uint64_t>(a[0]) |= trap;
      break;
    default:
      return false;
  }
  arch::answer_system_call(regs, answer);
  return true;
}

}  // namespace libprobe::hit
