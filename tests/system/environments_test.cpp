// Where a program may find itself: without /proc, in a sandbox, with nothing left to be had. Each case is a
// child of a process in which libprobe has done nothing yet.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <filesystem>
#include <fstream>
#include <locale>
#include <sstream>

#include "support/child.hpp"
#include "support/refusing.hpp"

namespace libprobe {
namespace {

using test::demand;
using test::flaw;
using test::in_child;
using test::refuse_system_calls;
using test::whole_cycle;

int do_nothing(probe&, registers&) { return 0; }

/// A function that no module holds.
class generated_code {
 public:
  generated_code() {
    constexpr std::uint8_t code[] = {0xb8, 7, 0, 0, 0, 0xc3};  // mov $7, %eax; ret
    page_ = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(page_, code, sizeof code);
    mprotect(page_, 4096, PROT_READ | PROT_EXEC);
  }
  ~generated_code() { munmap(page_, 4096); }
  generated_code(const generated_code&) = delete;
  generated_code& operator=(const generated_code&) = delete;
  [[nodiscard]] const void* start() const { return page_; }
  [[nodiscard]] int call() const { return reinterpret_cast<int (*)()>(page_)(); }

 private:
  void* page_;
};

flaw generated_code_is_refused() {
  const generated_code code;
  probe p{.at = code.start(), .pre_handler = do_nothing};
  const auto why = register_probe(p);
  HOLDS(why == errc::unsupported_environment && why == std::errc::operation_not_supported);
  HOLDS(last_error_detail().find("/proc/self/maps") != std::string::npos);
  HOLDS(code.call() == 7 && hits(p) == 0 && list_probes().empty());
  return nullptr;
}

flaw names_are_found() {
  probe p{.at = "libc.so.6:getenv", .pre_handler = do_nothing};
  HOLDS(!register_probe(p));
  HOLDS(getenv("no such variable") == nullptr && hits(p) == 1);
  return nullptr;
}

/// Code that is both writable and executable somewhere in this process.
std::string writable_code() {
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.find(" rwx") != std::string::npos) return line;
  }
  return {};
}

// ---- /proc

void own_mounts() {
  demand(unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0, "unshare(CLONE_NEWNS)");
  demand(mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount / as private");
}

TEST(Environments, ProcIsNotMounted) {
  in_child([]() -> flaw {
    own_mounts();
    demand(umount2("/proc", MNT_DETACH) == 0, "umount /proc");
    HOLDS(access("/proc/self/maps", F_OK) != 0);
    if (flaw found = whole_cycle()) return found;
    if (flaw found = names_are_found()) return found;
    return generated_code_is_refused();
  });
}

TEST(Environments, ProcIsKeptFromUs) {
  in_child([]() -> flaw {
    own_mounts();
    demand(mount("none", "/proc", "tmpfs", 0, nullptr) == 0, "mount a tmpfs over /proc");
    HOLDS(access("/proc/self", F_OK) != 0);
    return whole_cycle();
  });
}

TEST(Environments, ARootWithoutAnyFile) {
  char folder[] = "/tmp/libprobe-root-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  in_child([&]() -> flaw {
    demand(chroot(folder) == 0 || (unshare(CLONE_NEWUSER) == 0 && chroot(folder) == 0), "chroot");
    HOLDS(chdir("/") == 0 && access("/proc", F_OK) != 0);
    if (flaw found = whole_cycle()) return found;
    if (flaw found = names_are_found()) return found;
    return generated_code_is_refused();
  });
  rmdir(folder);
}

TEST(Environments, NoFileCanBeOpened) {
  in_child([]() -> flaw {
    demand(refuse_system_calls({SYS_open, SYS_openat}, EACCES), "seccomp");
    if (flaw found = whole_cycle()) return found;
    if (flaw found = names_are_found()) return found;
    return generated_code_is_refused();
  });
}

TEST(Environments, TheProgramsOwnNamesAreReadWithoutProc) {
  in_child([]() -> flaw {
    own_mounts();
    demand(umount2("/proc", MNT_DETACH) == 0, "umount /proc");
    probe p{.at = "libprobe::test::cycle::loop", .pre_handler = do_nothing};
    HOLDS(!register_probe(p));
    HOLDS(test::cycle::loop(4) == 10 && hits(p) == 1);
    return nullptr;
  });
}

