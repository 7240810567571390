// Calls of a replacement from a detour with nothing of ours in between: see src/site/direct_call.hpp.

#include "detour_frame.h"
#include "vectors.h"

#define READER 0                /* libprobe_direct_words: from the thread's base, the pointer to its epoch record, */
#define ROW 8                   /* where its row begins, */
#define BUSY 16                 /* non-zero: it is in a handler, or in libprobe itself, */
#define RUNS 24                 /* its replacement_runs; */
#define EPOCH 32                /* the address of the current epoch */
#define ABOUT_DIRECT 16         /* in a site::detour: the direct_call; null: none */
#define ENTRY 0                 /* in that */
#define HITS 8
#define BEGUN 16
#define ENDED 24
#define WHAT 32
#define RESULT 40
#define KEEPS 44
#define LEVEL 48

        .hidden libprobe_direct_words, libprobe_detour_replace

        .macro leave_and_return
        leave
        .cfi_remember_state
        .cfi_def_cfa %rsp, RED_ZONE + 24
        .cfi_same_value %rbp
        ret
        .cfi_restore_state
        .endm
        .macro thread_word which, to
        movq    libprobe_direct_words+\which(%rip), \to
        movq    %fs:(\to), \to
        .endm

// rcx: the direct_call
        .macro keep_result op
        .irp    n, 0, 1
        testl   $(4 << \n), RESULT(%rcx)        // result_registers::first_vector, second_vector
        jz      1f
        \op     \n
1:
        .endr
        .endm

// From rbp down. The last two are a replacement_run.
#define ABOUT 16
#define RAX -8
#define R11 -16
#define FLAGS -24
#define RCX -32
#define CALL -40
#define OUTER -48
#define KEPT -104               /* rdx, rsi, rdi, r8, r9, r10 */

// A branch that is predicted, where a load would be waited for: what is stored here the next call loads again.
        .macro end_run
        movq    libprobe_direct_words+RUNS(%rip), %r11
        cmpq    $0, OUTER(%rbp)
        jne     1f
        movq    $0, %fs:(%r11)
        .subsection 1
1:      movq    OUTER(%rbp), %rcx
        movq    %rcx, %fs:(%r11)
        jmp     1f
        .previous
1:
        .endm

        .text
        .globl libprobe_direct_code
        .hidden libprobe_direct_code
libprobe_direct_code:

// Where the detours of replacements lead. On the stack: the return into the detour, its address for us, the red zone.
        .p2align 6
        .globl libprobe_detour_direct
        .hidden libprobe_detour_direct
        .type libprobe_detour_direct, @function
libprobe_detour_direct:
        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.libprobe_replacement_personality
        .cfi_def_cfa %rsp, RED_ZONE + 24        // the caller's, where the function begins
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rbp, -(RED_ZONE + 32)
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        pushq   %rax
        pushq   %r11
        lahf
        seto    %al
        pushq   %rax
        pushq   %rcx
        movq    libprobe_direct_words+BUSY(%rip), %rax
        cmpq    $0, %fs:(%rax)
        jne     8f
        thread_word READER, %rcx
        testq   %rcx, %rcx
        jz      8f
        cmpq    $0, (%rcx)
        jne     8f
        movq    libprobe_direct_words+EPOCH(%rip), %rax
        movq    (%rax), %rax
        movq    %rax, (%rcx)                    // epoch::enter(): pairs with heavy_barrier() in synchronize()
        movq    ABOUT(%rbp), %r11
        movq    ABOUT_DIRECT(%r11), %r11
        testq   %r11, %r11
        jz      7f
        thread_word ROW, %rax
        movq    HITS(%r11), %rcx
        incq    (%rcx,%rax)
        movq    BEGUN(%r11), %rcx
        incq    (%rcx,%rax)
        thread_word READER, %rcx
        movq    $0, (%rcx)                      // epoch::leave(): from here on the count keeps it
        pushq   %r11
        movq    libprobe_direct_words+RUNS(%rip), %rcx
        pushq   %fs:(%rcx)
        pushq   WHAT(%r11)
        movq    %rsp, %fs:(%rcx)
        movq    RCX(%rbp), %rcx
        movq    RAX(%rbp), %rax
        cmpl    $0, KEEPS(%r11)
        jne     3f
        movq    ENTRY(%r11), %r11
        andq    $-16, %rsp
        call    *%r11
        end_run
        movq    CALL(%rbp), %rcx
        movq    ENDED(%rcx), %rcx
        thread_word ROW, %r11
        testq   %r11, %r11
        jz      2f
        incq    (%rcx,%r11)                     // pairs with the commit that waits
        leave_and_return
