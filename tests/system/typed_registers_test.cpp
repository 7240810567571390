// A caller that knows what a function leaves alone (-fipa-ra) finds it left alone by everything that libprobe
// calls for it: every register but the result's.
#include "support/probing.hpp"

struct cpu_state {
  std::uint64_t integers[15];  // rax rbx rcx rdx rsi rdi rbp r8 ... r15
  std::uint64_t flags;
  unsigned char vectors[16][32];
  long double x87[2];
};

// void kept_call(cpu_state* state, void (*function)(), long avx): calls it with the state, and stores the
// state after.
asm(R"(
        .text
        .type kept_call, @function
kept_call:
        .cfi_startproc
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rdi
        push    %rsi
        push    %rdx
        .cfi_adjust_cfa_offset 72
        fldt    656(%rdi)
        fldt    640(%rdi)
        test    %rdx, %rdx
        jz      1f
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovups 128+32*\n(%rdi), %ymm\n
        .endr
        jmp     2f
1:
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movups  128+32*\n(%rdi), %xmm\n
        .endr
2:      push    120(%rdi)
        popfq
        mov     0(%rdi), %rax
        mov     8(%rdi), %rbx
        mov     16(%rdi), %rcx
        mov     24(%rdi), %rdx
        mov     32(%rdi), %rsi
        mov     48(%rdi), %rbp
        mov     56(%rdi), %r8
        mov     64(%rdi), %r9
        mov     72(%rdi), %r10
        mov     80(%rdi), %r11
        mov     88(%rdi), %r12
        mov     96(%rdi), %r13
        mov     104(%rdi), %r14
        mov     112(%rdi), %r15
        mov     40(%rdi), %rdi
        call    *8(%rsp)
        push    %rdi
        mov     24(%rsp), %rdi
        mov     %rax, 0(%rdi)
        mov     %rbx, 8(%rdi)
        mov     %rcx, 16(%rdi)
        mov     %rdx, 24(%rdi)
        mov     %rsi, 32(%rdi)
        popq    40(%rdi)
        mov     %rbp, 48(%rdi)
        mov     %r8, 56(%rdi)
        mov     %r9, 64(%rdi)
        mov     %r10, 72(%rdi)
        mov     %r11, 80(%rdi)
        mov     %r12, 88(%rdi)
        mov     %r13, 96(%rdi)
        mov     %r14, 104(%rdi)
        mov     %r15, 112(%rdi)
        pushfq
        popq    120(%rdi)
        fstpt   640(%rdi)
        fstpt   656(%rdi)
        cmpq    $0, (%rsp)
        je      1f
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        vmovups %ymm\n, 128+32*\n(%rdi)
        .endr
        jmp     2f
1:
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movups  %xmm\n, 128+32*\n(%rdi)
        .endr
2:      pop     %rdx
        pop     %rsi
        pop     %rdi
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        .cfi_adjust_cfa_offset -72
        ret
        .cfi_endproc
        .size kept_call, .-kept_call

        .p2align 4
        .type touches_nothing, @function
touches_nothing:
        nopl    8(%rax,%rax)
        ret
        .size touches_nothing, .-touches_nothing
)");
extern "C" void kept_call(cpu_state*, void (*)(), long avx);
extern "C" void touches_nothing();

namespace libprobe {
namespace {

using test::opaque;

bool has_avx() { return __builtin_cpu_supports("avx") != 0; }

cpu_state numbered(std::uint64_t flags) {
  cpu_state state;
  std::memset(&state, 0, sizeof state);
  for (std::size_t i = 0; i < 15; ++i) state.integers[i] = 0x0101010101010101 * (i + 1);
  state.flags = 0x202 | flags;
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t j = 0; j < 32; ++j) state.vectors[i][j] = static_cast<unsigned char>(16 * i + j);
  }
  if (!has_avx()) {
    for (auto& vector : state.vectors) std::memset(vector + 16, 0, 16);
  }
  state.x87[0] = 1.25L;
  state.x87[1] = -7e300L;
  return state;
}