// ---- writing text

/// From now on no mapping becomes writable and executable, as systemd's MemoryDenyWriteExecute has it.
bool refuse_writable_code() {
  const auto when_both = [](unsigned number) {
    constexpr unsigned both = PROT_WRITE | PROT_EXEC;
    return std::array<sock_filter, 5>{
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4),
        sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        sock_filter BPF_STMT(BPF_ALU | BPF_AND | BPF_K, both),
        sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, both, 0, 1),
        sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
  };
  std::vector<sock_filter> program;
  for (const unsigned number : {SYS_mmap, SYS_mprotect}) {
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    const auto part = when_both(number);
    program.insert(program.end(), part.begin(), part.end());
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

TEST(Environments, ProcSelfMemIsRefused) {
  for (const int error :
       {EACCES, EPERM, EIO}) {  // by a filter; by an old kernel's; by proc_mem.force_override
    in_child([&]() -> flaw {
      demand(refuse_system_calls({SYS_pwrite64}, error), "seccomp");
      return whole_cycle();
    });
  }
}

TEST(Environments, NoMemoryIsEverWritableAndExecutable) {
  in_child([]() -> flaw {
    demand(refuse_writable_code(), "seccomp");
    if (flaw found = whole_cycle()) return found;
    HOLDS(writable_code().empty());
    demand(refuse_system_calls({SYS_pwrite64}, EACCES), "seccomp");
    if (flaw found = whole_cycle()) return found;
    HOLDS(writable_code().empty());
    return nullptr;
  });
}

/// Registration is refused as a whole, and so is what was there before.
flaw text_cannot_be_written() {
  const auto before = test::cycle::bytes_of(test::cycle::text_of(&test::cycle::sum));
  probe p{.at = &test::cycle::sum, .pre_handler = do_nothing};
  probe q{.at = &test::cycle::loop, .pre_handler = do_nothing};
  probe* const both[] = {&p, &q};
  const auto why = register_probes(both);
  HOLDS(why == errc::text_not_writable && why == std::errc::permission_denied);
  HOLDS(test::cycle::bytes_of(test::cycle::text_of(&test::cycle::sum)) == before);
  HOLDS(test::cycle::sum(1, 2) == 3 && test::cycle::loop(2) == 3);
  HOLDS(hits(p) == 0 && hits(q) == 0 && list_probes().empty() && address_of(p) == nullptr);
  return nullptr;
}

TEST(Environments, TextCannotBeWrittenInAnyWay) {
  in_child([]() -> flaw {
    demand(refuse_system_calls({SYS_pwrite64, SYS_mprotect}, EACCES), "seccomp");
    return text_cannot_be_written();
  });
}

TEST(Environments, MemoryDenyWriteExecute) {
  in_child([]() -> flaw {
    constexpr int set_mdwe = 65;  // PR_SET_MDWE, Linux 6.3
    demand(prctl(set_mdwe, 1UL, 0UL, 0UL, 0UL) == 0, "prctl(PR_SET_MDWE)");
    if (flaw found = whole_cycle()) return found;  // by /proc/self/mem
    demand(refuse_system_calls({SYS_pwrite64}, EACCES), "seccomp");
    return text_cannot_be_written();
  });
}

bool seal(const void* from, std::size_t size) {
  constexpr long mseal = 462;  // Linux 6.10
  const auto begin = reinterpret_cast<std::uintptr_t>(from) & ~std::uintptr_t{4095};
  const auto end = (reinterpret_cast<std::uintptr_t>(from) + size + 4095) & ~std::uintptr_t{4095};
  return syscall(mseal, begin, end - begin, 0UL) == 0;
}

TEST(Environments, SealedText) {
  in_child([]() -> flaw {
    for (const void* one : {test::cycle::text_of(&test::cycle::sum), test::cycle::text_of(&test::cycle::loop),
                            test::cycle::text_of(&test::cycle::scaled)})
      demand(seal(one, 64), "mseal");
    if (flaw found = whole_cycle()) return found;  // a seal does not keep /proc/self/mem out
    demand(refuse_system_calls({SYS_pwrite64}, EACCES), "seccomp");
    return text_cannot_be_written();
  });
}

TEST(Environments, ReadingMemoryIsRefused) {
  in_child([]() -> flaw {
    demand(refuse_system_calls({SYS_process_vm_readv}, EPERM), "seccomp");
    if (flaw found = whole_cycle()) return found;
    demand(refuse_system_calls({SYS_pread64}, EACCES), "seccomp");
    return whole_cycle();
  });
}

// ---- barriers

struct refused_barriers {
  const char* name;
  std::vector<long> calls;
};

const refused_barriers barrier_cases[] = {
    {"membarrier", {SYS_membarrier}},
    {"membarrier, madvise", {SYS_membarrier, SYS_madvise}},
    {"membarrier, madvise, mprotect", {SYS_membarrier, SYS_madvise, SYS_mprotect}},
    {"all of them and sched_setaffinity", {SYS_membarrier, SYS_madvise, SYS_mprotect, SYS_sched_setaffinity}},
};

bool refuse(const refused_barriers& what, int error) {
  return std::all_of(what.calls.begin(), what.calls.end(),
                     [&](long call) { return refuse_system_calls({call}, error); });
}

/// A thread that takes no signal but those that the CPU raises, and spins in probed code.
flaw cycle_beside_a_deaf_thread() {
  std::atomic<bool> stop{false};
  std::atomic<long> wrong{0};
  std::thread deaf{[&] {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&all, own);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    while (!stop) wrong += test::cycle::loop(5) != 15;
  }};
  const flaw found = test::comings_and_goings(10);
  stop = true;
  deaf.join();
  HOLDS(wrong == 0);
  return found;
}

