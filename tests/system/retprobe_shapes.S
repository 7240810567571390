// Functions that begin with one instruction of each kind, and callers that keep values where a function may
// not leave them.

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

// Each: x -> x + 1, so long as x is not 0.
function shape_jmp_short
        jmp     1f
        ud2
1:      lea     1(%rdi), %rax
        ret
done shape_jmp_short

function shape_jmp_near
        jmp     shape_plain             // a tail call
done shape_jmp_near

function shape_jmp_indirect
        jmp     *shape_target(%rip)
done shape_jmp_indirect

function shape_jcc
        jz      1f                      // whatever the flags are
1:      lea     1(%rdi), %rax
        ret
done shape_jcc

function shape_jrcxz
        jrcxz   1f
1:      lea     1(%rdi), %rax
        ret
done shape_jrcxz

function shape_loop
        loop    1f
1:      lea     1(%rdi), %rax
        ret
done shape_loop

function shape_call
        call    1f                      // reads the pc
1:      .cfi_adjust_cfa_offset 8
        pop     %rcx
        .cfi_adjust_cfa_offset -8
        lea     1b(%rip), %rdx
        sub     %rdx, %rcx
        lea     1(%rdi,%rcx), %rax
        ret
done shape_call

function shape_call_function
        call    shape_plain             // on a misaligned stack: it does not mind
        ret
done shape_call_function

function shape_call_indirect
        call    *shape_target(%rip)
        ret
done shape_call_indirect

function shape_ret
        ret                             // rax is the caller's
done shape_ret

function shape_rep_ret
        rep ret
done shape_rep_ret

function shape_push
        push    %rdi
        .cfi_adjust_cfa_offset 8
        pop     %rax
        .cfi_adjust_cfa_offset -8
        inc     %rax
        ret
done shape_push

function shape_sub_rsp
        sub     $24, %rsp
        .cfi_adjust_cfa_offset 24
        lea     1(%rdi), %rax
        add     $24, %rsp
        .cfi_adjust_cfa_offset -24
        ret
done shape_sub_rsp

function shape_endbr
        endbr64
        lea     1(%rdi), %rax
        ret
done shape_endbr

function shape_rip_relative
        mov     shape_one(%rip), %rax
        add     %rdi, %rax
        ret
done shape_rip_relative

function shape_compare_rip
        cmpq    $1, shape_one(%rip)
        sete    %al
        movzbl  %al, %eax
        add     %rdi, %rax
        ret
done shape_compare_rip

function shape_reads_the_return_address
        mov     (%rsp), %rcx
        lea     1(%rdi), %rax
        ret
done shape_reads_the_return_address

function shape_plain
        lea     1(%rdi), %rax
        ret
done shape_plain

// Takes its stack argument away: called with x in the argument area.
function shape_ret_imm
        mov     8(%rsp), %rax
        inc     %rax
        ret     $8
done shape_ret_imm
function shape_calls_ret_imm
        push    %rdi
        .cfi_adjust_cfa_offset 8
        call    shape_ret_imm
        .cfi_adjust_cfa_offset -8
        ret
done shape_calls_ret_imm

// uint64_t keeps_everything(void (*function)()): calls it with values in every register but rax, rsp and rbp,
// and says which of them were lost: bits 0-15 integers by number, 16-31 xmm, 32 the direction flag.
function keeps_everything
        push    %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_offset %rbp, -16
        mov     %rsp, %rbp
        .cfi_def_cfa_register %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        push    %rdi                    // -48(%rbp)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     $(0x1111111111 * (\n + 1)), %rax
        movq    %rax, %xmm\n
        punpcklqdq %xmm\n, %xmm\n
        .endr
        mov     $0x101, %rbx
        mov     $0x102, %rcx
        mov     $0x103, %rdx
        mov     $0x104, %rsi
        mov     $0x105, %rdi
        mov     $0x108, %r8
        mov     $0x109, %r9
        mov     $0x10a, %r10
        mov     $0x10b, %r11
        mov     $0x10c, %r12
        mov     $0x10d, %r13
        mov     $0x10e, %r14
        mov     $0x10f, %r15
        call    *-48(%rbp)
        mov     $0, %eax
        .macro  check value, register, bit
        cmp     $\value, \register
        je      7f
        bts     $\bit, %rax
7:
        .endm
        check   0x101, %rbx, 3
        check   0x102, %rcx, 1
        check   0x103, %rdx, 2
        check   0x104, %rsi, 6
        check   0x105, %rdi, 7
        check   0x108, %r8, 8
        check   0x109, %r9, 9
        check   0x10a, %r10, 10
        check   0x10b, %r11, 11
        check   0x10c, %r12, 12
        check   0x10d, %r13, 13
        check   0x10e, %r14, 14
        check   0x10f, %r15, 15
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     $(0x1111111111 * (\n + 1)), %rcx
        movq    %xmm\n, %rdx
        psrldq  $8, %xmm\n
        movq    %xmm\n, %rsi
        cmp     %rcx, %rdx
        jne     6f
        cmp     %rcx, %rsi
        je      7f
6:      bts     $(16 + \n), %rax
7:
        .endr
        pop     %rdi
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        .cfi_def_cfa %rsp, 8
        ret
done keeps_everything

// uint64_t keeps_upper_halves(void (*function)()): the same for ymm0 to ymm15, as bits 0 to 15.
function keeps_upper_halves
        sub     $40, %rsp
        .cfi_adjust_cfa_offset 40
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     $(0x1111111111 * (\n + 1)), %rax
        vmovq   %rax, %xmm\n
        vinsertf128 $1, %xmm\n, %ymm\n, %ymm\n
        .endr
        call    *%rdi
        mov     $0, %eax
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        mov     $(0x1111111111 * (\n + 1)), %rcx
        vmovq   %xmm\n, %rdx
        vextractf128 $1, %ymm\n, %xmm\n
        vmovq   %xmm\n, %rsi
        cmp     %rcx, %rdx
        jne     6f
        cmp     %rcx, %rsi
        je      7f
6:      bts     $\n, %rax
7:
        .endr
        vzeroupper
        add     $40, %rsp
        .cfi_adjust_cfa_offset -40
        ret
done keeps_upper_halves

function keeps_nothing_to_do
        nop
        ret
done keeps_nothing_to_do

// The kernel's question: a function whose caller's flags matter. Returns the carry flag that it was called with.
function shape_flags
        setc    %al
        movzbl  %al, %eax
        stc
        ret
done shape_flags
// Calls it with carry set, and adds the carry that it returned with.
function shape_calls_flags
        stc
        call    shape_flags
        adc     $0, %rax
        ret
done shape_calls_flags

        .section .data.rel, "aw"
        .p2align 3
shape_target:
        .quad   shape_plain
shape_one:
        .quad   1

        .section .note.GNU-stack, "", @progbits
