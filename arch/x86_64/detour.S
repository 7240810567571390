// What detours call: saves what handlers may clobber, runs them on the program's own stack, and goes back.
//
// Below the program's stack pointer: its red zone, the detour's address for us, the return address into the detour,
// a struct registers, room for the vector registers. The frame is a signal frame to unwinders: the program was
// interrupted at the probed instruction, and all its registers lie here.

#include "detour_frame.h"
#include "frame.h"
#include "return_slots.h"
#include "vectors.h"

#define CALLED (RED_ZONE + 16)      /* the program's stack pointer, seen from ours as we are called */
#define MXCSR_ REGS_SIZE            /* behind a struct registers */
#define MXCSR_NOW_ (REGS_SIZE + 4)
#define REGISTERS (REGS_SIZE + 16)
#define ABOUT_ (REGISTERS + 8)
#define FRAME (REGISTERS + CALLED)
#define NEXT_RETURN (RED_ZONE + 8)  /* where a return with RED_ZONE bytes to drop takes its address from */
#define NEXT_INSTRUCTION DETOUR_NEXT /* from the return address into the detour: what is about to run at the place */
#define ARITHMETIC 0x100            /* bits of a vector_use */
#define ORDINARY 0x200
#define UNUSUAL_FLAGS 0x44500       /* DF, NT and AC; TF, so that a program that steps itself does not step us */

        .hidden libprobe_on_detour, libprobe_on_detour_after, libprobe_on_detour_follow, libprobe_on_detour_replace
        .hidden libprobe_on_return

        .text
        .globl libprobe_detour_code
        .hidden libprobe_detour_code
libprobe_detour_code:

// void libprobe_save_vectors(registers* regs): for a handler that asks for them where none were saved, since nothing
// that ran until now can have touched them. rdi: the frame. Clobbers rax and rcx.
        .p2align 4
        .globl libprobe_save_vectors
        .type libprobe_save_vectors, @function
libprobe_save_vectors:
        .cfi_startproc
        leaq    -VECTOR_ROOM(%rdi), %rax
        andq    $-64, %rax
        movq    $64, REGS_VECTOR_STRIDE(%rdi)
        movq    $0, REGS_XSTATE_IN_USE(%rdi)
        movl    libprobe_vector_width(%rip), %ecx
        cmpl    $1, %ecx
        jb      1f
        leaq    16(%rax), %rcx
        movq    %rcx, REGS_YMM_UPPER(%rdi)
        ja      2f
        low_halves store_ymm
        movq    %rax, REGS_XMM(%rdi)
        ret
1:      movq    $0, REGS_YMM_UPPER(%rdi)
        low_halves store_xmm
        movq    %rax, REGS_XMM(%rdi)
        ret
2:      low_halves store_zmm
        movq    %rax, REGS_XMM(%rdi)
        ret
        .cfi_endproc
        .size libprobe_save_vectors, .-libprobe_save_vectors

// DW_CFA_expression: base + offset. A base is DW_OP_breg0 and a register's number.
#define BY_RBX 0x73
#define BY_RSP 0x77
.macro saved_at dwarf_number, base, offset
        .cfi_escape 0x10, \dwarf_number, 3, \base, ((\offset) & 0x7f) | 0x80, (\offset) >> 7
.endm

// All is where `base` points to, the program's stack pointer as well: a displaced call or return may have moved it.
.macro detour_cfi base=BY_RBX
        // DW_CFA_def_cfa_expression: base + offset, DW_OP_deref
        .cfi_escape 0x0f, 4, \base, (REGS_RSP & 0x7f) | 0x80, REGS_RSP >> 7, 0x06
        saved_at 0, \base, REGS_RAX
        saved_at 1, \base, REGS_RDX
        saved_at 2, \base, REGS_RCX
        saved_at 3, \base, REGS_RBX
        saved_at 4, \base, REGS_RSI
        saved_at 5, \base, REGS_RDI
        saved_at 6, \base, REGS_RBP
        saved_at 8, \base, REGS_R8
        saved_at 9, \base, REGS_R9
        saved_at 10, \base, REGS_R10
        saved_at 11, \base, REGS_R11
        saved_at 12, \base, REGS_R12
        saved_at 13, \base, REGS_R13
        saved_at 14, \base, REGS_R14
        saved_at 15, \base, REGS_R15
        saved_at 16, \base, REGS_RIP
.endm

// Where unwinders find the next instruction's address, before it is in the frame: *(*(rsp + offset) + NEXT_INSTRUCTION).
// DW_CFA_val_expression.
#define ADDRESS_IS_AT(offset) \
        .cfi_escape 0x16, 16, 7, 0x77, ((offset) & 0x7f) | 0x80, (offset) >> 7, 0x06, 0x23, NEXT_INSTRUCTION, 0x06

