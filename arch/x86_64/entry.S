// Where the kernel enters libprobe, and how it leaves again without sigreturn.

#include "offsets.h"

#define SW_XFEATURES 472            /* in the FXSAVE area: sw_reserved.xstate_bv, see asm/sigcontext.h */
#define USER_CS 0x33
#define USER_SS 0x2b
#define FLAG_NT 0x4000
#define FLAG_AC 0x40000

        .text

// void libprobe_trap_entry(int signo, siginfo_t* info, void* context), and for other signals.
//
// First of all a frame is put where other signals find it: what it shows may be libprobe's own code, which no unwinder
// knows. Until that is done arch::frame_in_hand() finds it in rdx.
.macro signal_entry name, handler
        .p2align 4
        .globl \name
        .hidden \name
        .hidden \handler
        .type \name, @function
\name:
        .cfi_startproc
        endbr64
        movq    libprobe_untold@gottpoff(%rip), %rax
        movq    %fs:(%rax), %rcx
        movq    %rcx, UC_LINK(%rdx)
        movq    %rdx, %fs:(%rax)
        jmp     \handler
        .cfi_endproc
        .size \name, .-\name
.endm
        .globl libprobe_entries, libprobe_entries_end
        .hidden libprobe_entries, libprobe_entries_end, libprobe_untold
libprobe_entries:
        signal_entry libprobe_trap_entry, libprobe_run_trap
        signal_entry libprobe_fault_entry, libprobe_on_fault
        signal_entry libprobe_signal_entry, libprobe_on_signal
        signal_entry libprobe_hold_entry, libprobe_on_hold
libprobe_entries_end:

// sigreturn costs a system call that restores the signal mask (which SA_NODEFER with an empty sa_mask left alone),
// the extended state and the integer state. All of that can be done here. iretq loads rip, rflags and rsp
// together, so nothing is ever written near the program's stack and its red zone. The labels are for arch::frame_in_hand().
        .p2align 4
        .hidden libprobe_run_trap
        .type libprobe_run_trap, @function
libprobe_run_trap:
        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.libprobe_trap_personality
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        movq    %rdx, %rbx
        // The kernel leaves the program's NT and AC set: with NT iretq faults, with AC compiled code may.
        testl   $(FLAG_NT | FLAG_AC), UC_EFL(%rdx)
        jnz     2f
3:      call    libprobe_on_trap
        .globl libprobe_resume, libprobe_resume_jump, libprobe_resume_end, libprobe_return_pop, libprobe_return_end
        .hidden libprobe_resume, libprobe_resume_jump, libprobe_resume_end, libprobe_return_pop, libprobe_return_end
libprobe_resume:
        movq    libprobe_untold@gottpoff(%rip), %rcx
        movq    UC_LINK(%rbx), %rdx
        movq    %rdx, %fs:(%rcx)
        testl   %eax, %eax
        jz      libprobe_return
        movq    UC_FPREGS(%rbx), %rcx
        movl    SW_XFEATURES(%rcx), %eax
        movl    SW_XFEATURES+4(%rcx), %edx
        xrstor64 (%rcx)
        .cfi_remember_state
        .cfi_def_cfa %rbx, 0            // the kernel's frame: a return address, then the context
        pushq   $USER_SS
        pushq   UC_RSP(%rbx)
        pushq   UC_EFL(%rbx)
        pushq   $USER_CS
        pushq   UC_RIP(%rbx)
        movq    UC_R8(%rbx), %r8
        movq    UC_R9(%rbx), %r9
        movq    UC_R10(%rbx), %r10
        movq    UC_R11(%rbx), %r11
        movq    UC_R12(%rbx), %r12
        movq    UC_R13(%rbx), %r13
        movq    UC_R14(%rbx), %r14
        movq    UC_R15(%rbx), %r15
        movq    UC_RDI(%rbx), %rdi
        movq    UC_RSI(%rbx), %rsi
        movq    UC_RBP(%rbx), %rbp
        movq    UC_RDX(%rbx), %rdx
        movq    UC_RAX(%rbx), %rax
        movq    UC_RCX(%rbx), %rcx
        movq    UC_RBX(%rbx), %rbx
libprobe_resume_jump:
        .cfi_def_cfa %rsp, 56           // six words pushed since the kernel's return address
        iretq
libprobe_resume_end:
        .cfi_restore_state
libprobe_return:
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
libprobe_return_pop:
        ret                             // to the restorer, which calls sigreturn
