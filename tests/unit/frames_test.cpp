// Signal frames of other kernels and processors: when libprobe may restore one by itself, and what it shows
// of it.
#include <gtest/gtest.h>

#include <array>
#include <climits>
#include <csignal>
#include <cstring>

#include "arch/arch.hpp"

namespace libprobe::arch {
namespace {

constexpr std::size_t area_end = 576 + 256;  // legacy part, header, upper halves of ymm
constexpr std::uint32_t magic = 0x46505853, end_magic = 0x46505845;

/// As a kernel writes it for a processor with AVX.
struct frame {
  alignas(64) std::array<std::byte, 16384> area{};
  ucontext_t context{};

  explicit frame(std::uint32_t size = area_end, std::uint64_t components = 7) {
    context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(area.data());
    auto& s = software();
    s.magic1 = magic;
    s.xstate_bv = components;
    s.xstate_size = size;
    s.extended_size = size + 4;
    std::memcpy(area.data() + size, &end_magic, sizeof end_magic);
  }
  frame(const frame&) = delete;
  frame& operator=(const frame&) = delete;
  _fpx_sw_bytes& software() { return *reinterpret_cast<_fpx_sw_bytes*>(area.data() + 464); }
  [[nodiscard]] bool resumes() const { return can_resume(context); }
  /// Whether a handler is shown the parts beyond SSE.
  bool shows_upper_halves() {
    registers regs;
    load(regs, context);
    return regs.ymm_upper(0) != nullptr;
  }
};

TEST(Frames, OfThisKind) {
  frame f;
  EXPECT_TRUE(f.resumes());
  EXPECT_TRUE(f.shows_upper_halves());
}

TEST(Frames, WithStateThatNobodyKnows) {
  for (const std::uint64_t components : {std::uint64_t{7} | std::uint64_t{1} << 18, ~std::uint64_t{0}}) {
    for (const std::uint32_t size : {2696U, 11008U, 16000U}) {
      frame f{size, components};
      EXPECT_TRUE(f.resumes()) << "restored with the rest, as the kernel would";
      EXPECT_TRUE(f.shows_upper_halves());
    }
  }
}

TEST(Frames, WithoutAvx) {
  frame f{576, 3};
  EXPECT_TRUE(f.resumes());
  EXPECT_FALSE(f.shows_upper_halves());
}

TEST(Frames, WithoutXsave) {
  frame f;
  f.software().magic1 = 0;
  EXPECT_FALSE(f.resumes());
  EXPECT_FALSE(f.shows_upper_halves());
}

TEST(Frames, CutShortByACopy) {
  frame f;
  std::memset(f.area.data() + area_end, 0, sizeof end_magic);
  EXPECT_FALSE(f.resumes());
  EXPECT_FALSE(f.shows_upper_halves());
}

TEST(Frames, WhoseSizesContradictEachOther) {
  frame longer;
  longer.software().extended_size = longer.software().xstate_size;
  EXPECT_FALSE(longer.resumes());
  frame none;
  none.software().extended_size = 0;
  EXPECT_FALSE(none.resumes());
  frame shorter;
  shorter.software().xstate_size = 512;
  EXPECT_FALSE(shorter.resumes());
}

TEST(Frames, WithoutAnyState) {
  frame f;
  f.context.uc_mcontext.fpregs = nullptr;
  EXPECT_FALSE(f.resumes());
}

TEST(Frames, OnAStackThatOnlyTheKernelRearms) {
  frame f;
  f.context.uc_stack.ss_flags = INT_MIN;  // SS_AUTODISARM
  EXPECT_FALSE(f.resumes());
}

/// The kernel's own: what it is on this machine does not matter, but it must be understood.
TEST(Frames, OfThisKernel) {
  static bool resumes = false;
  static bool has_state = false;
  struct sigaction action {
  }, before{};
  action.sa_sigaction = [](int, siginfo_t*, void* frame) {
    auto& context = *static_cast<ucontext_t*>(frame);
    has_state =
        reinterpret_cast<_fpx_sw_bytes*>(reinterpret_cast<std::byte*>(context.uc_mcontext.fpregs) + 464)
            ->magic1 == magic;
    resumes = can_resume(context);
  };
  action.sa_flags = SA_SIGINFO;
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  raise(SIGUSR1);
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(resumes, has_state);
}

}  // namespace
}  // namespace libprobe::arch