.macro address_above bytes
        ADDRESS_IS_AT(\bytes)
.endm

.macro detour_cfi_live          // nothing lies there any more, or below what a signal leaves alone
        .irp    name, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        .cfi_same_value %\name
        .endr
.endm

// popf is several times slower. ecx: the flags
.macro arithmetic_flags
        movl    %ecx, %eax
        shrl    $11, %eax
        movb    %cl, %ah
        andb    $1, %al
        addb    $0x7f, %al              // sets OF as it was
        sahf
.endm

// The x87's control and status words. rbx: the frame. Clobbers eax.
.macro x87_words to
        fnstsw  %ax
        shll    $16, %eax
        fnstcw  MXCSR_NOW_(%rbx)
        movw    MXCSR_NOW_(%rbx), %ax
        movl    %eax, \to
.endm

// int libprobe_run_saving(regs, about, -, bits) with r14 the handler and rbx, as rdi, the frame: saves what `bits` (a
// vector_use) says, calls handler(regs, about, vectors, bits), and restores it. Clobbers what a function may, and r12.
        .p2align 4
        .type libprobe_run_saving, @function
libprobe_run_saving:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        andq    $-64, %rsp
        movl    %ecx, %r12d
        testl   $ARITHMETIC, %ecx
        jz      1f
        stmxcsr MXCSR_(%rbx)
1:      movzbl  %cl, %eax
        testl   %eax, %eax
        jz      4f
        cmpl    $LOW_FILE, %eax
        jb      3f
        cmpl    $EVERYTHING, %eax
        je      8f
        movl    %eax, %edx
        call    libprobe_save_vectors
        cmpl    $EVERY_FILE, %edx
        jb      4f
        cmpl    $2, libprobe_vector_width(%rip)
        jb      4f
        leaq    -HIGH_ROOM(%rsp), %rsp
        movq    %rsp, %rax
        high_file store_high
        masks   store_mask
        jmp     4f
3:      leaq    -VECTOR_ROOM(%rbx), %rax
        andq    $-64, %rax
        movq    %rax, REGS_XMM(%rbx)
        movq    $64, REGS_VECTOR_STRIDE(%rbx)
        movq    $0, REGS_YMM_UPPER(%rbx)
        movq    $0, REGS_XSTATE_IN_USE(%rbx)
        low_halves store_xmm
4:      movl    %r12d, %eax
        andl    $(ORDINARY | ARITHMETIC | 0xff), %eax
        cmpl    $(ORDINARY | ARITHMETIC | EVERY_FILE), %eax
        jne     9f
        x87_words %r13d                 // whatever such a handler calls, libm's fesetround() for one
9:      xorl    %edx, %edx
        movl    %r12d, %ecx
        call    *%r14
        movl    %eax, %ecx
        movl    %r12d, %eax
        andl    $(ORDINARY | ARITHMETIC | 0xff), %eax
        cmpl    $(ORDINARY | ARITHMETIC | EVERY_FILE), %eax
        jne     9f
        x87_words %edx
        cmpl    %r13d, %edx
        jne     12f
9:
        testl   $ARITHMETIC, %r12d
        jz      5f
        stmxcsr MXCSR_NOW_(%rbx)
        movl    MXCSR_(%rbx), %eax
        cmpl    %eax, MXCSR_NOW_(%rbx)
        je      5f
        ldmxcsr MXCSR_(%rbx)
5:      testb   %r12b, %r12b
        jz      10f
        cmpb    $LOW_FILE, %r12b
        jb      7f
        cmpb    $EVERY_FILE, %r12b
        jb      6f
        cmpl    $2, libprobe_vector_width(%rip)
        jb      6f
        movq    %rsp, %rax
        high_file load_high
        masks   load_mask
6:      call    libprobe_load_vectors
        jmp     11f
7:      movq    REGS_XMM(%rbx), %rax
        low_halves load_xmm
        jmp     11f
10:     cmpq    $0, REGS_XMM(%rbx)           // a handler may have asked for them
        jne     6b
11:     movl    %ecx, %eax
        movq    %rbp, %rsp
        popq    %rbp
        .cfi_remember_state
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        ret
        .cfi_restore_state
12:     subq    $32, %rsp
        fnstenv (%rsp)
        movw    %r13w, (%rsp)
        shrl    $16, %r13d
        movw    %r13w, 4(%rsp)
        fldenv  (%rsp)
        addq    $32, %rsp
        jmp     9b
