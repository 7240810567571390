#include "hardware_run.hpp"

#include <cpuid.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

extern "C" {
void hardware_run();
extern const char hardware_abandon[];
extern hardware::cpu_state hardware_in, hardware_out;
extern std::uint8_t hardware_vectors_in[4096], hardware_vectors_out[4096];
extern std::uint64_t hardware_landed, hardware_mask;
}

namespace hardware {

namespace {

constexpr std::uintptr_t scratch_at = 0x1000'0000, stack_at = 0x1100'0000, code_at = 0x2000'0000;
constexpr std::size_t stack_size = 256 * 1024, code_size = std::size_t{256} << 20;
constexpr std::uintptr_t far_at = 0x40'0000'0000;
constexpr std::size_t far_margin = std::size_t{3} << 30, far_code_size = std::size_t{64} << 20;
constexpr std::size_t compared_above = 8192, red_zone = 128, tls_size = 256;
constexpr std::uint64_t faulted = 100;

alignas(64) thread_local std::uint8_t tls_scratch[tls_size];

struct component {
  unsigned number, offset, size;
};
std::vector<component> components;  // of the XSAVE area beyond x87 and SSE
std::size_t vectors_size = 576;
std::vector<std::uint8_t> noise;  // random bytes, to fill memory from
fault last_fault;

void* map_at(std::uintptr_t address, std::size_t size, int protection) {
  void* got = mmap(reinterpret_cast<void*>(address), size, protection,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (got != reinterpret_cast<void*>(address)) {
    fmt::print("cannot map {:#x}\n", address);
    std::abort();
  }
  return got;
}

void find_components() {
  unsigned low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  hardware_mask = low & 0xe7;  // x87, SSE, AVX, AVX-512; not protection keys
  for (unsigned i = 2; i < 8; ++i) {
    if ((hardware_mask & (1U << i)) == 0) continue;
    unsigned size = 0, offset = 0, c = 0, d = 0;
    __cpuid_count(0xd, i, size, offset, c, d);
    components.push_back({i, offset, size});
    vectors_size = std::max<std::size_t>(vectors_size, offset + size);
  }
}

/// Intel SDM vol. 1, 13.4 and 13.6: what the CPU need not have written is in its initial state; where the
/// last x87 instruction lay is not the program's business.
void make_comparable(std::uint8_t* area) {
  std::uint64_t in_use = 0;
  std::memcpy(&in_use, area + 512, sizeof in_use);
  if ((in_use & 1) == 0) {
    std::memset(area, 0, 24);
    area[0] = 0x7f;
    area[1] = 0x03;
    std::memset(area + 32, 0, 128);
  }
  std::memset(area + 6, 0, 18);
  std::memset(area + 28, 0, 4);  // MXCSR_MASK
  if ((in_use & 2) == 0) std::memset(area + 160, 0, 256);
  for (const auto& c : components) {
    if ((in_use >> c.number & 1) == 0) std::memset(area + c.offset, 0, c.size);
  }
  std::memset(area + 416, 0, 576 - 416);
  for (std::size_t at = 576; at < vectors_size; ++at) {
    const bool known = std::any_of(components.begin(), components.end(), [at](const component& c) {
      return at >= c.offset && at < c.offset + c.size;
    });
    if (!known) area[at] = 0;
  }
}

void on_fault(int signo, siginfo_t* info, void* frame) {
  auto& machine = static_cast<ucontext_t*>(frame)->uc_mcontext;
  constexpr int by_number[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                 REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const auto get = [&](int i) { return static_cast<std::uint64_t>(machine.gregs[i]); };
  for (int i = 0; i < 16; ++i) hardware_out.gpr[i] = get(by_number[i]);
  hardware_out.rflags = get(REG_EFL) & ~std::uint64_t{0x10000};  // RF is the CPU's own
  hardware_out.rip = get(REG_RIP);
  last_fault = {
      signo,        info->si_code,   reinterpret_cast<std::uint64_t>(info->si_addr),
      get(REG_ERR), get(REG_TRAPNO), get(REG_TRAPNO) == 14 ? get(REG_CR2) : 0};  // stale but for page faults
  std::memcpy(hardware_vectors_out, machine.fpregs, vectors_size);
  hardware_landed = faulted;
  machine.gregs[REG_RIP] = reinterpret_cast<greg_t>(hardware_abandon);
  machine.gregs[REG_EFL] = fixed_flags;
}

void fill_vectors(const trial& t) {
  auto* area = hardware_vectors_in;
  std::memcpy(area, &noise[t.seed % 4096], vectors_size);
  if (t.small_vectors) {
    for (std::size_t i = 0; i < vectors_size; i += 4) {
      const std::uint32_t element = (i & 4) == 0 ? area[i] & 0x3fU : 0U;
      std::memcpy(area + i, &element, sizeof element);
    }
  }
  std::memset(area, 0, 32);
  area[0] = 0x7f;  // FCW: all masked
  area[1] = 0x03;
  area[4] = (t.seed & 0x100) != 0 ? 0xff : 0;  // FTW: all valid, or all empty
  std::uint32_t mxcsr = t.floating_traps ? 0 : 0x1f80;
  mxcsr |= static_cast<std::uint32_t>(t.seed >> 20) & 0x6000;  // rounding
  std::memcpy(area + 24, &mxcsr, sizeof mxcsr);
  std::memset(area + 512, 0, 64);
  std::memcpy(area + 512, &hardware_mask, sizeof hardware_mask);
  for (std::size_t i = 0; i < 8; ++i) std::memset(area + 32 + 16 * i + 10, 0, 6);  // registers of 80 bits
}

std::uintptr_t first_compared() { return stack_pointer() - 4096; }
std::uintptr_t scratch(bool far) { return (far ? far_place() : near_place()).scratch; }

}  // namespace

std::uintptr_t stack_pointer() { return stack_at + stack_size - 64 * 1024; }
std::uintptr_t unmapped() { return 0x1800'0000; }
bool on_stack(std::uintptr_t address) {
  return address >= stack_at + 64 * 1024 && address <= stack_at + stack_size;
}
bool on_compared_stack(std::uintptr_t address) {
  return address >= first_compared() && address < stack_pointer() + compared_above;
}
std::uintptr_t tls_base() {
  std::uintptr_t base = 0;
  asm("movq %%fs:0, %0" : "=r"(base));  // System V ABI, TLS variant II
  return base;
}
std::uintptr_t tls_offset() { return reinterpret_cast<std::uintptr_t>(tls_scratch) - tls_base(); }

const place& near_place() {
  static const place here{code_at, scratch_at};
  return here;
}
const place& far_place() {
  static const place there{far_at + far_margin, far_at + far_margin + far_code_size};
  return there;
}

void map_areas() {
  map_at(scratch_at, scratch_size, PROT_READ | PROT_WRITE);
  map_at(stack_at, stack_size, PROT_READ | PROT_WRITE | PROT_EXEC);
  map_at(code_at, code_size, PROT_READ | PROT_WRITE | PROT_EXEC);
  map_at(far_at, 2 * far_margin, PROT_NONE);
  const auto& there = far_place();
  mprotect(reinterpret_cast<void*>(there.code), far_code_size, PROT_READ | PROT_WRITE | PROT_EXEC);
  mprotect(reinterpret_cast<void*>(there.scratch), scratch_size, PROT_READ | PROT_WRITE);
  find_components();
  rng random{20240229};
  noise.resize(4096 + 64 * 1024);
  for (auto& byte : noise) byte = static_cast<std::uint8_t>(random());
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  sched_setaffinity(0, sizeof one, &one);
}

void install_fault_handlers() {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  for (const int signo : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigaction(signo, &action, nullptr);
}

outcome run(const trial& t, bool far) {
  const auto* filling = &noise[(t.seed >> 12) % 4096];
  auto* stack = reinterpret_cast<std::uint8_t*>(first_compared());
  auto* data = reinterpret_cast<std::uint8_t*>(scratch(far));
  std::memcpy(stack, filling, 4096 + compared_above);
  std::memcpy(data, filling, scratch_size);
  std::memcpy(tls_scratch, filling, tls_size);
  for (const auto& word : t.words) std::memcpy(reinterpret_cast<void*>(word.address), &word.value, 8);
  fill_vectors(t);
  std::memset(hardware_vectors_out, 0, sizeof hardware_vectors_out);
  hardware_in = t.in;
  last_fault = {};
  ::hardware_run();

  outcome result;
  result.landed = hardware_landed;
  result.out = hardware_out;
  result.raised = last_fault;
  if (result.landed != faulted) result.out.rip = 0;
  make_comparable(hardware_vectors_out);
  result.vectors.assign(hardware_vectors_out, hardware_vectors_out + vectors_size);
  result.memory.assign(stack, stack + 4096 + compared_above);
  result.memory.insert(result.memory.end(), data, data + scratch_size);
  result.memory.insert(result.memory.end(), tls_scratch, tls_scratch + tls_size);
  return result;
}

namespace {

/// A call that faults, since it cannot read its operand or go there, has stored its return address below the
/// stack pointer on some processors (Intel's), and not on others (AMD's). True if that word of the memories
/// tells just that.
bool is_address_of_faulting_call(const outcome& expected, const outcome& got, std::size_t at) {
  constexpr std::size_t longest = 15;
  if (expected.raised.signo == 0 || at + sizeof(std::uint64_t) > expected.memory.size()) return false;
  const auto behind = [at, &expected](const outcome& one) {
    std::uint64_t word = 0;
    std::memcpy(&word, &one.memory[at], sizeof word);
    return word - expected.out.rip - 1 < longest;
  };
  return behind(expected) != behind(got);
}

}  // namespace

std::string difference(const outcome& expected, const outcome& got, std::uintptr_t initial_rsp) {
  static const char* const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",    "r8",
                                      "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "rflags", "rip"};
  std::string text;
  const auto check = [&](const char* name, std::uint64_t want, std::uint64_t is) {
    if (want != is) text += fmt::format(" {} {:#x} not {:#x};", name, is, want);
  };
  check("landing", expected.landed, got.landed);
  check("signal", static_cast<unsigned>(expected.raised.signo), static_cast<unsigned>(got.raised.signo));
  check("si_code", static_cast<unsigned>(expected.raised.code), static_cast<unsigned>(got.raised.code));
  check("si_addr", expected.raised.address, got.raised.address);
  check("error", expected.raised.error, got.raised.error);
  check("trap", expected.raised.trap, got.raised.trap);
  check("cr2", expected.raised.cr2, got.raised.cr2);
  for (int i = 0; i < 16; ++i) check(names[i], expected.out.gpr[i], got.out.gpr[i]);
  check("rflags", expected.out.rflags, got.out.rflags);
  check("rip", expected.out.rip, got.out.rip);
  if (expected.vectors != got.vectors) {
    const auto at =
        std::mismatch(expected.vectors.begin(), expected.vectors.end(), got.vectors.begin()).first;
    text += fmt::format(" vector state from byte {};", at - expected.vectors.begin());
  }
  // What lies below the red zone is any signal handler's to overwrite.
  auto live = initial_rsp;
  if (on_stack(expected.out.gpr[rsp])) live = std::max<std::uintptr_t>(live, expected.out.gpr[rsp]);
  constexpr std::uintptr_t stack_bytes = 4096 + compared_above;
  const auto dead = std::min(live - red_zone - first_compared(), stack_bytes);
  const auto from = expected.memory.begin() + static_cast<std::ptrdiff_t>(dead);
  const auto other = got.memory.begin() + static_cast<std::ptrdiff_t>(dead);
  auto at = std::mismatch(from, expected.memory.end(), other).first;
  const auto below = initial_rsp - sizeof(std::uint64_t) - first_compared();
  const auto offset = static_cast<std::size_t>(at - expected.memory.begin());
  if (offset - below < sizeof(std::uint64_t) && is_address_of_faulting_call(expected, got, below)) {
    const auto rest = static_cast<std::ptrdiff_t>(below + sizeof(std::uint64_t));
    at =
        std::mismatch(expected.memory.begin() + rest, expected.memory.end(), got.memory.begin() + rest).first;
  }
  if (at != expected.memory.end()) {
    const auto i = static_cast<std::size_t>(at - expected.memory.begin());
    text += i < stack_bytes ? fmt::format(" stack from rsp{:+};",
                                          static_cast<std::int64_t>(first_compared() + i - initial_rsp))
                            : fmt::format(" data from byte {};", i - stack_bytes);
  }
  return text;
}

}  // namespace hardware
