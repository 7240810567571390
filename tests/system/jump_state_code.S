// void (const struct state* in, struct state* out): puts the whole state of the CPU in place, passes a probed instruction or
// calls a probed function, and takes the state down. See jump_state_test.cpp.

#define FLAGS 128
#define RED_ZONE 136
#define EXTENDED 320
#define COMPONENTS 0xe7                 /* x87, SSE, AVX, masks, both halves of AVX-512 */

        .text

.macro state_function name, work:vararg
        .p2align 4
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        sub     $16, %rsp
        stmxcsr 8(%rsp)
        mov     %rsi, (%rsp)
        mov     $COMPONENTS, %eax
        xor     %edx, %edx
        xrstor64 EXTENDED(%rdi)
        pushq   FLAGS(%rdi)
        popfq
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     RED_ZONE+8*\n(%rdi), %rax
        mov     %rax, -128+8*\n(%rsp)
        .endr
        mov     0(%rdi), %rax
        mov     8(%rdi), %rbx
        mov     16(%rdi), %rcx
        mov     24(%rdi), %rdx
        mov     32(%rdi), %rsi
        mov     48(%rdi), %rbp
        mov     64(%rdi), %r8
        mov     72(%rdi), %r9
        mov     80(%rdi), %r10
        mov     88(%rdi), %r11
        mov     96(%rdi), %r12
        mov     104(%rdi), %r13
        mov     112(%rdi), %r14
        mov     120(%rdi), %r15
        mov     40(%rdi), %rdi
        \work
        xchg    %rax, (%rsp)
        mov     %rbx, 8(%rax)
        mov     %rcx, 16(%rax)
        mov     %rdx, 24(%rax)
        mov     %rsi, 32(%rax)
        mov     %rdi, 40(%rax)
        mov     %rbp, 48(%rax)
        mov     %r8, 64(%rax)
        mov     %r9, 72(%rax)
        mov     %r10, 80(%rax)
        mov     %r11, 88(%rax)
        mov     %r12, 96(%rax)
        mov     %r13, 104(%rax)
        mov     %r14, 112(%rax)
        mov     %r15, 120(%rax)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     -128+8*\n(%rsp), %rbx
        mov     %rbx, RED_ZONE+8*\n(%rax)
        .endr
        pushfq
        popq    FLAGS(%rax)
        cld
        mov     (%rsp), %rbx
        mov     %rbx, 0(%rax)
        mov     %rax, %rdi
        mov     $COMPONENTS, %eax
        xor     %edx, %edx
        xsave64 EXTENDED(%rdi)
        mov     $COMPONENTS, %eax
        xrstor64 state_nothing(%rip)    // all of it as at a program's start
        ldmxcsr 8(%rsp)
        add     $16, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
        .cfi_endproc
        .size   \name, .-\name
.endm

        state_function state_at_instruction, state_site: nopl 0(%rax,%rax,1)
        state_function state_at_call, call state_callee

        .globl  state_site
        .p2align 4
        .globl  state_callee
        .type   state_callee, @function
state_callee:
        .cfi_startproc
        nopl    0(%rax,%rax,1)
        ret
        fnop                            // never reached: says that this function keeps values in x87 registers
        .cfi_endproc
        .size   state_callee, .-state_callee

        .data
        .p2align 6
state_nothing:                          // an XSAVE area with all components in their initial state
        .fill   24, 1, 0
        .long   0x1f80
        .fill   4096 - 28, 1, 0

        .section .note.GNU-stack, "", @progbits