8:      movq    %rsi, %r13
        save_vectors
        movq    %rbx, %rdi
        movq    %r13, %rsi
        movq    %rsp, %rdx
        movl    %r12d, %ecx
        call    *%r14
        movl    %eax, %ecx
        movq    %rsp, %rsi
        restore_vectors %rsi
        jmp     11b
        .cfi_endproc
        .size libprobe_run_saving, .-libprobe_run_saving

// Loads what libprobe_save_vectors saved. rbx: the frame. Clobbers rax.
        .p2align 4
        .type libprobe_load_vectors, @function
libprobe_load_vectors:
        .cfi_startproc
        movq    REGS_XMM(%rbx), %rax
        cmpl    $1, libprobe_vector_width(%rip)
        jb      1f
        ja      2f
        low_halves load_ymm
        ret
1:      low_halves load_xmm
        ret
2:      low_halves load_zmm
        ret
        .cfi_endproc
        .size libprobe_load_vectors, .-libprobe_load_vectors

// Makes room for the frame, with the flags in their place. `note` is told how far rsp is below where it was.
.macro no_note bytes
.endm
.macro open_frame note=no_note
        leaq    REGS_RFLAGS+8-REGISTERS(%rsp), %rsp
        .cfi_adjust_cfa_offset REGISTERS-REGS_RFLAGS-8
        \note  (REGISTERS-REGS_RFLAGS-8)
        pushfq
        .cfi_adjust_cfa_offset 8
        \note  (REGISTERS-REGS_RFLAGS)
        leaq    -REGS_RFLAGS(%rsp), %rsp
        .cfi_adjust_cfa_offset REGS_RFLAGS
        \note  REGISTERS
.endm

// From here on rbx is the frame, and rsp below it and below the room for the vector registers.
.macro begin_frame cfi:vararg
        movq    %rsp, %rbx
        \cfi
        testl   $UNUSUAL_FLAGS, REGS_RFLAGS(%rbx)
        jz      9f
        pushq   $2                      // compiled code wants them clear
        popfq
9:      movq    $0, REGS_XMM(%rbx)          // the words behind it mean something only where this one does
.endm
.macro make_room
        leaq    -VECTOR_ROOM(%rbx), %rsp
        andq    $-64, %rsp
.endm

// A detour's handlers. Those that throw cannot be carried through the middle of a function; but those in ordinary context,
// at a function's entry, can: they have unwind data of their own.
.macro detour name, handler, personality=libprobe_entry_personality
        .p2align 6
        .globl \name
        .hidden \name
        .type \name, @function
\name:
        .cfi_startproc
        .cfi_signal_frame
        .cfi_personality 0x9b, DW.ref.libprobe_handler_personality
        .cfi_def_cfa %rsp, CALLED
        ADDRESS_IS_AT(0)
        open_frame address_above
        save_integers
        movq    ABOUT_(%rsp), %rsi
        leaq    FRAME(%rsp), %rcx
        movq    %rcx, REGS_RSP(%rsp)
        movq    REGISTERS(%rsp), %rcx
        movq    NEXT_INSTRUCTION(%rcx), %rcx
        movq    %rcx, REGS_RIP(%rsp)
        begin_frame detour_cfi
        make_room
        movl    DETOUR_VECTORS(%rsi), %ecx
        movq    %rbx, %rdi
        xorl    %edx, %edx
        testl   %ecx, %ecx
        jnz     2f
        call    \handler
        cmpq    $0, REGS_XMM(%rbx)
        jne     3f
1:      testl   %eax, %eax
        jnz     5f
        movl    REGS_RFLAGS(%rbx), %ecx
        testl   $UNUSUAL_FLAGS, %ecx
        jnz     4f
        arithmetic_flags
8:      movq    %rbx, %rsp
        detour_cfi BY_RSP
        restore_integers %rsp
        leaq    REGISTERS(%rsp), %rsp
        .cfi_def_cfa %rsp, CALLED
        ADDRESS_IS_AT(0)
        detour_cfi_live
        ret
        detour_cfi
2:      leaq    \handler(%rip), %r14
        testl   $ORDINARY, %ecx
        jnz     \name\()_ordinary
        call    libprobe_run_saving
        jmp     1b
3:      movl    %eax, %ecx              // a handler asked for the vector registers
        call    libprobe_load_vectors
        movl    %ecx, %eax
        jmp     1b
4:      pushq   %rcx
        popfq
        jmp     8b
        // The program goes on at the registers as they are now. A return pops the address from below the red zone, so
        // that nothing in use ever lies below the stack pointer; where our frame is in the way, iretq does it.
