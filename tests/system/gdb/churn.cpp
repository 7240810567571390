// Registrations, hits, removals, forks and threads all the time, for a debugger to look at: functions of
// several shapes are called by threads while probes at them come and go. Every result must be right, and each
// call that was certainly probed must be counted. usage: churn SECONDS, or churn stdin: until its input ends;
// a line makes it rest, with its threads running, until a debugger sets `resting` to 0.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <libprobe/libprobe.hpp>
#include <string_view>
#include <thread>
#include <vector>

// Entries that have no room for a jump in their first instruction, as compilers make them.
#define ENTRY(name, first)                                                                                  \
  asm(".text\n.p2align 4\n.globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n" first \
      "\nlea 1(%rdi), %rax\nret\n.cfi_endproc\n.size " #name ", .-" #name "\n")
ENTRY(framed, "push %rbp\nmov %rsp, %rbp\npop %rbp");
ENTRY(pushes, "push %r15\npush %r14\npush %r13\npop %r13\npop %r14\npop %r15");
ENTRY(tests, "mov %edi, %eax\ntest %edi, %edi\nmov %edi, %edx");
ENTRY(longer, "movabs $0x1234567812345678, %rax");
ENTRY(moves, "mov %rdi, %rax\nmov %rax, %rdx\nmov %rdx, %rdi");
extern "C" {
long framed(long), pushes(long), tests(long), longer(long), moves(long);
volatile long rounds_done = 0, resting = 0;  // for the debugger, which may set the second
}

namespace {

using function = long (*)(long);
constexpr std::array<function, 5> functions{framed, pushes, tests, longer, moves};

std::atomic<bool> stop{false};
std::atomic<long> wrong{0}, calls{0};

void call_all(long x) {
  for (const auto f : functions) wrong += f(x) != x + 1;
}

void work() {
  for (long x = 0; !stop; ++x) {
    call_all(x);
    ++calls;
  }
}

std::atomic<long> hits_seen{0};
int count(libprobe::probe&, libprobe::registers&) {
  ++hits_seen;
  return 0;
}

bool round_of_probes() {
  std::array<libprobe::probe, functions.size()> entries;
  std::array<libprobe::retprobe, functions.size()> returns;
  std::vector<libprobe::probe*> probes;
  std::vector<libprobe::retprobe*> followed;
  for (std::size_t i = 0; i < functions.size(); ++i) {
    entries[i].at = functions[i];
    entries[i].pre_handler = count;
    returns[i].at = functions[i];
    returns[i].handler = [](libprobe::retprobe_instance&, libprobe::registers&) {};
    probes.push_back(&entries[i]);
    followed.push_back(&returns[i]);
  }
  if (const auto why = libprobe::register_probes(probes)) {
    std::printf("refused: %s: %s\n", why.message().c_str(), libprobe::last_error_detail().c_str());
    return false;
  }
  if (libprobe::register_retprobes(followed)) return false;
  for (const auto& row : libprobe::list_probes()) {
    if (row.jump) continue;
    std::printf("a breakpoint at %#lx: %s\n", static_cast<unsigned long>(row.address), row.reason.c_str());
    return false;
  }
  for (long x = 0; x < 50; ++x) call_all(x);
  for (std::size_t i = 0; i < functions.size(); ++i) {
    if (hits(entries[i]) < 50 || hits(returns[i]) < 50) return false;
  }
  if (libprobe::disable_probe(entries[0]) || libprobe::enable_probe(entries[0])) return false;
  libprobe::unregister_probes(probes);
  libprobe::unregister_retprobes(followed);
  call_all(1);
  return libprobe::list_probes().empty();
}

[[gnu::noinline]] bool fork_round() {
  const pid_t child = fork();
  if (child == 0) {
    stop = true;
    _exit(round_of_probes() && wrong == 0 ? 0 : 1);
  }
  int status = 1;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool run(double seconds, bool until_input_ends) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(work);
  bool good = true;
  std::atomic<bool> ended{false};
  std::thread input;
  if (until_input_ends) {
    input = std::thread{[&ended] {
      while (std::getchar() != EOF) resting = 1;
      ended = true;
      resting = 0;
    }};
  }
  for (long round = 0; good && (until_input_ends ? !ended : std::chrono::steady_clock::now() < end);
       ++round) {
    if (resting != 0) {
      std::puts("resting");
      while (resting != 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    good = round_of_probes();
    if (round % 16 == 5) good = good && fork_round();
    if (round % 8 == 3) std::thread{[] { call_all(5); }}.join();
    rounds_done = round + 1;
  }
  stop = true;
  for (auto& t : threads) t.join();
  if (input.joinable()) input.join();
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  const std::string_view how = argc == 2 ? argv[1] : "1";
  const bool good = run(std::atof(argv[argc - 1]), how == "stdin") && wrong == 0 && rounds_done > 2;
  std::printf("%ld rounds, %ld calls, %ld hits, %ld wrong: %s\n", rounds_done, calls.load(), hits_seen.load(),
              wrong.load(), good ? "right" : "WRONG");
  return good ? 0 : 1;
}
