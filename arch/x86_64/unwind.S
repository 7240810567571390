// What unwinders need beside unwind data: how they find the personality routines (src/hit/unwind.cpp), and where a slot lands. Nothing
// here runs at a hit.

        .hidden libprobe_on_unwound
        .text

// Where an unwinder that cleans up is sent at a return slot, as to a function's landing pad: rax is the exception, rdx
// leads to the true return address. The call ends here, when the unwinder has no more use for the slot. Then it goes on
// as if the caller had called _Unwind_Resume where it called the function.
        .p2align 4
        .globl libprobe_unwound
        .hidden libprobe_unwound
        .type libprobe_unwound, @function
libprobe_unwound:
        .cfi_startproc
        .cfi_def_cfa_offset 0
        .cfi_escape 0x10, 16, 2, 0x71, 0        // the return address: DW_CFA_expression, DW_OP_breg1 0
        pushq   (%rdx)
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rip, -8
        pushq   %rax
        .cfi_adjust_cfa_offset 8
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        andq    $-16, %rsp
        movq    %rdx, %rdi
        call    libprobe_on_unwound
        movq    %rbp, %rsp
        .cfi_def_cfa_register %rsp
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        popq    %rdi
        .cfi_adjust_cfa_offset -8
        jmp     *%rax
        .cfi_endproc
        .size libprobe_unwound, .-libprobe_unwound

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
