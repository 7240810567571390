// A program's own breakpoint and its own trap flag. One user per program.
#pragma once

asm(R"(
        .text
        .type   signals_own_breakpoint, @function
signals_own_breakpoint:
        mov     $3, %eax
        int3
        .globl  signals_behind_breakpoint
signals_behind_breakpoint:
        add     $1, %eax
        ret
        .size   signals_own_breakpoint, .-signals_own_breakpoint

        .type   signals_own_steps, @function
signals_own_steps:                      # int (int): the program's own trap flag over four instructions
        pushfq
        orq     $0x100, (%rsp)
        popfq
        lea     1(%rdi), %eax           # the trap of popfq's successor comes behind it
        .globl  signals_stepped_probe
signals_stepped_probe:
        add     $2, %eax
        pushfq
        andq    $~0x100, (%rsp)
        popfq
        ret
        .size   signals_own_steps, .-signals_own_steps
)");

extern "C" {
int signals_own_breakpoint();
int signals_own_steps(int);
extern const char signals_behind_breakpoint[], signals_stepped_probe[];
}
