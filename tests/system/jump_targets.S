// Functions whose bytes decide which tactics are left for a jump. What a jump must not reach is this file's own text: zeros
// as the highest bytes of its distance lead there.

        .section .text.jump_targets, "ax", @progbits

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
.macro site name
        .globl  \name
\name:
.endm

// int (int x): x + 7
function jump_over_long
        mov     $7, %eax
        add     %edi, %eax
        ret
done jump_over_long

// long (long x): x + 9. The highest byte of the distance is the ret's.
function jump_punned
        lea     9(%rdi), %rax
        ret
done jump_punned

// long (long x, unsigned char* p): *p += (char)p, as often as it is written below; x. All of these leave rax and rdi alone.
.macro with_pointer name
        function \name
        mov     %rsi, %rax
        call    \name\()_site
        mov     %rcx, %rax
        ret
        done \name
        function \name\()_site
.endm

with_pointer jump_prefixed              // once
        mov     %rdi, %rcx              // zeros behind it lead into this text; with a prefix the ret's byte does not
        add     %al, (%rax)
        ret
done jump_prefixed_site

with_pointer jump_several_one           // twice; boundaries at 1 and 3
        nop
        add     %al, (%rax)
        add     %al, (%rax)
        mov     %rdi, %rcx
        ret
done jump_several_one_site

with_pointer jump_several_two           // three times; a boundary at 2
        mov     %edi, %ecx
        add     %al, (%rax)
        add     %al, (%rax)
        add     %al, (%rax)
        ret
done jump_several_two_site

with_pointer jump_nowhere               // twice; its second instruction has a jump, it has none: a branch leads there
        nop
1:      add     %al, (%rax)
        add     %al, (%rax)
        mov     %rdi, %rcx
        ret
        jmp     1b
done jump_nowhere_site

with_pointer jump_over_ud2              // once, if somebody skips the ud2
        nop
        ud2
        add     %al, (%rax)
        mov     %rdi, %rcx
        ret
done jump_over_ud2_site

// long (long x, unsigned char* p, const void* where): goes on at `where`, as a _site would be entered.
function jump_into
        mov     %rsi, %rax
        mov     %rdi, %rcx
        call    *%rdx
        mov     %rcx, %rax
        ret
done jump_into

// The same, but it waits in a loop that it never leaves: a signal handler sends it on, with rax and rcx as they were.
function jump_parked
        mov     %rsi, %rax
        mov     %rdi, %rcx
        call    jump_wait
        mov     %rcx, %rax
        ret
done jump_parked
function jump_wait
1:      mov     $34, %eax               // pause()
        syscall
        jmp     1b
        .globl  jump_wait_end
jump_wait_end:
done jump_wait

// int (int x): short instructions, one after the other
function jump_short
        mov     %edi, %eax
        add     %eax, %eax
        inc     %eax
        add     $3, %eax
        push    %rdi
        neg     %eax
        not     %eax
        pop     %rdx
        xor     %edx, %eax
        lea     1(%rax), %eax
        ret
done jump_short

// int (int x, int n): x << n, by a branch to the second instruction
.macro back_loop name, gap
        function \name
        mov     %edi, %eax
        site \name\()_boundary
1:      add     %eax, %eax
        .if \gap
        .fill \gap, 1, 0x90
        .endif
        dec     %esi
        jnz     1b
        ret
        done \name
.endm
        back_loop jump_loop_near, 0
        back_loop jump_loop_middle, 110
        back_loop jump_loop_far, 300

// the same, backwards over the probe: the branch comes before it
function jump_loop_ahead
        jmp     2f
        .fill   100, 1, 0x90
1:      dec     %esi
        jnz     3f
        ret
        site jump_loop_ahead_site
2:      mov     %edi, %eax
        site jump_loop_ahead_boundary
3:      add     %eax, %eax
        jmp     1b
done jump_loop_ahead

// int (int x): x + 7, the jump over the end of a cache line, and over the end of a page
.macro at_end_of name, bits, before
        .p2align \bits
        .fill   (1 << \bits) - \before, 1, 0xcc
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        mov     $7, %eax
        add     %edi, %eax
        ret
        done \name
.endm
        at_end_of jump_line_1, 6, 1
        at_end_of jump_line_2, 6, 2
        at_end_of jump_line_3, 6, 3
        at_end_of jump_line_4, 6, 4
        at_end_of jump_page_1, 12, 1
        at_end_of jump_page_2, 12, 2
        at_end_of jump_page_3, 12, 3
        at_end_of jump_page_4, 12, 4

// Branches. Behind a ret stands the distance of a jump to free memory.
.macro ret_with_room
        ret
        .byte   0, 0, 0, 0xc1
.endm

// int (int x): x == 0 ? 20 : 10
function jump_branch_short
        test    %edi, %edi
        site jump_branch_short_site
        jz      1f
        mov     $10, %eax
        ret
1:      mov     $20, %eax
        ret
done jump_branch_short
function jump_branch_near
        test    %edi, %edi
        site jump_branch_near_site
        {disp32} jz 1f
        site jump_branch_near_next
        mov     $10, %eax
        ret
        site jump_branch_near_target
1:      mov     $20, %eax
        ret
done jump_branch_near

// int (int x): x + 2
function jump_call
        site jump_call_site
        call    jump_callee
        site jump_call_next
        add     $1, %eax
        ret
done jump_call
function jump_callee
        lea     1(%rdi), %eax
        site jump_ret_site
        ret_with_room
done jump_callee

// int (int x): x + 5 * 1111, so long as nobody interferes
function jump_steps
        mov     %edi, %eax
        site jump_steps_1
        add     $1111, %eax
        site jump_steps_2
        add     $1111, %eax
        site jump_steps_3
        add     $1111, %eax
        site jump_steps_4
        add     $1111, %eax
        site jump_steps_5
        add     $1111, %eax
        site jump_steps_end
        ret
done jump_steps

// long (long x): pushes it, and pops it again
function jump_stack
        site jump_stack_push
        push    %rdi
        .cfi_adjust_cfa_offset 8
        mov     $0, %eax
        site jump_stack_pop
        pop     %rax
        .cfi_adjust_cfa_offset -8
.Ljump_stack_end:                       // no symbol: that would be an entry, which no jump may cover
        nopl    0(%rax,%rax,1)
        ret
done jump_stack
        .pushsection .data.rel.ro, "aw", @progbits
        .p2align 3
        .globl  jump_stack_end
jump_stack_end:
        .quad   .Ljump_stack_end
        .popsection

// The same, with nothing of use in the 8 KiB above its return address
function jump_stack_with_room
        sub     $8200, %rsp
        .cfi_adjust_cfa_offset 8200
        call    jump_stack
        add     $8200, %rsp
        .cfi_adjust_cfa_offset -8200
        ret
done jump_stack_with_room

// int (void): the carry flag behind a probed instruction that leaves it alone
function jump_carry
        clc
        site jump_carry_site
        mov     $0, %eax
        site jump_carry_next
        setc    %al
        ret
done jump_carry

// int (int depth): 1 + itself, until depth is 0
function jump_recursive
        test    %edi, %edi
        jz      1f
        sub     $8, %rsp
        .cfi_adjust_cfa_offset 8
        dec     %edi
        call    jump_recursive
        add     $8, %rsp
        .cfi_adjust_cfa_offset -8
        add     $1, %eax
        ret
1:      xor     %eax, %eax
        ret
done jump_recursive

        .fill   0x11000, 1, 0xcc        // where zeros lead

        .section .note.GNU-stack, "", @progbits
