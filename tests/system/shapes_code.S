// Functions of every shape that jump-patching libraries have stumbled over, packed without padding. Each takes its argument
// in rdi and in rcx, and leaves its result in rax.

        .macro  shape name
        .globl  shape_\name
        .type   shape_\name, @function
shape_\name:
        .endm
        .macro  shape_end name
        .size   shape_\name, .-shape_\name
        .endm

        .section .text.shapes, "ax", @progbits

        shape   lone_ret                // 1 byte, and the neighbour follows at once
        ret
        shape_end lone_ret
        shape   rep_ret                 // 2 bytes
        rep ret
        shape_end rep_ret
        shape   xor_ret                 // 3 bytes
        xorl    %eax, %eax
        ret
        shape_end xor_ret
        shape   push_pop_ret            // 3 bytes, each its own instruction
        pushq   %rdi
        popq    %rax
        ret
        shape_end push_pop_ret
        shape   endbr_ret
        endbr64
        ret
        shape_end endbr_ret
        shape   bnd_ret
        movq    %rdi, %rax
        bnd ret
        shape_end bnd_ret

        shape   loop_to_byte_2          // the loop's head lies inside what a jump of 5 bytes would cover
        xorl    %eax, %eax
1:      addq    %rdi, %rax
        decq    %rdi
        jnz     1b
        ret
        shape_end loop_to_byte_2
        shape   loop_to_byte_2_from_afar
        xorl    %eax, %eax
1:      addq    %rdi, %rax
        .rept   20
        leaq    3(%rax,%rdi,2), %rax
        nopl    0(%rax,%rax)
        .endr
        decq    %rdi
        jnz     1b
        ret
        shape_end loop_to_byte_2_from_afar
        shape   loop_to_byte_1
        cld
1:      addl    %ecx, %eax
        loop    1b
        ret
        shape_end loop_to_byte_1
        shape   loop_to_entry
        addq    %rdi, %rax
        decq    %rdi
        jnz     shape_loop_to_entry
        ret
        shape_end loop_to_entry

        shape   jrcxz_first
        jrcxz   1f
        leaq    7(%rcx), %rax
1:      ret
        shape_end jrcxz_first
        shape   jecxz_first
        jecxz   1f
        leaq    7(%rcx), %rax
1:      ret
        shape_end jecxz_first
        shape   jcc_first
        jbe     1f
        incq    %rax
1:      jp      2f
        addq    $2, %rax
2:      ret
        shape_end jcc_first

        shape   call_next_pop
        call    1f
1:      popq    %rax
        leaq    1b(%rip), %rdx
        subq    %rdx, %rax
        ret
        shape_end call_next_pop
        shape   call_plus_5
        .byte   0xe8, 0, 0, 0, 0
        movq    (%rsp), %rax
        addq    $8, %rsp
        leaq    shape_call_plus_5(%rip), %rdx
        subq    %rdx, %rax
        ret
        shape_end call_plus_5
        shape   short_jump_first
        jmp     1f
        ud2
        .byte   0x06, 0x0e              // data: no instructions in 64-bit mode
        .size   shape_short_jump_first, .-shape_short_jump_first - 4
        shape   behind_the_data
1:      leaq    11(%rdi), %rax
        ret
        shape_end behind_the_data
        shape   jump_plus_0
        jmp     1f
1:      .byte   0xe9, 0, 0, 0, 0
        .byte   0xeb, 0
        leaq    1(%rdi), %rax
        ret
        shape_end jump_plus_0

        shape   rip_relative_first
        movq    datum(%rip), %rax
        addq    %rdi, %rax
        ret
        shape_end rip_relative_first
        shape   rip_relative_stores
        addq    %rdi, counter(%rip)
        lock incq counter(%rip)
        cmpq    $100, counter(%rip)
        sbbq    %rax, %rax
        movq    $0, counter(%rip)
        ret
        shape_end rip_relative_stores
        shape   call_first
        call    shape_push_pop_ret
        incq    %rax
        ret
        shape_end call_first
        shape   call_memory_first
        call    *pointer(%rip)
        incq    %rax
        ret
        shape_end call_memory_first
        shape   tail_jump
        jmp     shape_push_pop_ret
        shape_end tail_jump

        shape   pops_arguments
        movq    8(%rsp), %rax
        ret     $8
        shape_end pops_arguments
        shape   pushes_arguments
        pushq   %rdi
        call    shape_pops_arguments
        ret
        shape_end pushes_arguments
        shape   frame
        enter   $32, $0
        movq    %rdi, -8(%rbp)
        pushq   %rsp
        popq    %rax
        subq    %rbp, %rax
        addq    -8(%rbp), %rax
        leave
        ret
        shape_end frame
        shape   flags
        stc
        std
        pushfq
        cld
        clc
        popfq
        sbbq    %rax, %rax
        cld
        ret
        shape_end flags
        shape   red_zone                // what lies below rsp must survive each probe
        movq    %rdi, -8(%rsp)
        movq    %rdi, -128(%rsp)
        xorl    %eax, %eax
        addq    -8(%rsp), %rax
        addq    -128(%rsp), %rax
        ret
        shape_end red_zone
        shape   switch
        leaq    table(%rip), %rdx
        movl    %edi, %eax
        andl    $3, %eax
        movslq  (%rdx,%rax,4), %rax
        addq    %rdx, %rax
        notrack jmp *%rax
1:      movl    $10, %eax
        ret
2:      movl    $20, %eax
        ret
3:      leaq    (%rdi,%rdi,8), %rax
        ret
        shape_end switch
        shape   recursion
        cmpq    $1, %rdi
        ja      1f
        movl    $1, %eax
        ret
1:      pushq   %rdi
        decq    %rdi
        call    shape_recursion
        popq    %rdi
        imulq   %rdi, %rax
        ret
        shape_end recursion
        shape   strings
        movq    %rdi, %rcx
        leaq    text(%rip), %rdi
        leaq    -64(%rsp), %rsi
        xchgq   %rsi, %rdi
        rep movsb
        movzbl  -64(%rsp), %eax
        ret
        shape_end strings

// uint64_t shape_call(void (*function)(), uint64_t argument): rax and the arithmetic flags are known before.
        .globl  shape_call
        .type   shape_call, @function
shape_call:
        pushq   %rbx
        movq    %rsp, %rbx
        pushq   $77
        movq    %rdi, %r11
        movq    %rsi, %rdi
        movq    %rsi, %rcx
        movl    $0x1234, %eax
        testl   %eax, %eax
        call    *%r11
        movq    %rbx, %rsp              // the function may have popped the argument
        popq    %rbx
        ret
        .size   shape_call, .-shape_call

        .section .rodata
        .p2align 2
table:  .long   1b - table, 2b - table, 3b - table, 1b - table
text:   .ascii  "a text of some length, to be copied: as many bytes as are asked for"
datum:  .quad   0x1122334455667788
        .data
        .p2align 3
counter: .quad  0
pointer: .quad  shape_push_pop_ret

        .section .note.GNU-stack, "", @progbits
