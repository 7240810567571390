# Code that a compiler does not make: symbols without a size or a type, a signal-return stub, a restartable sequence.
        .text

        .globl  sample_unsized
        .type   sample_unsized, @function
sample_unsized:
        nop
sample_inner_label:
        nop
        ret

        .globl  sample_after_unsized
        .type   sample_after_unsized, @function
sample_after_unsized:
        ret
        .size   sample_after_unsized, . - sample_after_unsized

sample_label:
        nop
        nop
        ret
sample_next_label:
        ret

        .type   "_ZN6sample6singleEPKcm.part.0", @function
"_ZN6sample6singleEPKcm.part.0":
        ret
        .size   "_ZN6sample6singleEPKcm.part.0", . - "_ZN6sample6singleEPKcm.part.0"

        .globl  sample_signal_return
        .type   sample_signal_return, @function
sample_signal_return:
        nop
        movq    $15, %rax
        syscall
        .size   sample_signal_return, . - sample_signal_return

        .globl  sample_restartable
        .type   sample_restartable, @function
sample_restartable:
        nop
restart_start:
        nop
        nop
restart_commit:
        nop
        ret
        .long   0x53053053
restart_abort:
        ret
        .size   sample_restartable, . - sample_restartable

        .section __rseq_cs, "aw"
        .balign 32
        .long   0, 0
        .quad   restart_start, restart_commit - restart_start, restart_abort

        .section .note.GNU-stack, "", @progbits
