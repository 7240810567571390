// The program's state, saved on its own stack: a struct registers (include/libprobe/registers_x86_64.hpp), and what
// saves and restores it. For assembly code.

#include "offsets.h"

#define USER_CS 0x33
#define USER_SS 0x2b

        .hidden libprobe_vector_mask    // defined in ordinary.cpp
        .hidden libprobe_vector_size


.macro save_integers
        movq    %rax, REGS_RAX(%rsp)
        movq    %rbx, REGS_RBX(%rsp)
        movq    %rcx, REGS_RCX(%rsp)
        movq    %rdx, REGS_RDX(%rsp)
        movq    %rsi, REGS_RSI(%rsp)
        movq    %rdi, REGS_RDI(%rsp)
        movq    %rbp, REGS_RBP(%rsp)
        movq    %r8, REGS_R8(%rsp)
        movq    %r9, REGS_R9(%rsp)
        movq    %r10, REGS_R10(%rsp)
        movq    %r11, REGS_R11(%rsp)
        movq    %r12, REGS_R12(%rsp)
        movq    %r13, REGS_R13(%rsp)
        movq    %r14, REGS_R14(%rsp)
        movq    %r15, REGS_R15(%rsp)
.endm

.macro save_flags
        pushfq
        .cfi_adjust_cfa_offset 8
        popq    REGS_RFLAGS(%rsp)
        .cfi_adjust_cfa_offset -8
        pushq   $2                      // DF, and NT and AC with it: iretq and compiled code want them clear
        .cfi_adjust_cfa_offset 8
        popfq
        .cfi_adjust_cfa_offset -8
.endm

.macro restore_integers base
        movq    REGS_R8(\base), %r8
        movq    REGS_R9(\base), %r9
        movq    REGS_R10(\base), %r10
        movq    REGS_R11(\base), %r11
        movq    REGS_R12(\base), %r12
        movq    REGS_R13(\base), %r13
        movq    REGS_R14(\base), %r14
        movq    REGS_R15(\base), %r15
        movq    REGS_RDI(\base), %rdi
        movq    REGS_RSI(\base), %rsi
        movq    REGS_RBP(\base), %rbp
        movq    REGS_RDX(\base), %rdx
        movq    REGS_RAX(\base), %rax
        movq    REGS_RCX(\base), %rcx
        movq    REGS_RBX(\base), %rbx
.endm

.macro load_arguments base      // `base` may be rax
        movq    REGS_RDI(\base), %rdi
        movq    REGS_RSI(\base), %rsi
        movq    REGS_RDX(\base), %rdx
        movq    REGS_RCX(\base), %rcx
        movq    REGS_R8(\base), %r8
        movq    REGS_R9(\base), %r9
        movq    REGS_R10(\base), %r10
        movq    REGS_RAX(\base), %rax        // al: the number of vector arguments of a variadic call
.endm

// The area for the extended state goes below the frame that rbx points to; its header must be zero but for what
// xsave itself writes (Intel SDM vol. 1, 13.4.2).
.macro save_vectors
        subq    libprobe_vector_size(%rip), %rsp
        andq    $-64, %rsp
        movq    %rsp, %rsi
        leaq    160(%rsp), %rax
        movq    %rax, REGS_XMM(%rbx)
        movq    $16, REGS_VECTOR_STRIDE(%rbx)
        leaq    512(%rsp), %rdi
        xorl    %eax, %eax
        cmpl    $0, libprobe_vector_mask(%rip)
        je      8f
        movq    %rdi, REGS_XSTATE_IN_USE(%rbx)
        movl    $8, %ecx
        rep stosq
        movl    libprobe_vector_mask(%rip), %eax
        xorl    %edx, %edx
        xsave64 (%rsp)
        leaq    576(%rsp), %rax
        xorl    %edx, %edx
        testl   $4, libprobe_vector_mask(%rip)
        cmovz   %rdx, %rax
        jmp     9f
8:      movq    %rax, REGS_XSTATE_IN_USE(%rbx)
        fxsave64 (%rsp)
9:      movq    %rax, REGS_YMM_UPPER(%rbx)
.endm

.macro restore_vectors from
        movl    libprobe_vector_mask(%rip), %eax
        xorl    %edx, %edx
        testl   %eax, %eax
        je      8f
        xrstor64 (\from)
        jmp     9f
8:      fxrstor64 (\from)
9:
.endm

.macro frame_cfi cfa            // rbx points to the frame, the frame holds the program's registers
        .cfi_def_cfa %rbx, \cfa
        .cfi_offset %rbx, REGS_RBX - (\cfa)
        .cfi_offset %rbp, REGS_RBP - (\cfa)
        .cfi_offset %r12, REGS_R12 - (\cfa)
        .cfi_offset %r13, REGS_R13 - (\cfa)
        .cfi_offset %r14, REGS_R14 - (\cfa)
        .cfi_offset %r15, REGS_R15 - (\cfa)
.endm
