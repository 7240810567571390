// All of zmm0-31 and k0-7, flags in MXCSR, and what a compiler makes of a loop.
#include "jump_state_handlers.hpp"

static double numbers[64];

void state_use_avx512() {
  for (int i = 0; i < 64; ++i) {
    if (numbers[i] < 5.0) numbers[i] = numbers[63 - i] / 3.0 + 1.0;
  }
  asm volatile(
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
      "vpternlogd $0xff, %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t"
      ".endr\n\t"
      ".irp n, 0,1,2,3,4,5,6,7\n\t"
      "kxnorq %%k\\n, %%k\\n, %%k\\n\n\t"
      ".endr" ::
          : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
            "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
            "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3",
            "k4", "k5", "k6", "k7");
}