/// Uses whatever the ABI lets a function use.
void use_registers() {
  char text[100];
  std::snprintf(text, sizeof text, "%f %Lf %d", opaque(1.5), 2.5L, opaque(3));
  std::vector<std::string> strings(20, std::string(text) + std::string(50, 'x'));
  asm volatile(
      "pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm15, %%xmm15; std; cld; mov $-1, %%r8; xor %%r11d, "
      "%%r11d" ::
          : "xmm0", "xmm1", "xmm15", "r8", "r11", "cc");
  if (has_avx())
    asm volatile("vzeroall" ::
                     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                       "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/// The state after a call, but for what the result's registers hold.
void expect_kept(result_registers result = result_registers::none) {
  for (const std::uint64_t flags : {0x0U, 0x8d5U, 0x1U, 0x40U, 0x814U}) {
    const auto before = numbered(flags);
    auto after = before;
    kept_call(&after, opaque(&touches_nothing), has_avx() ? 1 : 0);
    const auto has = [result](result_registers one) { return (result & one) != result_registers::none; };
    if (has(result_registers::first_integer)) after.integers[0] = before.integers[0];
    if (has(result_registers::second_integer)) after.integers[3] = before.integers[3];
    if (has(result_registers::first_vector)) std::memcpy(after.vectors[0], before.vectors[0], 32);
    if (has(result_registers::second_vector)) std::memcpy(after.vectors[1], before.vectors[1], 32);
    for (std::size_t i = 0; i < 15; ++i)
      EXPECT_EQ(after.integers[i], before.integers[i]) << "integer register " << i;
    EXPECT_EQ(after.flags & 0x8d5, flags);
    for (std::size_t i = 0; i < 16; ++i)
      EXPECT_EQ(std::memcmp(after.vectors[i], before.vectors[i], 32), 0) << "vector register " << i;
    EXPECT_EQ(after.x87[0], before.x87[0]);
    EXPECT_EQ(after.x87[1], before.x87[1]);
  }
}

TEST(TypedRegisters, NativelyKept) { expect_kept(); }

TEST(TypedRegisters, KeptByEachKindAndAll) {
  {
    const scoped_probe p = on_entry(&touches_nothing, use_registers);
    expect_kept();
    const scoped_probe second = on_entry(&touches_nothing, use_registers);
    expect_kept();
  }
  {
    const scoped_probe p = on_return(&touches_nothing, use_registers);
    expect_kept();
  }
  const auto body = [](auto original) {
    use_registers();
    original();
    use_registers();
  };
  {
    const scoped_probe p = replace(&touches_nothing, body);
    expect_kept();
    EXPECT_EQ(p.hits(), 5U);
  }
  const scoped_probe after = on_return(&touches_nothing, use_registers);
  const scoped_probe entry = on_entry(&touches_nothing, use_registers);
  const scoped_probe instead = replace(&touches_nothing, body);
  expect_kept();
}

template <class R>
void expect_kept_but_for_result() {
  const auto address = reinterpret_cast<void*>(&touches_nothing);
  const scoped_probe p = replace<R()>(location{static_cast<const void*>(address)}, [](auto) -> R {
    use_registers();
    return R{};
  });
  expect_kept(detail::result_registers_of<R>());
}
struct long_and_double {
  long n;
  double x;
};
struct two_longs {
  long a, b;
};

TEST(TypedRegisters, OnlyTheResultsRegistersChange) {
  expect_kept_but_for_result<int>();
  expect_kept_but_for_result<double>();
  expect_kept_but_for_result<float>();
  expect_kept_but_for_result<long_and_double>();
  expect_kept_but_for_result<two_longs>();
}

// No vector register has to be saved for these: the detour calls them with nothing in between.
[[gnu::always_inline]] inline void use_general_registers() {
  asm volatile(
      "mov $-1, %%eax; mov %%rax, %%rcx; mov %%rax, %%rdx; mov %%rax, %%rsi; mov %%rax, %%rdi; mov %%rax, "
      "%%r8; "
      "mov %%rax, %%r9; mov %%rax, %%r10; mov %%rax, %%r11; xor %%eax, %%eax" ::
          : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc");
}

template <class R>
void expect_kept_by_direct_call() {
  const auto address = reinterpret_cast<void*>(&touches_nothing);
  const scoped_probe p = replace<R()>(location{static_cast<const void*>(address)}, [](auto) -> R {
    use_general_registers();
    if constexpr (!std::is_void_v<R>) return R{};
  });
  expect_kept(detail::result_registers_of<R>());
  EXPECT_EQ(p.hits(), 5U);
  EXPECT_EQ(p.nmissed(), 0U);
}

TEST(TypedRegisters, KeptByDirectCalls) {
  expect_kept_by_direct_call<void>();
  expect_kept_by_direct_call<int>();
  expect_kept_by_direct_call<two_longs>();
}

// ---- what compilers make of it

#if defined(__clang__)
#define LOCAL [[gnu::noinline]] static
#else
#define LOCAL [[gnu::noinline, gnu::noclone]] static
#endif

LOCAL int small_local(int x) { return x * 3 + 1; }
LOCAL void void_local(int* x) { *x += 3; }
LOCAL double double_local(double x) { return x * 3 + 1; }

/// Many values live across the calls, more than there are registers that calls preserve.
[[gnu::noinline]] long many_live(long a, long b, long c, double x, double y, int n) {
  const long d = a * b, e = b * c, f = a * c, g = a + b, h = b + c;
  const double z = x * y, v = x + y, w = x - y;
  long sum = 0;
  for (int i = 0; i < n; ++i) {
    int out = i;
    const int one = small_local(i);
    void_local(&out);
    const double two = double_local(x + i);
    sum += a * i + b * one + c + d - e * i + f + g * out + h +
           static_cast<long>(x * two + y * i + z + v * two + w);
    asm volatile("" : "+r"(sum));
  }
  return sum;
}

TEST(TypedRegisters, LocalFunctionsCallersStayRight) {
  const long native = many_live(3, 5, 7, 1.25, 2.5, 20);
  const auto through = [](auto original, auto... arguments) {
    use_registers();
    if constexpr (std::is_void_v<decltype(original(arguments...))>) {
      original(arguments...);
      use_registers();
    } else {
      const auto result = original(arguments...);
      use_registers();
      return result;
    }
  };
  const scoped_probe one = replace(&small_local, through);
  const scoped_probe two = replace(&void_local, through);
  const scoped_probe three = replace(&double_local, through);
  EXPECT_EQ(many_live(3, 5, 7, 1.25, 2.5, 20), native);
  const scoped_probe four = on_entry(&small_local, [](int) { use_registers(); });
  const scoped_probe five = on_return(&double_local, [](double) { use_registers(); });
  EXPECT_EQ(many_live(3, 5, 7, 1.25, 2.5, 20), native);
  EXPECT_EQ(one.hits(), 40U);
  EXPECT_EQ(two.hits(), 40U);
  EXPECT_EQ(three.hits(), 40U);
}

}  // namespace
}  // namespace libprobe
