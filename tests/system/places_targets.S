// Functions as people write them by hand: symbols without a type or a size, entries inside of others, data among code.
// Each takes a number in edi, and leaves one in eax.

        .text
        .globl  places_typed                    // without a size: what follows has an entry of its own all the same
        .type   places_typed, @function
places_typed:
        leal    1(%rdi), %eax
        ret
        .globl  places_untyped
places_untyped:                                 // as most assembly is
        leal    2(%rdi), %eax
        imull   $3, %eax, %eax
        ret
        .globl  places_untyped_again
places_untyped_again:                           // goes back into the one before
        addl    $1, %edi
        jmp     places_untyped

        .globl  places_sized
        .type   places_sized, @function
places_sized:
        addl    $10, %edi
        .globl  places_second
places_second:                                  // called, and fallen into
        leal    5(%rdi), %eax
        imull   $3, %eax, %eax
        ret
        .size   places_sized, . - places_sized

        .globl  places_outer                    // with a function inside that has a type and a size of its own
        .type   places_outer, @function
places_outer:
        testl   %edi, %edi
        js      .Linto_inner
        addl    $100, %edi
        .globl  places_inner
        .type   places_inner, @function
places_inner:
        nop
        incl    %edi
.Linto_inner:
        leal    9(%rdi), %eax
        nop
        addl    %edi, %eax
        ret
        .size   places_inner, . - places_inner
        .size   places_outer, . - places_outer

        .globl  places_with_flags               // falls into its second entry with a flag in use
        .type   places_with_flags, @function
places_with_flags:
        movl    $1, %eax
        cmpl    $7, %edi
        .globl  places_flags
places_flags:
        movl    $2, %ecx
        cmovel  %ecx, %eax
        ret
        .size   places_with_flags, . - places_with_flags

        // A table of distances in the middle, as bytes not all of which are instructions.
        .globl  places_switch
        .type   places_switch, @function
places_switch:
        cmpl    $3, %edi
        ja      .Ldefault
        leaq    places_table(%rip), %rdx
        movl    %edi, %ecx
        movslq  (%rdx,%rcx,4), %rax
        addq    %rdx, %rax
        jmp     *%rax
.Lcase_3:
        movl    $103, %eax
        ret
        .globl  places_table
places_table:
        .long   .Lcase_0 - places_table, .Lcase_1 - places_table, .Lcase_2 - places_table, .Lcase_3 - places_table
        .globl  places_table_end
.Lcase_0:
places_table_end:
        movl    $100, %eax
        ret
.Lcase_1:
        movl    $101, %eax
        ret
.Lcase_2:
        movl    $102, %eax
        ret
        .globl  places_switch_default
.Ldefault:
        movl    $-1, %eax
        ret
        .size   places_switch, . - places_switch

        // The same without any size, the table in front, by way of a register that another instruction adds to.
places_front_table:
        .long   .Lfront_0 - places_front_table, .Lfront_1 - places_front_table
        .globl  places_front
places_front:
        leaq    places_front_table(%rip), %r9
        andl    $1, %edi
        movslq  (%r9,%rdi,4), %r8
        addq    %r8, %r9
        jmp     *%r9
.Lfront_0:
        movl    $200, %eax
        ret
.Lfront_1:
        movl    $201, %eax
        ret

        // Data with a symbol's word for it, and code that nothing but a branch leads to.
        .globl  places_object
        .type   places_object, @function
places_object:
        jmp     .Lover
        .globl  places_constant
        .type   places_constant, @object
places_constant:
        .byte   0x06, 0x07, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f
        .size   places_constant, . - places_constant
.Lover:
        movl    %edi, %eax
        addl    places_constant(%rip), %eax
        ret
        .size   places_object, . - places_object

        // Data that nobody tells of: what is behind it is reached all the same.
        .globl  places_hidden_data
        .type   places_hidden_data, @function
places_hidden_data:
        jmp     .Lbehind
        .byte   0x06, 0x07
.Lbehind:
        leal    7(%rdi), %eax
        ret
        .size   places_hidden_data, . - places_hidden_data

        // No symbol in the middle, but somebody's pointer.
        .globl  places_pointed
        .type   places_pointed, @function
places_pointed:
        addl    $1, %edi
.Lpointed:
        leal    3(%rdi), %eax
        ret
        .size   places_pointed, . - places_pointed
        .globl  places_pointer
        .type   places_pointer, @function
places_pointer:
        leaq    .Lpointed(%rip), %rax
        ret
        .size   places_pointer, . - places_pointer

        // A branch leads behind a lock prefix, as libc has it.
        .globl  places_maybe_locked
        .type   places_maybe_locked, @function
places_maybe_locked:
        movl    $1, %eax
        testl   %edi, %edi
        je      .Lbehind_lock
        .byte   0xf0
.Lbehind_lock:
        xaddl   %eax, places_word(%rip)
        ret
        .size   places_maybe_locked, . - places_maybe_locked
        .local  places_word
        .comm   places_word, 4, 4

        .section .note.GNU-stack, "", @progbits
