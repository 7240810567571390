// Code that signals interrupt at every instruction: instructions of all forms, with unwind data.

        .text
.macro function name
        .p2align 4
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
.endm
.macro done name
        .cfi_endproc
        .size   \name, .-\name
.endm

// long (long (*subject)(long), long x): calls interrupted_caller with all registers known.
function interrupted_drive
        .irp    name, rbp, rbx, r12, r13, r14, r15
        push    %\name
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %\name, 0
        .endr
        sub     $8, %rsp
        .cfi_adjust_cfa_offset 8
        mov     %rsp, interrupted_stack(%rip)
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     $0x1100, %ecx
        mov     $0x1200, %edx
        mov     $0x1300, %esi
        mov     $0x1400, %r8d
        mov     $0x1500, %r9d
        mov     $0x1600, %r10d
        mov     $0x1700, %r11d
        mov     $0x1800, %ebx
        mov     $0x1900, %ebp
        mov     $0x1a00, %r12d
        mov     $0x1b00, %r13d
        mov     $0x1c00, %r14d
        mov     $0x1d00, %r15d
        cmp     $7, %edi
        .globl  interrupted_begin
interrupted_begin:
        nop
        call    interrupted_caller
        .globl  interrupted_end
interrupted_end:
        mov     %r15, interrupted_r15(%rip)
        .globl  interrupted_recovered
interrupted_recovered:
        add     $8, %rsp
        .cfi_adjust_cfa_offset -8
        .irp    name, r15, r14, r13, r12, rbx, rbp
        pop     %\name
        .cfi_adjust_cfa_offset -8
        .cfi_restore %\name
        .endr
        ret
done interrupted_drive

function interrupted_caller
        push    %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        mov     %rsp, %rbp
        .cfi_def_cfa_register %rbp
        call    *%rax
        .globl  interrupted_behind
interrupted_behind:
        nop
        pop     %rbp
        .cfi_def_cfa %rsp, 8
        ret
done interrupted_caller

// x + 1
function interrupted_plain
        push    %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        mov     %rdi, %rbx
        lea     1(%rbx), %rax
        mov     %rax, -8(%rsp)          // the red zone
        mov     $0x7777, %ecx
        mov     -8(%rsp), %rax
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
done interrupted_plain

// x + 1, by a long way
function interrupted_forms
        push    %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        sub     $64, %rsp
        .cfi_adjust_cfa_offset 64
        mov     interrupted_five(%rip), %rbx
        lea     (%rdi,%rbx,2), %rax
        sub     $10, %rax
        cmp     $3, %rax
        jne     1f
        ud2
1:      mov     $2, %ecx
2:      add     $4, %rax
        loop    2b
        sub     interrupted_eight(%rip), %rax
        mov     %rsp, %rdi
        lea     interrupted_five(%rip), %rsi
        mov     $3, %ecx
        rep movsb
        movaps  %xmm0, 16(%rsp)
        mov     %rax, %rdi
        call    interrupted_leaf
        lea     interrupted_leaf(%rip), %rdx
        mov     %rax, %rdi
        call    *%rdx
        mov     %rax, %rdi
        call    *interrupted_pointer(%rip)
        mov     %rax, %rbx
        mov     $110, %eax              // getppid()
        syscall
        lea     -2(%rbx), %rax
        jmp     3f
        ud2
3:      mov     %rax, -8(%rsp)          // the red zone
        cmp     $3, %rax
        mov     -8(%rsp), %rax
        add     $64, %rsp
        .cfi_adjust_cfa_offset -64
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
done interrupted_forms

// x + 1, by operands that are relative to the instruction
function interrupted_far
        push    %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        mov     interrupted_five(%rip), %rbx
        mov     %rdi, interrupted_cell(%rip)
        add     %rbx, interrupted_cell(%rip)
        cmpq    $3, interrupted_cell(%rip)
        mov     interrupted_cell(%rip), %rsi
        movq    interrupted_five(%rip), %xmm0
        imul    interrupted_one(%rip), %rdi
        lea     interrupted_five(%rip), %rdx
        call    *interrupted_pointer(%rip)
        mov     -8(%rsp), %rcx          // of the red zone, which copies leave alone
        cmp     interrupted_five(%rip), %rsi
        pop     %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
done interrupted_far

function interrupted_leaf
        lea     1(%rdi), %rax
        ret
done interrupted_leaf

        .data
interrupted_five:
        .quad   5
interrupted_eight:
        .quad   8
interrupted_one:
        .quad   1
interrupted_cell:
        .quad   0
        .section .data.rel.local, "aw"
        .p2align 3
interrupted_pointer:
        .quad   interrupted_leaf
        .bss
        .p2align 3
        .globl  interrupted_stack, interrupted_r15
interrupted_stack:
        .skip   8
interrupted_r15:
        .skip   8

        .section .note.GNU-stack, "", @progbits
