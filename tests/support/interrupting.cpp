#include "interrupting.hpp"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace interrupting {

namespace {

class tracee {
 public:
  explicit tracee(const std::function<int()>& body) {
    child_ = fork();
    if (child_ != 0) return;
    ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    raise(SIGSTOP);
    alarm(std::getenv("LIBPROBE_EVERY_INSTRUCTION") != nullptr ? 1200 : 120);
    _exit(body());
  }
  ~tracee() {
    if (over_) return;
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  tracee(const tracee&) = delete;
  tracee& operator=(const tracee&) = delete;

  /// Waits for the next stop.
  bool wait() {
    if (waitpid(child_, &status_, __WALL) != child_) status_ = -1;
    over_ = !WIFSTOPPED(status_);
    return !over_;
  }
  [[nodiscard]] int signal() const { return WSTOPSIG(status_); }
  [[nodiscard]] bool over() const { return over_; }
  [[nodiscard]] int result() const {
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }
  void exit_with_tracer() const { ptrace(PTRACE_SETOPTIONS, child_, nullptr, PTRACE_O_EXITKILL); }

  /// One instruction on, or into the handler of `pass`. False: it has ended.
  bool step(long pass) {
    // The CPU shows the tracer's trap flag to this one.
    constexpr long pushf = 0x9c, trap_flag = 0x100;
    const auto before = registers().rip;
    const bool pushes = (peek(before) & 0xff) == pushf;
    ptrace(PTRACE_SINGLESTEP, child_, nullptr, pass);
    if (!wait()) return false;
    if (pushes && registers().rip == before + 1)
      ptrace(PTRACE_POKEDATA, child_, registers().rsp, peek(registers().rsp) & ~trap_flag);
    return true;
  }
  void send(int signo) const { syscall(SYS_tgkill, child_, child_, signo); }
  /// To the next SIGSTOP of its own; all other signals are its own.
  bool go_to_stop() {
    for (long pass = 0;;) {
      ptrace(PTRACE_CONT, child_, nullptr, pass);
      if (!wait()) return false;
      if (signal() == SIGSTOP) return true;
      pass = to_deliver();
    }
  }
  /// What a step's stop leaves to be delivered: a breakpoint of the program's own.
  [[nodiscard]] long to_deliver() const {
    siginfo_t info{};
    ptrace(PTRACE_GETSIGINFO, child_, nullptr, &info);
    return signal() != SIGTRAP || info.si_code == SI_KERNEL ? signal() : 0;
  }
  [[nodiscard]] user_regs_struct registers() const {
    user_regs_struct all{};
    ptrace(PTRACE_GETREGS, child_, nullptr, &all);
    return all;
  }

 private:
  [[nodiscard]] long peek(std::uintptr_t at) const { return ptrace(PTRACE_PEEKDATA, child_, at, nullptr); }

  pid_t child_ = 0;
  int status_ = 0;
  bool over_ = false;
};

/// Sends the signal here, and comes back to where it was. False: it did not come.
bool interrupt(tracee& child, int signo, std::uintptr_t end) {
  const auto before = child.registers();
  // Sent, not injected: the kernel drops what is injected where a handler is just about to begin.
  child.send(signo);
  if (!child.step(0) || child.signal() != signo || !child.step(signo)) return false;
  if (!child.go_to_stop()) return false;
  long pass = 0;  // of breakpoints, where the handler left for other code
  for (int steps = 0; steps < 100'000; ++steps) {
    if (!child.step(pass)) return false;
    pass = child.to_deliver();
    const auto now = child.registers();
    if (now.rip == end) return true;
    if (now.rsp == before.rsp && now.rip == before.rip) return true;
    // Shown the program's state, it begins anew where that is whole: never far from where it was.
    const auto distance = static_cast<std::int64_t>(now.rsp - before.rsp);
    if (distance >= -256 && distance <= 256 && now.rip - before.rip + 256 < 512) return true;
  }
  return false;
}

}  // namespace

void next_round() { raise(SIGSTOP); }
void handler_ends() { syscall(SYS_tgkill, getpid(), gettid(), SIGSTOP); }

int run(const std::function<int()>& body, const std::function<plan(int)>& round,
        const std::function<void(int)>& after_round, bool must_come_back) {
  tracee child{body};
  if (!child.wait()) return child.result();
  child.exit_with_tracer();
  for (int number = 0;; ++number) {
    if (!child.go_to_stop()) return child.result();
    const plan what = round(number);
    bool inside = false;
    for (long pass = 0;;) {
      if (!child.step(pass)) return child.result();
      pass = child.to_deliver();
      const auto ip = child.registers().rip;
      inside = inside || ip == what.begin;
      if (inside && ip == what.end) break;
      if (!inside || pass != 0 || !what.wanted(ip)) continue;
      if (interrupt(child, what.signo, what.end)) {
        if (child.registers().rip == what.end) break;
        continue;
      }
      if (child.over()) return child.result();
      if (must_come_back) return -1;
      break;
    }
    after_round(number);
  }
}

}  // namespace interrupting
