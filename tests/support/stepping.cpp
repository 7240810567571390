#include "stepping.hpp"

#include <signal.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace stepping {

namespace {

struct entry {
  std::uintptr_t address = 0;
  std::uint64_t count = 0;
};
constexpr std::size_t table_size = std::size_t{1} << 20;
entry* table = nullptr;  // open addressing; the handler calls nothing
std::uintptr_t last = 0;

/// rep movs and its like: traps once a round, but is one instruction.
bool repeats(std::uintptr_t address) {
  const auto* code = reinterpret_cast<const std::uint8_t*>(address);
  if (*code == 0x66 || *code == 0x67) ++code;
  if (*code != 0xf2 && *code != 0xf3) return false;
  ++code;
  if ((*code & 0xf0) == 0x40) ++code;
  return (*code >= 0xa4 && *code <= 0xa7) || (*code >= 0xaa && *code <= 0xaf);
}

void on_step(int, siginfo_t*, void* frame) {
  const auto at = static_cast<std::uintptr_t>(static_cast<ucontext_t*>(frame)->uc_mcontext.gregs[REG_RIP]);
  const bool next_round = at == last && repeats(at);
  last = at;
  if (next_round) return;
  std::size_t slot = (at * 0x9e3779b97f4a7c15) >> 44;
  while (table[slot].address != at && table[slot].address != 0) slot = (slot + 1) % table_size;
  table[slot].address = at;
  ++table[slot].count;
}

}  // namespace

std::unordered_map<std::uintptr_t, std::uint64_t> executions_of(const std::function<void()>& work) {
  std::vector<entry> room(table_size);
  table = room.data();
  struct sigaction action {
  }, before{};
  action.sa_sigaction = on_step;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGTRAP, &action, &before);
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tleaq 128(%%rsp), %%rsp" ::
          : "memory", "cc");
  work();
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tleaq 128(%%rsp), %%rsp" ::
          : "memory", "cc");
  sigaction(SIGTRAP, &before, nullptr);
  std::unordered_map<std::uintptr_t, std::uint64_t> counts;
  for (const auto& e : room) {
    if (e.address != 0) counts.emplace(e.address, e.count);
  }
  return counts;
}

}  // namespace stepping
