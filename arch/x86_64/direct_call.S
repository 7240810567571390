// Calls of a replacement from a detour with nothing of ours in between: see src/site/direct_call.hpp.

#include "detour_frame.h"
#include "offsets.h"
#include "vectors.h"

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

// From rbp down. RUN is a replacement_run, OUTER its second word.
#define ABOUT 16
#define RAX -8
#define R11 -16
#define FLAGS -24
#define RCX -32
#define OUTER_WHERE -40         /* then, behind the call, what it says of results and of vector registers: */
#define RESULT_NOW OUTER_WHERE
#define LEVEL_NOW (OUTER_WHERE + 4)
#define CALL -48
#define RUN -64
#define OUTER (RUN + RUN_OUTER)
#define KEPT -112               /* rdx, rsi, rdi, r8, r9, r10 */

        .macro keep_result op
        .irp    n, 0, 1
        testl   $(4 << \n), RESULT_NOW(%rbp)        // result_registers::first_vector, second_vector
        jz      1f
        \op     \n
1:
        .endr
        .endm

// A run is counted and written down, or unlinked and counted, in two steps. A signal's handler that comes between
// them may never return, so libprobe's entry of handlers does the second step itself: see arch::finish_step(). Each
// such instruction is listed by its place, the one behind it, and what it does.
#define STEP_LINK 0             /* %fs:(rcx) = rsp */
#define STEP_COUNT 1            /* ++*rcx */
#define STEP_STORE 2            /* *rdi = rsi */
        .macro second_step what, instruction:vararg
91:     \instruction
92:
        .pushsection .rodata.libprobe_steps, "a", @progbits
        .long   91b - libprobe_direct_code, 92b - libprobe_direct_code, \what
        .popsection
        .endm

        .pushsection .rodata.libprobe_steps, "a", @progbits
        .p2align 2
        .globl libprobe_second_steps
        .hidden libprobe_second_steps
libprobe_second_steps:
        .popsection

// The run is over, and what `CALL` leads to may be freed. Keeps rax and rdx. A branch that is predicted, where a load
// would be waited for: what is stored here the next call loads again.
        .macro end_run name
        movq    CALL(%rbp), %rcx
        movq    DIRECT_RESULT(%rcx), %r10
        movq    DIRECT_ENDED(%rcx), %rcx
        movq    %r10, RESULT_NOW(%rbp)
        thread_word WORDS_ROW, %r10
        movq    libprobe_direct_words+WORDS_RUNS(%rip), %r11
        addq    %r10, %rcx
        testq   %r10, %r10
        jz      .Lshared_\name
        cmpq    $0, OUTER(%rbp)
        jne     .Linner_\name
        movq    $0, %fs:(%r11)
        second_step STEP_COUNT, incq (%rcx)     // pairs with the commit that waits
.Lended_\name:
        .endm
        .macro end_other_run name
.Lshared_\name:
        movq    OUTER(%rbp), %r10
        movq    %r10, %fs:(%r11)
        second_step STEP_COUNT, lock incq (%rcx) // the row of all that have none
        jmp     .Lended_\name
.Linner_\name:
        movq    OUTER(%rbp), %r10
        movq    %r10, %fs:(%r11)
        second_step STEP_COUNT, incq (%rcx)
        jmp     .Lended_\name
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
        movq    libprobe_direct_words+WORDS_BUSY(%rip), %rax
        cmpq    $0, %fs:(%rax)
        jne     8f
        thread_word WORDS_READER, %rcx
        testq   %rcx, %rcx
        jz      8f
        cmpq    $0, READER_SINCE(%rcx)
        jne     8f
        pushq   READER_WHERE(%rcx)
        leaq    1(%rsp), %rax                   // odd: no mark lies there, see was_left_behind()
        movq    %rax, READER_WHERE(%rcx)
        movq    libprobe_direct_words+WORDS_EPOCH(%rip), %rax
        movq    (%rax), %rax
        movq    %rax, READER_SINCE(%rcx)        // epoch::enter(): pairs with heavy_barrier() in poll() and wait()
        movq    ABOUT(%rbp), %r11
        movq    DETOUR_DIRECT(%r11), %r11
        testq   %r11, %r11
        jz      7f
        thread_word WORDS_ROW, %rax
        movq    DIRECT_HITS(%r11), %rcx
        incq    (%rcx,%rax)
        pushq   %r11
        movq    libprobe_direct_words+WORDS_RUNS(%rip), %rcx
        pushq   %fs:(%rcx)
        pushq   DIRECT_WHAT(%r11)
        movq    DIRECT_BEGUN(%r11), %r11
        incq    (%r11,%rax)
        second_step STEP_LINK, movq %rsp, %fs:(%rcx)
        thread_word WORDS_READER, %rcx
        movq    OUTER_WHERE(%rbp), %rax
        movq    $0, READER_SINCE(%rcx)          // epoch::leave(): from here on the count keeps it
        movq    %rax, READER_WHERE(%rcx)
        movq    CALL(%rbp), %r11
        movq    RCX(%rbp), %rcx
        movq    RAX(%rbp), %rax
        cmpl    $0, DIRECT_KEEPS(%r11)
        jne     3f
        movq    DIRECT_ENTRY(%r11), %r11
        andq    $-16, %rsp
        call    *%r11
        end_run plain
        leave_and_return

