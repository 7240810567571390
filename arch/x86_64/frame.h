// The program's state, saved on its own stack: a struct registers (include/libprobe/registers_x86_64.hpp), and what
// saves and restores it. For assembly code.

#define RAX_ 0
#define RBX_ 8
#define RCX_ 16
#define RDX_ 24
#define RSI_ 32
#define RDI_ 40
#define RBP_ 48
#define RSP_ 56
#define R8_ 64
#define R9_ 72
#define R10_ 80
#define R11_ 88
#define R12_ 96
#define R13_ 104
#define R14_ 112
#define R15_ 120
#define RIP_ 128
#define RFLAGS_ 136
#define XMM_ 144
#define YMM_UPPER_ 152
#define XSTATE_IN_USE_ 160
#define VECTOR_STRIDE_ 168
#define USER_CS 0x33
#define USER_SS 0x2b

        .hidden libprobe_vector_mask    // defined in ordinary.cpp
        .hidden libprobe_vector_size


.macro save_integers
        movq    %rax, RAX_(%rsp)
        movq    %rbx, RBX_(%rsp)
        movq    %rcx, RCX_(%rsp)
        movq    %rdx, RDX_(%rsp)
        movq    %rsi, RSI_(%rsp)
        movq    %rdi, RDI_(%rsp)
        movq    %rbp, RBP_(%rsp)
        movq    %r8, R8_(%rsp)
        movq    %r9, R9_(%rsp)
        movq    %r10, R10_(%rsp)
        movq    %r11, R11_(%rsp)
        movq    %r12, R12_(%rsp)
        movq    %r13, R13_(%rsp)
        movq    %r14, R14_(%rsp)
        movq    %r15, R15_(%rsp)
.endm

.macro save_flags
        pushfq
        .cfi_adjust_cfa_offset 8
        popq    RFLAGS_(%rsp)
        .cfi_adjust_cfa_offset -8
        pushq   $2                      // DF, and NT and AC with it: iretq and compiled code want them clear
        .cfi_adjust_cfa_offset 8
        popfq
        .cfi_adjust_cfa_offset -8
.endm

.macro restore_integers base
        movq    R8_(\base), %r8
        movq    R9_(\base), %r9
        movq    R10_(\base), %r10
        movq    R11_(\base), %r11
        movq    R12_(\base), %r12
        movq    R13_(\base), %r13
        movq    R14_(\base), %r14
        movq    R15_(\base), %r15
        movq    RDI_(\base), %rdi
        movq    RSI_(\base), %rsi
        movq    RBP_(\base), %rbp
        movq    RDX_(\base), %rdx
        movq    RAX_(\base), %rax
        movq    RCX_(\base), %rcx
        movq    RBX_(\base), %rbx
.endm

// The area for the extended state goes below the frame that rbx points to; its header must be zero but for what
// xsave itself writes (Intel SDM vol. 1, 13.4.2).
.macro save_vectors
        subq    libprobe_vector_size(%rip), %rsp
        andq    $-64, %rsp
        movq    %rsp, %rsi
        leaq    160(%rsp), %rax
        movq    %rax, XMM_(%rbx)
        movq    $16, VECTOR_STRIDE_(%rbx)
        leaq    512(%rsp), %rdi
        xorl    %eax, %eax
        cmpl    $0, libprobe_vector_mask(%rip)
        je      8f
        movq    %rdi, XSTATE_IN_USE_(%rbx)
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
8:      movq    %rax, XSTATE_IN_USE_(%rbx)
        fxsave64 (%rsp)
9:      movq    %rax, YMM_UPPER_(%rbx)
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
        .cfi_offset %rbx, RBX_ - (\cfa)
        .cfi_offset %rbp, RBP_ - (\cfa)
        .cfi_offset %r12, R12_ - (\cfa)
        .cfi_offset %r13, R13_ - (\cfa)
        .cfi_offset %r14, R14_ - (\cfa)
        .cfi_offset %r15, R15_ - (\cfa)
.endm
