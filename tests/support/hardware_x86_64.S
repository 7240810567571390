// Loads the whole user-visible state of the CPU, jumps into generated code, and stores everything back at the place
// where that code leaves. Everything is reached rip-relative, so no register is needed for it.

        .text

// void hardware_run(): runs from hardware_in and hardware_vectors_in to hardware_out and hardware_vectors_out.
        .globl hardware_run
        .type hardware_run, @function
hardware_run:
        endbr64
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, host_stack(%rip)
        movl    hardware_mask(%rip), %eax
        xorl    %edx, %edx
        xrstor64 hardware_vectors_in(%rip)
        pushq   hardware_in+128(%rip)
        popfq
        movq    hardware_in(%rip), %rax
        movq    hardware_in+8(%rip), %rcx
        movq    hardware_in+16(%rip), %rdx
        movq    hardware_in+24(%rip), %rbx
        movq    hardware_in+32(%rip), %rsp
        movq    hardware_in+40(%rip), %rbp
        movq    hardware_in+48(%rip), %rsi
        movq    hardware_in+56(%rip), %rdi
        movq    hardware_in+64(%rip), %r8
        movq    hardware_in+72(%rip), %r9
        movq    hardware_in+80(%rip), %r10
        movq    hardware_in+88(%rip), %r11
        movq    hardware_in+96(%rip), %r12
        movq    hardware_in+104(%rip), %r13
        movq    hardware_in+112(%rip), %r14
        movq    hardware_in+120(%rip), %r15
        jmp     *hardware_in+136(%rip)

// Landing places: they differ only in the number that they leave.
        .macro  landing number
        .globl  hardware_landing_\number
hardware_landing_\number:
        movq    $\number, hardware_landed(%rip)
        jmp     store_all
        .endm
        landing 0
        landing 1
        landing 2

store_all:
        movq    %rax, hardware_out(%rip)
        movq    %rcx, hardware_out+8(%rip)
        movq    %rdx, hardware_out+16(%rip)
        movq    %rbx, hardware_out+24(%rip)
        movq    %rsp, hardware_out+32(%rip)
        movq    %rbp, hardware_out+40(%rip)
        movq    %rsi, hardware_out+48(%rip)
        movq    %rdi, hardware_out+56(%rip)
        movq    %r8, hardware_out+64(%rip)
        movq    %r9, hardware_out+72(%rip)
        movq    %r10, hardware_out+80(%rip)
        movq    %r11, hardware_out+88(%rip)
        movq    %r12, hardware_out+96(%rip)
        movq    %r13, hardware_out+104(%rip)
        movq    %r14, hardware_out+112(%rip)
        movq    %r15, hardware_out+120(%rip)
        movq    host_stack(%rip), %rsp
        pushfq
        popq    hardware_out+128(%rip)
        movl    hardware_mask(%rip), %eax
        xorl    %edx, %edx
        xsave64 hardware_vectors_out(%rip)

// Where the fault handler sends the thread, with nothing but rip to be relied upon.
        .globl  hardware_abandon
hardware_abandon:
        movq    host_stack(%rip), %rsp
        pushq   $2
        popfq
        movl    hardware_mask(%rip), %eax
        xorl    %edx, %edx
        xrstor64 initial_vectors(%rip)
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret
        .size   hardware_run, .-hardware_run

        .data
        .p2align 6
initial_vectors:                        // an empty XSTATE_BV: all components in their initial state
        .zero   24
        .long   0x1f80                  // but MXCSR, which is always loaded (Intel SDM vol. 1, 13.8.1)
        .zero   4096 - 28

        .bss
        .p2align 6
        .globl  hardware_vectors_in, hardware_vectors_out
hardware_vectors_in:
        .zero   4096
hardware_vectors_out:
        .zero   4096
        .globl  hardware_in, hardware_out, hardware_landed, hardware_mask
hardware_in:
        .zero   18 * 8                  // 16 registers as encoded, rflags, rip
hardware_out:
        .zero   18 * 8
hardware_landed:
        .zero   8
hardware_mask:
        .zero   8
host_stack:
        .zero   8

        .section .note.GNU-stack, "", @progbits
