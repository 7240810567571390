// All of ymm0-15, flags in MXCSR, and what a compiler makes of a loop.
#include "jump_state_handlers.hpp"

static float numbers[64];

void state_use_avx() {
  for (int i = 0; i < 64; ++i) numbers[i] = numbers[63 - i] / 3.0F + 1.0F;
  asm volatile(
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
      "vpcmpeqb %%ymm\\n, %%ymm\\n, %%ymm\\n\n\t"
      ".endr\n\t"
      "vzeroupper" ::
          : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
            "xmm12", "xmm13", "xmm14", "xmm15");
}