TEST(Environments, NoMembarrierFromTheStart) {
  for (const auto& one : barrier_cases) {
    SCOPED_TRACE(one.name);
    in_child([&]() -> flaw {
      // A thread needs mprotect() to begin with.
      demand(refuse(one, ENOSYS), "seccomp");
      if (std::ranges::find(one.calls, SYS_mprotect) != one.calls.end()) {
        if (flaw found = test::plain_probes()) return found;
        return test::function_probes();
      }
      if (flaw found = cycle_beside_a_deaf_thread()) return found;
      return whole_cycle();
    });
  }
}

TEST(Environments, ASandboxThatTakesMembarrierAway) {
  for (const auto& one : barrier_cases) {
    SCOPED_TRACE(one.name);
    in_child([&]() -> flaw {
      std::atomic<bool> stop{false};
      std::atomic<long> wrong{0};
      std::thread caller{[&] {
        while (!stop) wrong += test::cycle::other(5) != 5;
      }};
      flaw found = whole_cycle();
      bool refused = false;
      if (found == nullptr) {
        refused = refuse(one, EPERM);
        for (int i = 0; i < 2 && found == nullptr && refused; ++i) {
          probe p{.at = &test::cycle::other, .pre_handler = do_nothing};
          found = register_probe(p) ? "the registration beside another thread" : test::plain_probes();
          if (found == nullptr) found = test::function_probes();
        }
      }
      stop = true;
      caller.join();
      if (found == nullptr) demand(refused, "seccomp");
      HOLDS(wrong == 0);
      return found;
    });
  }
}

// ---- limits

void limit(int what, rlim_t to) {
  const rlimit both{to, to};
  demand(setrlimit(static_cast<__rlimit_resource>(what), &both) == 0, "setrlimit");
}

TEST(Environments, NoDescriptorIsLeft) {
  in_child([]() -> flaw {
    limit(RLIMIT_NOFILE, 0);
    HOLDS(open("/", O_RDONLY) < 0 && errno == EMFILE);
    if (flaw found = whole_cycle()) return found;
    return generated_code_is_refused();
  });
}

