// Functions whose first instruction is the one under test.

        .macro target name:req, instruction:vararg
        .p2align 6
        .globl target_\name
        .type target_\name, @function
target_\name:
        .cfi_startproc
        \instruction
        .cfi_endproc
        .size target_\name, .-target_\name
        .endm

        .text
        target breakpoint, int3; ret

        // Twice: for our probe and for the kernel's.
        target push, push %rbp; pop %rbp; ret
        target push_kernel, push %rbp; pop %rbp; ret
        target return_kernel, push %rbp; pop %rbp; ret
        target load, mov (%rsp), %rax; ret
        target load_kernel, mov (%rsp), %rax; ret
        target nop5, nopl 0(%rax,%rax,1); ret
        target nop5_kernel, nopl 0(%rax,%rax,1); ret

        .section .note.GNU-stack, "", @progbits
