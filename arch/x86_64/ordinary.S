// Leaving and entering the program in ordinary context: outside signal handlers, on the program's own stack.
//
// A frame is a struct registers (include/libprobe/registers_x86_64.hpp) with the extended state's area below it.

#include "frame.h"

#define FRAME 256               /* from the frame to the program's stack pointer: registers, red zone, key */
#define KEY 16                  /* where, below the program's stack pointer, the hit path left a word for us */
#define RESULT_COMPONENTS 0x47  /* x87, SSE, AVX, upper halves of zmm0-15: where results may lie */

        .text

// Reached, instead of a function's first instruction, by a jump with the function's own state; the word at KEY below the
// stack pointer says which. Goes on wherever `handler` put rip. (At a function's entry the red zone is free.)
.macro ordinary_entry name, handler, personality
        .p2align 4
        .globl \name
        .hidden \name
        .type \name, @function
\name:
        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.\personality
        leaq    -FRAME(%rsp), %rsp
        .cfi_adjust_cfa_offset FRAME
        save_integers
        save_flags
        leaq    FRAME(%rsp), %rax
        movq    %rax, REGS_RSP(%rsp)
        movq    FRAME-KEY(%rsp), %rax
        movq    %rax, REGS_RIP(%rsp)
        movq    %rsp, %rbx
        frame_cfi FRAME + 8
        save_vectors
        movq    %rbx, %rdi
        call    \handler
        restore_vectors %rsp
        movq    %rbx, %rsp
        pushq   $USER_SS
        pushq   REGS_RSP(%rbx)
        pushq   REGS_RFLAGS(%rbx)
        pushq   $USER_CS
        pushq   REGS_RIP(%rbx)
        restore_integers %rbx
        .cfi_def_cfa %rsp, FRAME + 8 + 5*8
        iretq
        .cfi_endproc
        .size \name, .-\name
.endm

        ordinary_entry libprobe_ordinary_entry, libprobe_on_entry, libprobe_entry_personality
        ordinary_entry libprobe_replacement_entry, libprobe_on_replacement, libprobe_replacement_personality

// void libprobe_call(const void* entry, const registers* regs, const void* vectors, size_t stack_bytes, call_result* result)
//
// Calls `entry` as the program would have: argument registers and extended state as saved, and a copy of
// `stack_bytes` bytes of the argument area, equally aligned. `result` (struct call_result) takes the stack pointer
// to return to early, and, where its vectors are not null, what the function returned.
        .p2align 4
        .globl libprobe_call
        .hidden libprobe_call
        .type libprobe_call, @function
libprobe_call:
        .cfi_startproc
        pushq   %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset %rbp, -16
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        pushq   %rbx
        .cfi_offset %rbx, -24
        pushq   %r12
        .cfi_offset %r12, -32
        pushq   %r13
        .cfi_offset %r13, -40
        pushq   %r14
        .cfi_offset %r14, -48
        pushq   %r15
        .cfi_offset %r15, -56
        movq    %rbp, 0(%r8)
        movq    %rdi, %r12
        movq    %rsi, %r13
        movq    %rdx, %r14
        movq    %r8, %r15
        movq    REGS_RSP(%r13), %rsi
        addq    $8, %rsi                // behind the return address
        subq    %rcx, %rsp
        movq    %rsp, %rax
        subq    %rsi, %rax
        andq    $63, %rax
        subq    %rax, %rsp
        andq    $-16, %rsp              // gcc aligns less for a local function that needs no more; `entry` may
        shrq    $3, %rcx
        jz      3f
        movq    %rsp, %rdi
        .globl  libprobe_copy_area, libprobe_copy_area_end
        .hidden libprobe_copy_area, libprobe_copy_area_end
libprobe_copy_area:                     // what lies above the caller's frame may be another stack, and be unmapped now
        rep movsq
libprobe_copy_area_end:
3:      testq   %r14, %r14
        jz      4f
        restore_vectors %r14
4:
        load_arguments %r13
        call    *%r12
        movq    8(%r15), %rcx
        testq   %rcx, %rcx
        jz      1f
        movq    %rax, 16(%r15)
        movq    %rdx, 24(%r15)
        movl    libprobe_vector_mask(%rip), %eax
        xorl    %edx, %edx
        testl   %eax, %eax
        jz      2f
        andl    $RESULT_COMPONENTS, %eax
        xsave64 (%rcx)
        jmp     1f
2:      fxsave64 (%rcx)
1:      leaq    -40(%rbp), %rsp
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc
        .size libprobe_call, .-libprobe_call

// [[noreturn]] void libprobe_return_early(void* frame): back to where libprobe_call was called.
        .p2align 4
        .globl libprobe_return_early
        .hidden libprobe_return_early
        .type libprobe_return_early, @function
libprobe_return_early:
        movq    %rdi, %rbp
        jmp     1b
        .size libprobe_return_early, .-libprobe_return_early

// R libprobe_load_result(result_image* image, result_image* same_image): returns with the result registers as given. An
// R in memory comes with its address before the two, and is left alone.
        .p2align 4
        .globl libprobe_load_result
        .type libprobe_load_result, @function
libprobe_load_result:
        .cfi_startproc
        cmpq    %rdi, %rsi
        jne     1f
        movq    0(%rdi), %rax
        movq    8(%rdi), %rdx
        movups  16(%rdi), %xmm0
        movups  32(%rdi), %xmm1
        ret
1:      movq    $1, 48(%rsi)
        movq    %rdi, %rax
        ret
        .cfi_endproc
        .size libprobe_load_result, .-libprobe_load_result

        .section .note.GNU-stack, "", @progbits
