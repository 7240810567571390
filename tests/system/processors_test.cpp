// Processors that this machine is not: with less extended state than it has, as far as libprobe can tell. The
// program's own code is compiled for the oldest, so that nothing but libprobe and libc might use more; libc
// is told by GLIBC_TUNABLES.
#include <unistd.h>

#include <cstdlib>

#include "arch/state.hpp"
#include "arch/text.hpp"
#include "support/child.hpp"

namespace {

constexpr std::uint64_t x87 = 1, sse = 2, avx = 4;
std::uint64_t components = 0;
int asked = 0;

/// libc chooses its functions before main(), so it must be told before this program begins.
[[gnu::constructor]] void tell_libc(int, char** arguments, char**) {
  if (std::getenv("GLIBC_TUNABLES") != nullptr) return;
  setenv("GLIBC_TUNABLES",
         "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-XSAVE,-XSAVEC",
         1);
  execv("/proc/self/exe", arguments);
}

}  // namespace

// In place of arch/x86_64/processor.cpp, which the linker then leaves out.
namespace libprobe::arch {

std::uint64_t enabled_state_components() noexcept {
  ++asked;
  return components;
}
bool page_flush_interrupts() noexcept { return false; }  // as where the CPU tells the others by itself
bool is_translated() noexcept { return false; }

}  // namespace libprobe::arch

extern "C" {
extern std::uint32_t libprobe_vector_mask, libprobe_vector_width;
/// Calls a function with two patterns in each xmm register, and says how many of them have changed.
int processors_call(void (*function)(), const void* patterns);
}
asm(R"(
        .text
        .type   processors_call, @function
processors_call:                        # int (void (*)(), const void* patterns)
        push    %rbx
        mov     %rsi, %rbx
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movups  16*\n(%rbx), %xmm\n
        .endr
        call    *%rdi
        xor     %eax, %eax
        sub     $256, %rsp
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movups  %xmm\n, 16*\n(%rsp)
        .endr
        xor     %ecx, %ecx
1:      mov     (%rsp,%rcx,8), %rdx
        cmp     (%rbx,%rcx,8), %rdx
        je      2f
        inc     %eax
2:      inc     %ecx
        cmp     $32, %ecx
        jb      1b
        add     $256, %rsp
        pop     %rbx
        ret
        .size   processors_call, .-processors_call

        .type   processors_target, @function
processors_target:                      # touches no vector register
        nopl    0x1000(%rax)
        lea     1(%rdi), %rax
        ret
        .size   processors_target, .-processors_target
)");
extern "C" void processors_target();

namespace libprobe {
namespace {

using test::flaw;

volatile double noise = 1.5;
int disturb(probe&, registers&) {
  double x = noise;
  asm volatile(
      "movups %%xmm0, %%xmm15\n pxor %%xmm3, %%xmm3\n pcmpeqb %%xmm7, %%xmm7\n mulsd %0, %0\n fld1\n fstp "
      "%%st(0)"
      : "+x"(x)::"xmm3", "xmm7", "xmm15", "st");
  noise = x > 1e9 ? 1.5 : x;
  return 0;
}

/// Handlers that use what there is; the program finds all as it was.
flaw state_is_kept() {
  alignas(16) std::uint64_t patterns[32];
  for (std::size_t i = 0; i < 32; ++i) patterns[i] = 0x0123'4567'89ab'cdef * (i + 1);
  const auto unharmed = [&] { return processors_call(processors_target, patterns) == 0; };
  probe p{.at = processors_target, .pre_handler = disturb};
  HOLDS(!register_probe(p));
  HOLDS(unharmed() && hits(p) == 1);
  {
    probe after{.at = processors_target, .pre_handler = disturb, .post_handler = [](probe& q, registers& r) {
                  static_cast<void>(disturb(q, r));
                }};
    HOLDS(!register_probe(after));
    HOLDS(unharmed() && hits(after) == 1);
  }
  {
    retprobe r{.at = processors_target, .handler = [](retprobe_instance&, registers&) {
                 probe none{};
                 registers ignored;
                 static_cast<void>(disturb(none, ignored));
               }};
    HOLDS(!register_retprobe(r));
    HOLDS(unharmed() && hits(r) == 1);
  }
  return nullptr;
}

void on_processor_with(std::uint64_t state, std::uint32_t width) {
  components = state;
  asked = 0;
  test::in_child([&]() -> flaw {
    if (flaw found = state_is_kept()) return found;
    HOLDS(asked == 1 && libprobe_vector_mask == state && libprobe_vector_width == width);
    if (flaw found = test::whole_cycle()) return found;
    return state_is_kept();
  });
}

TEST(Processors, WithoutXsave) { on_processor_with(0, 0); }
TEST(Processors, WithoutAvx) { on_processor_with(x87 | sse, 0); }
TEST(Processors, WithoutAvx512) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "not tested here: this processor has no AVX";
  on_processor_with(x87 | sse | avx, 1);
}

}  // namespace
}  // namespace libprobe
