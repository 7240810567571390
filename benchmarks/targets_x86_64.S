// Functions whose first instruction is the one under test.

        .macro target name:req, instructions:req
        .p2align 6
        .globl target_\name
        .type target_\name, @function
target_\name:
        .cfi_startproc
        \instructions
        .cfi_endproc
        .size target_\name, .-target_\name
        .endm

        .text
        target breakpoint, "int3; ret"

        // Twice: for our probe and for the kernel's.
        target push, "push %rbp; pop %rbp; ret"
        target push_kernel, "push %rbp; pop %rbp; ret"
        target return_kernel, "push %rbp; pop %rbp; ret"
        target load, "mov (%rsp), %rax; ret"
        target load_kernel, "mov (%rsp), %rax; ret"
        target nop5, "nopl 0(%rax,%rax,1); ret"
        target nop5_kernel, "nopl 0(%rax,%rax,1); ret"

        // For jumps: long target_small(long, long), the sum, with the most usual of prologues; and its twins.
        target small, "push %rbp; mov %rsp, %rbp; lea (%rdi,%rsi), %rax; pop %rbp; ret"
        target small_two, "push %rbp; mov %rsp, %rbp; lea (%rdi,%rsi), %rax; pop %rbp; ret"
        target small_post, "push %rbp; mov %rsp, %rbp; lea (%rdi,%rsi), %rax; pop %rbp; ret"

        // Places in the middle of functions where each tactic is the first that fits. Where the instruction's successor
        // has zero bytes (`add %al, (%rax)`, an immediate), a punned jump would lead into the program itself.
        .macro place name:req
        .globl place_\name
place_\name:
        .endm
        target over_long, "lea scratch(%rip), %rax; place over_long; mov $0x12345678, %edx; ret"
        target punned, "lea scratch(%rip), %rax; place punned; mov %rax, %rdx; mov %rdx, %rcx; ret"
        target prefixed, "lea scratch(%rip), %rax; place prefixed; mov %rax, %rdx; add %al, (%rax); mov %rdx, %rcx; ret"
        target over_several, "lea scratch(%rip), %rax; place over_several; mov %eax, %ecx; mov $0, %edx; ret"

        .local scratch
        .comm scratch, 8, 8

        .section .note.GNU-stack, "", @progbits
