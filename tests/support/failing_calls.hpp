// System calls that fail on demand: the n-th one, or all from there on. In the process itself, without a
// tracer: a filter makes each call of the chosen kinds a SIGSYS, whose handler counts it, and fails it or
// does it.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <vector>

extern "C" {
long failing_calls_do(long number, const long* arguments);
extern const char failing_calls_done[];
extern const char __executable_start, etext;
}
asm(R"(
        .text
        .globl  failing_calls_do, failing_calls_done
        .type   failing_calls_do, @function
failing_calls_do:
        mov     %rdi, %rax
        mov     %rsi, %r11
        mov     (%r11), %rdi
        mov     8(%r11), %rsi
        mov     16(%r11), %rdx
        mov     24(%r11), %r10
        mov     32(%r11), %r8
        mov     40(%r11), %r9
        syscall
failing_calls_done:
        ret
        .size   failing_calls_do, .-failing_calls_do
)");

namespace libprobe::test {

class failing_calls {
 public:
  struct kind {
    long number;
    const char* name;
    int error;  // as the kernel might give
  };
  /// What the control side may come to ask for. close() is not among them: it does its work even when it
  /// fails.
  static constexpr std::array<kind, 23> kinds{{
      {SYS_open, "open", EMFILE},
      {SYS_openat, "openat", EMFILE},
      {SYS_read, "read", EIO},
      {SYS_pread64, "pread64", EACCES},
      {SYS_pwrite64, "pwrite64", EIO},
      {SYS_readlink, "readlink", EACCES},
      {SYS_newfstatat, "newfstatat", ENOMEM},
      {SYS_fstat, "fstat", ENOMEM},
      {SYS_access, "access", EACCES},
      {SYS_lseek, "lseek", EINVAL},
      {SYS_mmap, "mmap", ENOMEM},
      {SYS_mprotect, "mprotect", EACCES},
      {SYS_mremap, "mremap", ENOMEM},
      {SYS_munmap, "munmap", ENOMEM},
      {SYS_madvise, "madvise", ENOMEM},
      {SYS_brk, "brk", 0},  // says no by giving the old end
      {SYS_membarrier, "membarrier", EPERM},
      {SYS_rt_sigaction, "rt_sigaction", EINVAL},
      {SYS_process_vm_readv, "process_vm_readv", EPERM},
      {SYS_prlimit64, "prlimit64", EPERM},
      {SYS_getdents64, "getdents64", EIO},
      {SYS_prctl, "prctl", EINVAL},
      {SYS_fcntl, "fcntl", EINVAL},
  }};

  enum class which { the_nth, all_of_its_kind, all };

  /// For good; of the calling thread and those that it starts. False: no such filters here.
  static bool install() {
    struct sigaction action {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART;
    if (sigaction(SIGSYS, &action, nullptr) != 0) return false;
    const auto own = reinterpret_cast<std::uintptr_t>(failing_calls_done);
    const auto offset = [](std::size_t at) { return static_cast<unsigned>(at); };
    constexpr auto ip = offsetof(seccomp_data, instruction_pointer);
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset(ip)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(own), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset(ip + 4)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(own >> 32), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset(offsetof(seccomp_data, nr))),
    };
    for (const auto& one : kinds) {
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(one.number), 0, 1));
      program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
  }

  /// From now on counts, and fails the nth; 0: none.
  static void arm(long nth, which how) {
    count = 0;
    kinds_seen = {};
    failing = nth;
    failed_number = -1;
    mode = how;
    armed = true;
  }
  /// How many there have been.
  static long disarm() {
    armed = false;
    return count;
  }

  /// Of each kind, since arm(); and which kind the nth was, -1: there were fewer.
  static inline std::array<long, kinds.size()> kinds_seen{};
  static inline long failed_number = -1;
  /// Since arm(), for each call in order: a number for the place in the program that it came from, which is
  /// known by the return addresses on the stack. Words that are none may tell one place for two.
  static inline std::array<std::uint64_t, 4096> sites{};
  static const char* name_of(long number) {
    for (const auto& one : kinds) {
      if (one.number == number) return one.name;
    }
    return "none";
  }

 private:
  static inline volatile bool armed = false;
  static inline long count = 0, failing = 0;
  static inline which mode = which::the_nth;

  static std::uint64_t site_of(long number, greg_t sp) {
    auto hash = static_cast<std::uint64_t>(number);
    const auto first = reinterpret_cast<std::uintptr_t>(&__executable_start);
    const auto size = reinterpret_cast<std::uintptr_t>(&etext) - first;
    const auto* word = reinterpret_cast<const std::uintptr_t*>(sp);
    int found = 0;
    for (int i = 0; i < 64 && found < 4; ++i) {
      if (word[i] - first >= size) continue;
      hash = hash * 1'000'003 + (word[i] - first);
      ++found;
    }
    return hash;
  }

  static bool fails(long number, greg_t sp) {
    if (!armed) return false;
    if (static_cast<std::size_t>(count) < sites.size())
      sites[static_cast<std::size_t>(count)] = site_of(number, sp);
    for (std::size_t i = 0; i < kinds.size(); ++i) kinds_seen[i] += kinds[i].number == number;
    ++count;
    if (failing == 0 || count < failing) return false;
    if (count == failing) failed_number = number;
    return count == failing || mode == which::all ||
           (mode == which::all_of_its_kind && number == failed_number);
  }

  static void handle(int, siginfo_t* info, void* frame) {
    const int errno_before = errno;
    auto& registers = static_cast<ucontext_t*>(frame)->uc_mcontext.gregs;
    const long number = info->si_syscall;
    long arguments[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
                        registers[REG_R10], registers[REG_R8],  registers[REG_R9]};
    if (fails(number, registers[REG_RSP])) {
      if (number == SYS_brk) {
        arguments[0] = 0;
        registers[REG_RAX] = failing_calls_do(number, arguments);
      } else {
        for (const auto& one : kinds) {
          if (one.number == number) registers[REG_RAX] = -one.error;
        }
      }
    } else {
      registers[REG_RAX] = failing_calls_do(number, arguments);
    }
    errno = errno_before;
  }
};

}  // namespace libprobe::test
