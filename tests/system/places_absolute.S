// Tables of addresses: of a program that is linked to a fixed one, and of a library whose loader writes into its text.

        .text
        .globl  places_addresses
        .type   places_addresses, @function
places_addresses:
        andl    $1, %edi
#ifdef PLACES_FIXED
        jmp     *places_address_table(,%rdi,8)
#else
        leaq    .Ltable(%rip), %rdx
        jmp     *(%rdx,%rdi,8)
#endif
        .globl  places_address_table
places_address_table:
.Ltable:
        .quad   .Laddress_0, .Laddress_1
.Laddress_0:
        movl    $300, %eax
        ret
.Laddress_1:
        movl    $301, %eax
        ret
        .size   places_addresses, . - places_addresses

#ifndef PLACES_FIXED
        .globl  places_quad                     // nothing but the loader tells of it
        .type   places_quad, @function
places_quad:
        jmp     .Lbehind_quad
places_relocated:
        .quad   places_relocated
.Lbehind_quad:
        leal    1(%rdi), %eax
        ret
        .size   places_quad, . - places_quad
        .globl  places_relocated_place
        .type   places_relocated_place, @function
places_relocated_place:
        leaq    places_relocated(%rip), %rax
        ret
        .size   places_relocated_place, . - places_relocated_place

        .globl  places_operand                  // the loader writes into an instruction here
        .type   places_operand, @function
places_operand:
        movabsq $places_operand, %rax
        ret
        .size   places_operand, . - places_operand
#endif

        .section .note.GNU-stack, "", @progbits
