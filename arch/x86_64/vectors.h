// What stores and loads the vector registers. For assembly code.

#define VECTOR_ROOM 1024            /* registers 0-15, 64 bytes each */
#define HIGH_ROOM 1088              /* registers 16-31, and the masks */
#define LOW_HALVES 1                /* levels of a vector_use */
#define LOW_FILE 2
#define EVERY_FILE 3
#define EVERYTHING 4

        .hidden libprobe_vector_width   // 0: xmm, 1: ymm, 2: zmm

.macro low_halves op
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        \op     \n
        .endr
.endm
.macro high_file op
        .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        \op     \n
        .endr
.endm
.macro masks op
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7
        \op     \n
        .endr
.endm
// rax: the room for registers 0-15
.macro store_xmm n
        movaps  %xmm\n, 64*\n(%rax)
.endm
.macro load_xmm n
        movaps  64*\n(%rax), %xmm\n
.endm
.macro store_ymm n
        vmovaps %ymm\n, 64*\n(%rax)
.endm
.macro load_ymm n
        vmovaps 64*\n(%rax), %ymm\n
.endm
.macro store_zmm n
        vmovaps %zmm\n, 64*\n(%rax)
.endm
.macro load_zmm n
        vmovaps 64*\n(%rax), %zmm\n
.endm
.macro store_high n
        vmovaps %zmm\n, 64*(\n-16)(%rax)
.endm
.macro load_high n
        vmovaps 64*(\n-16)(%rax), %zmm\n
.endm
.macro store_mask n
        kmovq   %k\n, 1024+8*\n(%rax)
.endm
.macro load_mask n
        kmovq   1024+8*\n(%rax), %k\n
.endm
