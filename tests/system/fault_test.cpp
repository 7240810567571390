// Displaced instructions that fault: the probe's fault_handler, the program's own handler, the default
// action.
#include <gmock/gmock.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <string>

#include "support/own_faults.hpp"
#include "system/fault_targets.hpp"

namespace libprobe {
namespace {

using test::at;
using test::bad_cases;
using test::entry;
using test::just_count;

/// What the program's own handler saw.
struct witness {
  int signo;
  std::uintptr_t ip, address;
  long code;
  int times;
  long (*call)();
  sigjmp_buf back;
  bool jump;
} seen;

/// Mends what can be mended and returns, or leaves by siglongjmp.
void own_handler(int signo, siginfo_t* info, void* context) {
  auto& g = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  seen.signo = signo;
  seen.ip = static_cast<std::uintptr_t>(g[REG_RIP]);
  seen.address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  seen.code = info->si_code;
  ++seen.times;
  if (seen.call != nullptr) seen.call();
  if (seen.jump) siglongjmp(seen.back, 1);
  static long good = 5;
  static void* pointer = reinterpret_cast<void*>(&fault_answer);
  if (signo == SIGSEGV) {
    const bool pointer_wanted = seen.ip == reinterpret_cast<std::uintptr_t>(fault_call_here) ||
                                seen.ip == reinterpret_cast<std::uintptr_t>(fault_jump_here);
    g[REG_RDI] = reinterpret_cast<greg_t>(pointer_wanted ? static_cast<void*>(&pointer) : &good);
    if (seen.ip == reinterpret_cast<std::uintptr_t>(fault_leave_here)) g[REG_RBP] = g[REG_RSI];
  }
  if (signo == SIGFPE) g[REG_RSI] = 1;
  if (signo == SIGILL) g[REG_RIP] += 2;
}

void install(int signo, int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = own_handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigfillset(&action.sa_mask);  // SIGTRAP, too: as many programs do
  sigaction(signo, &action, nullptr);
}

/// Before the first registration of this process, so that libprobe finds the handlers in place.
struct OwnHandler : testing::Test {
  static void SetUpTestSuite() {
    for (const int signo : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) install(signo);
  }
  void SetUp() override { seen = {}; }
};

TEST_F(OwnHandler, SeesTheFaultAsIfThereWereNoProbe) {
  for (const auto& one : bad_cases) {
    for (const auto flags : {probe_flags::none, probe_flags::single_step}) {
      seen = {};
      EXPECT_EQ(one.run(), one.answer) << one.name;
      const auto plain = seen;
      EXPECT_EQ(plain.ip, reinterpret_cast<std::uintptr_t>(one.probed)) << one.name;

      seen = {};
      probe p{.at = at(one.probed), .pre_handler = just_count, .flags = flags};
      ASSERT_FALSE(register_probe(p)) << one.name << last_error_detail();
      EXPECT_EQ(one.run(), one.answer) << one.name;
      EXPECT_EQ(seen.signo, one.signo) << one.name;
      EXPECT_EQ(seen.ip, plain.ip) << one.name;
      EXPECT_EQ(seen.code, plain.code) << one.name;
      EXPECT_EQ(seen.times, plain.times) << one.name;
      EXPECT_EQ(seen.address, plain.address) << one.name;
      EXPECT_EQ(hits(p), 1U) << one.name << ": mending it is no second hit";
    }
  }
}

TEST_F(OwnHandler, MayLeaveBySiglongjmp) {
  for (const auto& one : bad_cases) {
    probe p{.at = at(one.probed), .pre_handler = just_count, .post_handler = [](probe&, registers&) {}};
    ASSERT_FALSE(register_probe(p));
    for (int round = 0; round < 50; ++round) {
      seen = {};
      if (sigsetjmp(seen.back, 1) == 0) {
        seen.jump = true;
        one.run();
        ADD_FAILURE() << one.name << " came back";
      }
      EXPECT_EQ(seen.ip, reinterpret_cast<std::uintptr_t>(one.probed)) << one.name;
    }
    EXPECT_EQ(hits(p), 50U) << one.name;
    unregister_probe(p);  // no section has been left open: this comes back
  }
}

TEST_F(OwnHandler, AlsoGetsFaultsThatNoProbeHasToDoWith) {
  probe p{.at = at(entry(fault_answer)), .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(fault_load(nullptr), 5);
  EXPECT_EQ(seen.times, 1);
  raise(SIGFPE);
  EXPECT_EQ(seen.times, 2);
  EXPECT_EQ(seen.code, SI_TKILL);
}

TEST_F(OwnHandler, MayItselfRunIntoProbes) {
  probe in_handler{.at = at(entry(fault_answer)), .pre_handler = just_count};
  probe p{.at = at(entry(fault_load)), .pre_handler = just_count};
  ASSERT_FALSE(register_probe(in_handler));
  ASSERT_FALSE(register_probe(p));
  seen.call = fault_answer;
  EXPECT_EQ(fault_load(nullptr), 5);
  EXPECT_EQ(hits(in_handler), 1U);
  EXPECT_EQ(nmissed(in_handler), 0U) << "it is no handler of libprobe's";
}

TEST_F(OwnHandler, AFaultHandlerMayRunIntoProbes) {
  probe in_handler{.at = at(entry(fault_answer)), .pre_handler = just_count};
  probe p{.at = at(entry(fault_load)), .fault_handler = [](probe&, registers& regs, int) {
            static const long good = 8;
            regs.rdi = reinterpret_cast<std::uint64_t>(&good);
            return test::opaque(&fault_answer)() == 42;
          }};
  ASSERT_FALSE(register_probe(in_handler));
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(fault_load(nullptr), 8);
  EXPECT_EQ(nmissed(in_handler), 1U);
}

int fault_signo = 0;
int fault_calls = 0;

TEST_F(OwnHandler, IsNotCalledWhenAFaultHandlerMendsARegister) {
  probe load{.at = at(entry(fault_load)),
             .pre_handler = just_count,
             .fault_handler = [](probe& self, registers& regs, int signo) {
               fault_signo = signo;
               ++fault_calls;
               EXPECT_EQ(regs.ip(), reinterpret_cast<std::uintptr_t>(address_of(self)));
               static const long good = 77;
               regs.rdi = reinterpret_cast<std::uint64_t>(&good);
               return true;
             }};
  probe divide{.at = at(fault_divide_here),
               .post_handler = [](probe&, registers& regs) { EXPECT_EQ(regs.rax, 3U); },
               .fault_handler =
                   [](probe&, registers& regs, int signo) {
                     fault_signo = signo;
                     regs.rsi = 2;
                     return true;
                   }};
  probe illegal{.at = at(entry(fault_illegal)), .fault_handler = [](probe&, registers& regs, int signo) {
                  fault_signo = signo;
                  regs.set_ip(regs.ip() + 2);
                  return true;
                }};
  probe* const all[] = {&load, &divide, &illegal};
  ASSERT_FALSE(register_probes(all));
  EXPECT_EQ(fault_load(nullptr), 77);
  EXPECT_EQ(fault_signo, SIGSEGV);
  EXPECT_EQ(fault_divide(6, 0), 3);
  EXPECT_EQ(fault_signo, SIGFPE);
  EXPECT_EQ(fault_illegal(), 7);
  EXPECT_EQ(fault_signo, SIGILL);
  EXPECT_EQ(fault_calls, 1);
  for (auto* p : all) EXPECT_EQ(hits(*p), 1U);
  EXPECT_EQ(seen.times, 0);
}

TEST_F(OwnHandler, FaultHandlersAreAskedInOrderUntilOneMends) {
  static std::string asked;
  asked.clear();
  probe no{.at = at(entry(fault_load)), .fault_handler = [](probe&, registers&, int) {
             asked += "no ";
             return false;
           }};
  probe yes{.at = at(entry(fault_load)), .fault_handler = [](probe&, registers& regs, int) {
              asked += "yes ";
              static const long good = 3;
              regs.rdi = reinterpret_cast<std::uint64_t>(&good);
              return true;
            }};
  probe late{.at = at(entry(fault_load)), .fault_handler = [](probe&, registers&, int) {
               asked += "late ";
               return true;
             }};
  probe* const all[] = {&no, &yes, &late};
  ASSERT_FALSE(register_probes(all));
  EXPECT_EQ(fault_load(nullptr), 3);
  EXPECT_EQ(asked, "no yes ");
  unregister_probe(yes);
  unregister_probe(late);
  EXPECT_EQ(fault_load(nullptr), 5) << "the program's own";
  EXPECT_EQ(asked, "no yes no ");
  EXPECT_EQ(seen.ip, reinterpret_cast<std::uintptr_t>(entry(fault_load)));
}

long* page_of_memory = nullptr;
TEST_F(OwnHandler, MemoryMayBeMendedInstead) {
  page_of_memory = static_cast<long*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  probe store{.at = at(entry(fault_store)), .fault_handler = [](probe&, registers&, int) {
                return mprotect(page_of_memory, 4096, PROT_READ | PROT_WRITE) == 0;
              }};
  ASSERT_FALSE(register_probe(store));
  EXPECT_EQ(fault_store(page_of_memory), 1);
  EXPECT_EQ(fault_store(page_of_memory), 2);
  EXPECT_EQ(hits(store), 2U);
  EXPECT_EQ(nmissed(store), 0U);

  // An emulated one reads it in the trap handler.
  ASSERT_EQ(mprotect(page_of_memory, 4096, PROT_NONE), 0);
  probe call{.at = at(fault_call_here), .fault_handler = [](probe&, registers&, int signo) {
               EXPECT_EQ(signo, SIGSEGV);
               const bool good = mprotect(page_of_memory, 4096, PROT_READ | PROT_WRITE) == 0;
               page_of_memory[0] = reinterpret_cast<long>(&fault_answer);
               return good;
             }};
  ASSERT_FALSE(register_probe(call));
  EXPECT_EQ(fault_call(reinterpret_cast<void* const*>(page_of_memory)), 42);
  EXPECT_EQ(hits(call), 1U);
  EXPECT_EQ(seen.times, 0);
  munmap(page_of_memory, 4096);
}

TEST_F(OwnHandler, BusErrorsAreFaultsToo) {
  FILE* empty = tmpfile();
  auto* behind_the_end = static_cast<long*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fileno(empty), 0));
  ASSERT_NE(behind_the_end, MAP_FAILED);
  for (const char* where : {entry(fault_load), fault_call_here}) {
    probe p{.at = at(where), .fault_handler = [](probe&, registers& regs, int signo) {
              fault_signo = signo;
              static const long good[] = {reinterpret_cast<long>(&fault_answer)};
              regs.rdi = reinterpret_cast<std::uint64_t>(&good);
              return true;
            }};
    ASSERT_FALSE(register_probe(p));
    if (where == fault_call_here) {
      EXPECT_EQ(fault_call(reinterpret_cast<void* const*>(behind_the_end)), 42);
    } else {
      EXPECT_EQ(fault_load(behind_the_end), reinterpret_cast<long>(&fault_answer));
    }
    EXPECT_EQ(fault_signo, SIGBUS);
    EXPECT_EQ(hits(p), 1U);
  }
  munmap(behind_the_end, 4096);
  fclose(empty);
}

}  // namespace
}  // namespace libprobe