2:      lock
        incq    (%rcx)                          // the row of all that have none
        leave_and_return

3:      pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        andq    $-64, %rsp
        cmpl    $0, LEVEL(%r11)
        jne     10f
3:      movq    ENTRY(%r11), %r11
        call    *%r11
        end_run
        movq    CALL(%rbp), %rcx
        testl   $1, RESULT(%rcx)                // result_registers::first_integer
        jz      4f
        movq    %rax, RAX(%rbp)
4:      testl   $2, RESULT(%rcx)                // second_integer
        jnz     5f
        movq    KEPT+40(%rbp), %rdx
5:      movq    ENDED(%rcx), %rcx
        thread_word ROW, %r11
        testq   %r11, %r11
        jz      6f
        incq    (%rcx,%r11)
        jmp     9f
6:      lock
        incq    (%rcx)
9:      movq    CALL(%rbp), %rcx
        cmpl    $0, LEVEL(%rcx)
        jne     14f
9:      movq    KEPT+32(%rbp), %rsi
        movq    KEPT+24(%rbp), %rdi
        movq    KEPT+16(%rbp), %r8
        movq    KEPT+8(%rbp), %r9
        movq    KEPT(%rbp), %r10
        movq    R11(%rbp), %r11
        movq    RCX(%rbp), %rcx
        movq    FLAGS(%rbp), %rax
        addb    $0x7f, %al                      // sets OF as it was
        sahf
        movq    RAX(%rbp), %rax
        leave_and_return

        // As much as the replacement may touch, at the stack pointer: registers 16-31 and the masks, then 0-15.
10:     subq    $(HIGH_ROOM + VECTOR_ROOM), %rsp
        leaq    HIGH_ROOM(%rsp), %rax
        cmpl    $LOW_FILE, LEVEL(%r11)
        jb      12f
        cmpl    $1, libprobe_vector_width(%rip)
        jb      12f
        ja      11f
        low_halves store_ymm
        jmp     13f
11:     low_halves store_zmm
        cmpl    $EVERY_FILE, LEVEL(%r11)
        jb      13f
        movq    %rsp, %rax
        high_file store_high
        masks   store_mask
        jmp     13f
12:     low_halves store_xmm
13:     movq    RAX(%rbp), %rax
        jmp     3b

        // The result's registers are to stay.
14:     leaq    HIGH_ROOM(%rsp), %rax
        cmpl    $LOW_FILE, LEVEL(%rcx)
        jb      16f
        cmpl    $1, libprobe_vector_width(%rip)
        jb      16f
        ja      15f
        keep_result store_ymm
        low_halves load_ymm
        jmp     9b
15:     keep_result store_zmm
        low_halves load_zmm
        cmpl    $EVERY_FILE, LEVEL(%rcx)
        jb      9b
        movq    %rsp, %rax
        high_file load_high
        masks   load_mask
        jmp     9b
16:     keep_result store_xmm
        low_halves load_xmm
        jmp     9b

        // Everything else, with the registers as they were.
7:      movq    $0, (%rcx)
8:      movq    FLAGS(%rbp), %rax
        addb    $0x7f, %al
        sahf
        movq    RCX(%rbp), %rcx
        movq    R11(%rbp), %r11
        movq    RAX(%rbp), %rax
        leave
        .cfi_def_cfa %rsp, RED_ZONE + 24
        .cfi_same_value %rbp
        jmp     libprobe_detour_replace
        .cfi_endproc
        .size libprobe_detour_direct, .-libprobe_detour_direct

        .globl libprobe_direct_code_end
        .hidden libprobe_direct_code_end
libprobe_direct_code_end:

        .section .note.GNU-stack, "", @progbits