libprobe_return_end:
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
2:      pushq   $2
        .cfi_adjust_cfa_offset 8
        popfq
        .cfi_adjust_cfa_offset -8
        jmp     3b
        .cfi_endproc
        .size libprobe_run_trap, .-libprobe_run_trap

// uint64_t libprobe_call_confined(const void* handler, void* a, void* b, int c)
        .p2align 4
        .globl libprobe_call_confined
        .hidden libprobe_call_confined
        .type libprobe_call_confined, @function
libprobe_call_confined:
        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.libprobe_handler_personality
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movl    %ecx, %edx
        call    *%rax
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        ret
        .cfi_endproc
        .size libprobe_call_confined, .-libprobe_call_confined

// bool guarded_load(from, to): its one load may fault; the fault handlers then go on at libprobe_guarded_exit.
        .p2align 4
        .globl libprobe_guarded_load
        .hidden libprobe_guarded_load
        .type libprobe_guarded_load, @function
libprobe_guarded_load:
        .cfi_startproc
        .globl libprobe_guarded_access
        .hidden libprobe_guarded_access
libprobe_guarded_access:
        movq    (%rdi), %rax
        movq    %rax, (%rsi)
        movl    $1, %eax
        ret
        .globl libprobe_guarded_exit
        .hidden libprobe_guarded_exit
libprobe_guarded_exit:
        xorl    %eax, %eax
        ret
        .cfi_endproc
        .size libprobe_guarded_load, .-libprobe_guarded_load

// The same through the stack segment, as operands based on rsp and rbp are: an address that no page can have raises
// #SS there, not #GP.
        .p2align 4
        .globl libprobe_guarded_stack_load
        .hidden libprobe_guarded_stack_load
        .type libprobe_guarded_stack_load, @function
libprobe_guarded_stack_load:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rdi, %rbp
        .globl libprobe_guarded_stack_access
        .hidden libprobe_guarded_stack_access
libprobe_guarded_stack_access:
        movq    (%rbp), %rax
        movq    %rax, (%rsi)
        movl    $1, %eax
        popq    %rbp
        .cfi_remember_state
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_restore_state
        .globl libprobe_guarded_stack_exit
        .hidden libprobe_guarded_stack_exit
libprobe_guarded_stack_exit:
        xorl    %eax, %eax
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_endproc
        .size libprobe_guarded_stack_load, .-libprobe_guarded_stack_load

// The signal frame's return address. gdb and libgcc know a signal frame by these very bytes; libunwind needs unwind data
// that says where the kernel saved the registers, as libc's own has. All look one byte before a return address for it, so
// the data begins with a byte that nobody runs.
        .p2align 4
        .globl libprobe_restorer
        .hidden libprobe_restorer
        .type libprobe_restorer, @function
.macro saved_in_context dwarf_number, offset    // DW_CFA_expression: DW_OP_breg7 offset; rsp is the context's address
        .cfi_escape 0x10, \dwarf_number, 3, 0x77, 0x80 | ((\offset) & 0x7f), (\offset) >> 7
.endm
        .cfi_startproc simple
        .cfi_signal_frame
        // DW_CFA_def_cfa_expression: DW_OP_breg7 offset, DW_OP_deref
        .cfi_escape 0x0f, 4, 0x77, 0x80 | ((UC_RSP) & 0x7f), (UC_RSP) >> 7, 0x06
        saved_in_context 0, UC_RAX
        saved_in_context 1, UC_RDX
        saved_in_context 2, UC_RCX
        saved_in_context 3, UC_RBX
        saved_in_context 4, UC_RSI
        saved_in_context 5, UC_RDI
        saved_in_context 6, UC_RBP
        saved_in_context 7, UC_RSP
        saved_in_context 8, UC_R8
        saved_in_context 9, UC_R9
        saved_in_context 10, UC_R10
        saved_in_context 11, UC_R11
        saved_in_context 12, UC_R12
        saved_in_context 13, UC_R13
        saved_in_context 14, UC_R14
        saved_in_context 15, UC_R15
        saved_in_context 16, UC_RIP
        nop
libprobe_restorer:
        movq    $15, %rax               // __NR_rt_sigreturn
        syscall
        .globl libprobe_restorer_end
        .hidden libprobe_restorer_end
libprobe_restorer_end:
        .cfi_endproc
        .size libprobe_restorer, .-libprobe_restorer

        .section .note.GNU-stack, "", @progbits
