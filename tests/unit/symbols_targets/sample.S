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

# Symbols without a type that name no code: of ends and beginnings, of stretches, of places inside.
        .type   sample_marked, @function
sample_marked:
        nop
"$x":   nop
"$d.1": nop
__stop_sample_marked:
        nop
_etext: ret
        .size   sample_marked, . - sample_marked

# As Rust compilers name functions.
        .type   "_ZN4demo3fmt5write17h0123456789abcdefE", @function
"_ZN4demo3fmt5write17h0123456789abcdefE":
        ret
        .size   "_ZN4demo3fmt5write17h0123456789abcdefE", . - "_ZN4demo3fmt5write17h0123456789abcdefE"

        .type   "_ZN49_$LT$demo..Widget$u20$as$u20$core..fmt..Debug$GT$3fmt17h00000000000000d1E", @function
"_ZN49_$LT$demo..Widget$u20$as$u20$core..fmt..Debug$GT$3fmt17h00000000000000d1E":
        ret
        .size   "_ZN49_$LT$demo..Widget$u20$as$u20$core..fmt..Debug$GT$3fmt17h00000000000000d1E", . - "_ZN49_$LT$demo..Widget$u20$as$u20$core..fmt..Debug$GT$3fmt17h00000000000000d1E"

        .type   "_ZN4demo4twin17h1111111111111111E", @function
"_ZN4demo4twin17h1111111111111111E":
        ret
        .size   "_ZN4demo4twin17h1111111111111111E", . - "_ZN4demo4twin17h1111111111111111E"

        .type   "_ZN4demo4twin17h2222222222222222E", @function
"_ZN4demo4twin17h2222222222222222E":
        ret
        .size   "_ZN4demo4twin17h2222222222222222E", . - "_ZN4demo4twin17h2222222222222222E"

        .type   "_ZN4demo3one17hfedcba9876543210E.llvm.4711", @function
"_ZN4demo3one17hfedcba9876543210E.llvm.4711":
        ret
        .size   "_ZN4demo3one17hfedcba9876543210E.llvm.4711", . - "_ZN4demo3one17hfedcba9876543210E.llvm.4711"

        .type   "_ZN4demo4call28_$u7b$$u7b$closure$u7d$$u7d$17h00000000000000c1E", @function
"_ZN4demo4call28_$u7b$$u7b$closure$u7d$$u7d$17h00000000000000c1E":
        ret
        .size   "_ZN4demo4call28_$u7b$$u7b$closure$u7d$$u7d$17h00000000000000c1E", . - "_ZN4demo4call28_$u7b$$u7b$closure$u7d$$u7d$17h00000000000000c1E"

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