5:      testl   $UNUSUAL_FLAGS, REGS_RFLAGS(%rbx)
        jnz     6f
        movq    REGS_RSP(%rbx), %rcx
        leaq    -NEXT_RETURN(%rcx), %rcx
        leaq    REGISTERS-16(%rbx), %rdx
        cmpq    %rdx, %rcx
        jb      6f
        movq    REGS_RIP(%rbx), %rdx
        movq    %rdx, (%rcx)
        movq    %rcx, REGS_XMM(%rbx)         // which has been seen to; REGS_RSP is for unwinders
        movl    REGS_RFLAGS(%rbx), %ecx
        arithmetic_flags
        movq    %rbx, %rsp
        detour_cfi BY_RSP
        restore_integers %rsp
        movq    REGS_XMM(%rsp), %rsp
        .cfi_def_cfa %rsp, NEXT_RETURN
        .cfi_offset %rip, -NEXT_RETURN
        detour_cfi_live
        ret     $RED_ZONE
        detour_cfi
6:      movq    %rbx, %rsp
        pushq   $USER_SS
        pushq   REGS_RSP(%rbx)
        pushq   REGS_RFLAGS(%rbx)
        pushq   $USER_CS
        pushq   REGS_RIP(%rbx)
        restore_integers %rbx
        .cfi_escape 0x0f, 3, BY_RSP, 24, 0x06   // DW_CFA_def_cfa_expression: rsp + 24, DW_OP_deref
        .cfi_escape 0x10, 16, 2, BY_RSP, 0      // DW_CFA_expression: rsp
        detour_cfi_live
        iretq
        .cfi_endproc

        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.\personality
        frame_cfi FRAME + 8             // the caller's, where the function begins
\name\()_ordinary:
        call    libprobe_run_saving
        jmp     1b
        .cfi_endproc
        .size \name, .-\name
.endm

        detour libprobe_detour_before, libprobe_on_detour
        detour libprobe_detour_after, libprobe_on_detour_after
        detour libprobe_detour_follow, libprobe_on_detour_follow
        detour libprobe_detour_replace, libprobe_on_detour_replace, libprobe_replacement_personality

// Where the return slots go: a followed call has returned. On the stack: the slot's number, then the true return address.
// Everything but what `libprobe_on_return` changes is as the function left it. (Behind a return nothing is in use below
// the stack pointer.)
#define RETURN_FRAME (REGISTERS + 16)
        .p2align 6
        .globl libprobe_return_entry
        .hidden libprobe_return_entry
        .type libprobe_return_entry, @function
libprobe_return_entry:
        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.libprobe_entry_personality
        .cfi_def_cfa_offset 16
        open_frame
        save_integers
        leaq    RETURN_FRAME(%rsp), %rcx
        movq    %rcx, REGS_RSP(%rsp)
        movq    RETURN_FRAME-8(%rsp), %rcx
        movq    %rcx, REGS_RIP(%rsp)
        movq    RETURN_FRAME-16(%rsp), %rsi
        begin_frame frame_cfi RETURN_FRAME
        make_room
        leaq    libprobe_return_vectors(%rip), %rcx
        movzwl  (%rcx,%rsi,4), %ecx
        movq    %rbx, %rdi
        xorl    %edx, %edx
        testl   %ecx, %ecx
        jnz     2f
        call    libprobe_on_return
        cmpq    $0, REGS_XMM(%rbx)
        jne     3f
1:      movq    REGS_RIP(%rbx), %rcx
        movq    %rcx, RETURN_FRAME-8(%rbx)
        movl    REGS_RFLAGS(%rbx), %ecx
        testl   $UNUSUAL_FLAGS, %ecx
        jnz     4f
        arithmetic_flags
8:      movq    %rbx, %rsp
        .cfi_def_cfa_register %rsp
        restore_integers %rsp
        leaq    RETURN_FRAME-8(%rsp), %rsp
        .cfi_def_cfa_offset 8
        .cfi_restore %rbx
        .cfi_restore %rbp
        .cfi_restore %r12
        .cfi_restore %r13
        .cfi_restore %r14
        .cfi_restore %r15
        ret
        frame_cfi RETURN_FRAME
2:      leaq    libprobe_on_return(%rip), %r14
        call    libprobe_run_saving
        jmp     1b
3:      call    libprobe_load_vectors
        jmp     1b
4:      pushq   %rcx
        popfq
        jmp     8b
        .cfi_endproc
        .size libprobe_return_entry, .-libprobe_return_entry

        .globl libprobe_detour_code_end
        .hidden libprobe_detour_code_end
libprobe_detour_code_end:

        .bss
        .p2align 6
        .globl libprobe_return_vectors  // by slot: see return_slots.h
        .hidden libprobe_return_vectors
libprobe_return_vectors:
        .skip   4 * 128 * RETURN_CHUNKS

        .section .note.GNU-stack, "", @progbits
