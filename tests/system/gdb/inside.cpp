// Jumps over several instructions are written while threads stand between those instructions most of the
// time. Every result must be right, and the calls made while a probe was certainly there must all be counted.
// It is for a debugger, which must find no signal to stop at.
#include <array>
#include <atomic>
#include <cstdio>
#include <libprobe/libprobe.hpp>
#include <thread>
#include <vector>

// The bytes behind the first instruction would lead its jump into the program itself, so more of them are
// displaced. Threads spend most of their time at these additions, to a cell that all of them want.
#define SITE(name, first, more)                                                                          \
  asm(".text\n.p2align 4\n.globl " #name ", " #name "_site\n.type " #name ", @function\n" #name          \
      ":\n.cfi_startproc\nmov %rsi, %rax\n" #name "_site: " first                                        \
      "\nadd %al, (%rax)\nadd %al, (%rax)\n" more "\nlea 1(%rdi), %rax\nret\n.cfi_endproc\n.size " #name \
      ", .-" #name "\n")
SITE(twice, "nop", "");
SITE(thrice, "mov %edi, %ecx", "add %al, (%rax)");
extern "C" {
long twice(long, unsigned char*), thrice(long, unsigned char*);
extern const unsigned char twice_site[], thrice_site[];
}

namespace {

struct function {
  long (*call)(long, unsigned char*);
  const unsigned char* site;
};
constexpr std::array<function, 2> functions{{{twice, twice_site}, {thrice, thrice_site}}};
constexpr long rounds = 300, calls_each = 20;

std::atomic<bool> stop{false};
std::atomic<long> wrong{0}, calls{0};

void call_all(long x) {
  static unsigned char cell = 0;
  for (const auto& f : functions) {
    if (f.call(x, &cell) != x + 1) ++wrong;
  }
}

void work() {
  long x = 0;
  for (; !stop; ++x) call_all(x);
  calls += x;
}

/// Only the main thread's calls can be told from those of others.
thread_local bool counted = false;
long hits_seen = 0;
int count(libprobe::probe&, libprobe::registers&) {
  if (counted) ++hits_seen;
  return 0;
}

bool round_of_probes() {
  std::array<libprobe::probe, functions.size()> probes;
  std::vector<libprobe::probe*> all;
  for (std::size_t i = 0; i < functions.size(); ++i) {
    probes[i].at = static_cast<const void*>(functions[i].site);
    probes[i].pre_handler = count;
    all.push_back(&probes[i]);
  }
  if (const auto why = libprobe::register_probes(all)) {
    std::printf("refused: %s: %s\n", why.message().c_str(), libprobe::last_error_detail().c_str());
    return false;
  }
  for (const auto& row : libprobe::list_probes()) {
    if (row.tactic == "over_several") continue;
    std::printf("%s: %s\n", row.tactic.c_str(), row.reason.c_str());
    return false;
  }
  const auto before = hits_seen;
  for (long x = 0; x < calls_each; ++x) call_all(x);
  const bool exact = hits_seen - before == calls_each * static_cast<long>(functions.size());
  libprobe::unregister_probes(all);
  if (!exact) std::printf("%ld hits\n", hits_seen - before);
  return exact;
}

}  // namespace

int main() {
  counted = true;
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(work);
  bool good = true;
  for (long round = 0; good && round < rounds; ++round) good = round_of_probes();
  stop = true;
  for (auto& t : threads) t.join();
  good = good && wrong == 0 && hits_seen == rounds * calls_each * static_cast<long>(functions.size());
  std::printf("%ld calls by others, %ld hits, %ld wrong: %s\n", calls.load(), hits_seen, wrong.load(),
              good ? "right" : "WRONG");
  return good ? 0 : 1;
}
