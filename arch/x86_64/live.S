// Calls on behalf of the program, from a detour, where the vector registers are still the program's own.

#include "frame.h"
#include "vectors.h"

        .text

// live_result libprobe_call_live(const void* entry, const registers* regs, size_t stack_words): calls `entry` as the program
// would have, with a copy of the argument area; the vector registers are as they are.
        .p2align 4
        .globl libprobe_call_live
        .hidden libprobe_call_live
        .type libprobe_call_live, @function
libprobe_call_live:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        movq    %rdi, %r11
        movq    %rsi, %rax
        testq   %rdx, %rdx
        jz      2f
        // Equally aligned as what it is a copy of; but gcc aligns less for a local function that needs no more, and `entry`
        // may need it.
        movq    REGS_RSP(%rax), %rcx
        leaq    8(%rcx), %rcx           // the area
        leaq    (,%rdx,8), %rsi
        subq    %rsi, %rsp
        movq    %rsp, %rsi
        subq    %rcx, %rsi
        andq    $63, %rsi
        subq    %rsi, %rsp
        andq    $-16, %rsp
        .globl  libprobe_copy_live, libprobe_copy_live_next
        .hidden libprobe_copy_live, libprobe_copy_live_next
libprobe_copy_live:                     // what lies above the caller's frame may be another stack, and be unmapped now
1:      movq    -8(%rcx,%rdx,8), %rsi
        movq    %rsi, -8(%rsp,%rdx,8)
libprobe_copy_live_next:
        decq    %rdx
        jnz     1b
        jmp     3f
2:      andq    $-16, %rsp
3:      load_arguments %rax
        call    *%r11
        leave
        .cfi_def_cfa %rsp, 8
        ret
        .cfi_endproc
        .size libprobe_call_live, .-libprobe_call_live

// void libprobe_keep_result(registers* regs, unsigned result): vector registers 0 (bit 2) and 1 (bit 3) shall stay as they
// are now, though all will be loaded again.
        .p2align 4
        .globl libprobe_keep_result
        .hidden libprobe_keep_result
        .type libprobe_keep_result, @function
libprobe_keep_result:
        .cfi_startproc
        movq    REGS_XMM(%rdi), %rax
        movl    libprobe_vector_width(%rip), %ecx
        .irp    n, 0, 1
        testl   $(4 << \n), %esi
        jz      3f
        cmpl    $1, %ecx
        jb      1f
        ja      2f
        vmovaps %ymm\n, 64*\n(%rax)
        jmp     3f
1:      movaps  %xmm\n, 64*\n(%rax)
        jmp     3f
2:      vmovaps %zmm\n, 64*\n(%rax)
3:
        .endr
        ret
        .cfi_endproc
        .size libprobe_keep_result, .-libprobe_keep_result

// void libprobe_reload_vectors(const registers* regs, int halves): vector registers 0 to 7, which arguments come in, as they
// were saved; `halves`: of which only the low ones were.
        .p2align 4
        .globl libprobe_reload_vectors
        .hidden libprobe_reload_vectors
        .type libprobe_reload_vectors, @function
libprobe_reload_vectors:
        .cfi_startproc
        movq    REGS_XMM(%rdi), %rax
        testl   %esi, %esi
        jnz     1f
        cmpl    $1, libprobe_vector_width(%rip)
        jb      1f
        ja      2f
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        load_ymm \n
        .endr
        ret
1:
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        movaps  64*\n(%rax), %xmm\n
        .endr
        ret
2:
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7
        load_zmm \n
        .endr
        ret
        .cfi_endproc
        .size libprobe_reload_vectors, .-libprobe_reload_vectors

        .section .note.GNU-stack, "", @progbits