3:      pushq   %rdx
        pushq   %rsi
        pushq   %rdi
        pushq   %r8
        pushq   %r9
        pushq   %r10
        andq    $-64, %rsp
        cmpl    $0, DIRECT_LEVEL(%r11)
        jne     10f
3:      movq    DIRECT_ENTRY(%r11), %r11
        call    *%r11
        end_run keeping
        testl   $1, RESULT_NOW(%rbp)            // result_registers::first_integer
        jz      4f
        movq    %rax, RAX(%rbp)
4:      testl   $2, RESULT_NOW(%rbp)            // second_integer
        jnz     5f
        movq    KEPT+40(%rbp), %rdx
5:      cmpl    $0, LEVEL_NOW(%rbp)
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
        cmpl    $LOW_FILE, DIRECT_LEVEL(%r11)
        jb      12f
        cmpl    $1, libprobe_vector_width(%rip)
        jb      12f
        ja      11f
        low_halves store_ymm
        jmp     13f
11:     low_halves store_zmm
        cmpl    $EVERY_FILE, DIRECT_LEVEL(%r11)
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
        cmpl    $LOW_FILE, LEVEL_NOW(%rbp)
        jb      16f
        cmpl    $1, libprobe_vector_width(%rip)
        jb      16f
        ja      15f
        keep_result store_ymm
        low_halves load_ymm
        jmp     9b
15:     keep_result store_zmm
        low_halves load_zmm
        cmpl    $EVERY_FILE, LEVEL_NOW(%rbp)
        jb      9b
        movq    %rsp, %rax
        high_file load_high
        masks   load_mask
        jmp     9b
16:     keep_result store_xmm
        low_halves load_xmm
        jmp     9b

        end_other_run plain
        end_other_run keeping

        // Everything else, with the registers as they were.
7:      movq    OUTER_WHERE(%rbp), %rax
        movq    $0, READER_SINCE(%rcx)
        movq    %rax, READER_WHERE(%rcx)
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

// The same steps for runs that C++ code begins and ends. Each keeps all registers.

// void libprobe_choose(attachment** chosen, attachment* what, int shared, uint64_t* begun): counted, and noted.
        .p2align 4
        .globl libprobe_choose
        .hidden libprobe_choose
        .type libprobe_choose, @function
libprobe_choose:
        .cfi_startproc
        testl   %edx, %edx
        jnz     1f
        incq    (%rcx)
        second_step STEP_STORE, movq %rsi, (%rdi)
        ret
1:      lock incq (%rcx)
        second_step STEP_STORE, movq %rsi, (%rdi)
        ret
        .cfi_endproc
        .size libprobe_choose, .-libprobe_choose

// void libprobe_begin_run(attachment** chosen, attachment* none, replacement_run** runs, replacement_run* run): what was
// chosen runs.
        .p2align 4
        .globl libprobe_begin_run
        .hidden libprobe_begin_run
        .type libprobe_begin_run, @function
libprobe_begin_run:
        .cfi_startproc
        movq    %rcx, (%rdx)
        second_step STEP_STORE, movq %rsi, (%rdi)
        ret
        .cfi_endproc
        .size libprobe_begin_run, .-libprobe_begin_run

// void libprobe_end_run(void** noted, void* before, int shared, uint64_t* ended): it is noted no more, and counted.
        .p2align 4
        .globl libprobe_end_run
        .hidden libprobe_end_run
        .type libprobe_end_run, @function
libprobe_end_run:
        .cfi_startproc
        testl   %edx, %edx
        jnz     1f
        movq    %rsi, (%rdi)
        second_step STEP_COUNT, incq (%rcx)
        ret
1:      movq    %rsi, (%rdi)
        second_step STEP_COUNT, lock incq (%rcx)
        ret
        .cfi_endproc
        .size libprobe_end_run, .-libprobe_end_run

        .pushsection .rodata.libprobe_steps, "a", @progbits
        .long   0, 0, 0
        .popsection

        .globl libprobe_direct_code_end
        .hidden libprobe_direct_code_end
libprobe_direct_code_end:

        .section .note.GNU-stack, "", @progbits
