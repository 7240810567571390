// What unwinders need beside unwind data: how they find the personality routines (src/hit/unwind.cpp), and where a slot lands. Nothing
// here runs at a hit.

        .text

// Where an exception goes on that reached a return slot: rax is the exception, rdx the true return address. As if the
// caller had called _Unwind_Resume where it called the function.
        .p2align 4
        .globl libprobe_throw_on
        .hidden libprobe_throw_on
        .type libprobe_throw_on, @function
libprobe_throw_on:
        .cfi_startproc
        .cfi_def_cfa_offset 0
        .cfi_register %rip, %rdx
        pushq   %rdx
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rip, -8
        movq    %rax, %rdi
        jmp     *_Unwind_Resume@GOTPCREL(%rip)
        .cfi_endproc
        .size libprobe_throw_on, .-libprobe_throw_on

.macro personality_reference name   // as compilers emit it: position-independent, shared between objects
        .hidden DW.ref.\name
        .weak DW.ref.\name
        .section .data.rel.local.DW.ref.\name, "awG", @progbits, DW.ref.\name, comdat
        .p2align 3
        .type DW.ref.\name, @object
        .size DW.ref.\name, 8
DW.ref.\name:
        .quad \name
.endm
        personality_reference libprobe_entry_personality
        personality_reference libprobe_handler_personality
        personality_reference libprobe_replacement_personality
        personality_reference libprobe_return_personality
        personality_reference libprobe_trap_personality

        .section .note.GNU-stack, "", @progbits