TEST(Environments, DescriptorsRunOutLater) {
  in_child([]() -> flaw {
    if (flaw found = whole_cycle()) return found;
    probe p{.at = &test::cycle::sum, .pre_handler = do_nothing};
    HOLDS(!register_probe(p));
    limit(RLIMIT_NOFILE, 0);
    HOLDS(test::cycle::sum(1, 2) == 3 && hits(p) == 1);
    unregister_probe(p);
    HOLDS(test::cycle::sum(1, 2) == 3 && hits(p) == 1 && list_probes().empty());
    return whole_cycle();
  });
}

TEST(Environments, NoAddressSpaceIsLeft) {
  in_child([]() -> flaw {
    {  // the symbol tables are read, and the first code memory is there
      probe p{.at = &test::cycle::sum, .pre_handler = do_nothing};
      HOLDS(!register_probe(p));
    }
    std::ifstream statm{"/proc/self/statm"};
    rlim_t pages = 0;
    HOLDS(statm >> pages);
    limit(RLIMIT_AS, pages * 4096);
    // It works with what is there, or is refused.
    for (const auto& at : {location{&test::cycle::sum}, location{&test::cycle::loop},
                           location{"libc.so.6:qsort"}, location{"libc.so.6:getenv"}}) {
      probe p{.at = at, .pre_handler = do_nothing};
      const auto why = register_probe(p);
      HOLDS(!why || why == std::errc::not_enough_memory);
      HOLDS(test::cycle::sum(1, 2) == 3 && test::cycle::loop(4) == 10);
    }
    HOLDS(list_probes().empty());
    return nullptr;
  });
}

TEST(Environments, NoThreadAndNoSignalMayBeMade) {
  in_child([]() -> flaw {
    limit(RLIMIT_SIGPENDING, 0);
    if (getuid() == 0) demand(setuid(65534) == 0, "setuid");  // root has no such limit
    limit(RLIMIT_NPROC, 0);
    if (flaw found = test::plain_probes()) return found;
    return test::function_probes();
  });
}

TEST(Environments, LittleStackAndNoLockedMemory) {
  in_child([]() -> flaw {
    limit(RLIMIT_MEMLOCK, 0);
    limit(RLIMIT_STACK, 512 * 1024);
    return whole_cycle();
  });
}

TEST(Environments, AllMemoryIsLocked) {
  in_child([]() -> flaw {
    demand(mlockall(MCL_CURRENT) == 0, "mlockall");
    if (flaw found = whole_cycle()) return found;
    demand(refuse_system_calls({SYS_membarrier}, ENOSYS), "seccomp");  // madvise() leaves locked pages alone
    return whole_cycle();
  });
}

// ---- the C++ run-time's surroundings

struct grouped : std::numpunct<char> {
  [[nodiscard]] char do_thousands_sep() const override { return '.'; }
  [[nodiscard]] char do_decimal_point() const override { return ','; }
  [[nodiscard]] std::string do_grouping() const override { return "\1"; }
};

TEST(Environments, AnyLocale) {
  in_child([]() -> flaw {
    const auto listing = [] {
      std::string text;
      for (const auto& row : list_probes()) {
        std::ostringstream line;
        line << row;
        text += line.str() + '\n';
      }
      return text;
    };
    const auto address = reinterpret_cast<std::uintptr_t>(&test::cycle::loop);
    char name[32];
    std::snprintf(name, sizeof name, "0x%lx", static_cast<unsigned long>(address));
    probe p{.at = name, .pre_handler = do_nothing};
    probe q{.at = "libprobe::test::cycle::sum+0", .pre_handler = do_nothing};
    std::string before;
    for (int round = 0; round < 2; ++round) {
      HOLDS(!register_probe(p));
      HOLDS(!register_probe(q));
      for (int i = 0; i < 12345; ++i) HOLDS(test::cycle::loop(1) == 1);
      if (round == 0) before = listing();
      HOLDS(listing() == before && before.find("12345") != std::string::npos);
      unregister_probe(p);
      unregister_probe(q);
      std::locale::global(std::locale{std::locale::classic(), new grouped});
      std::setlocale(LC_ALL, "C.UTF-8");
    }
    return whole_cycle();
  });
}

}  // namespace
}  // namespace libprobe
