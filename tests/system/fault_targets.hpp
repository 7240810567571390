// Functions whose probed instruction faults, and what each answers once it is mended. One user per program.
#pragma once

#include <signal.h>

#include "support/probing.hpp"

asm(R"(
        .text
        .p2align 4
        .macro  function name
        .globl  \name
        .type   \name, @function
\name:
        .endm
        .macro  finish name
        ret
        .size   \name, .-\name
        .endm

        function fault_load             # long (const long*): the copied load is the first instruction
        mov     (%rdi), %rax
        finish fault_load
        function fault_store            # long (long*)
        addq    $1, (%rdi)
        mov     (%rdi), %rax
        finish fault_store
        function fault_divide           # long (long, long)
        mov     %rdi, %rax
        cqto
        .globl  fault_divide_here
fault_divide_here:
        idiv    %rsi
        finish fault_divide
        function fault_illegal          # long ()
        ud2
        mov     $7, %eax
        finish fault_illegal

# Emulated ones; each leaves the stack as it found it.
        function fault_call             # long (void* const*)
        push    %rbp
        .globl  fault_call_here
fault_call_here:
        call    *(%rdi)
        pop     %rbp
        finish fault_call
        function fault_jump             # long (void* const*)
        .globl  fault_jump_here
fault_jump_here:
        jmp     *(%rdi)
        finish fault_jump
        function fault_leave            # long (void*): rbp is bad while leave runs
        push    %rbp
        mov     %rsp, %rsi
        mov     %rdi, %rbp
        .globl  fault_leave_here
fault_leave_here:
        leave
        mov     %rsi, %rsp
        pop     %rbp
        mov     $9, %eax
        finish fault_leave
        function fault_answer
        mov     $42, %eax
        finish fault_answer
)");

extern "C" {
long fault_load(const long*);
long fault_store(long*);
long fault_divide(long, long);
long fault_illegal();
long fault_call(void* const*);
long fault_jump(void* const*);
long fault_leave(void*);
long fault_answer();
extern const char fault_divide_here[], fault_call_here[], fault_jump_here[], fault_leave_here[];
}

namespace libprobe::test {

inline location at(const char* where) { return location{static_cast<const void*>(where)}; }
template <class R, class... A>
const char* entry(R (*function)(A...)) {
  return reinterpret_cast<const char*>(function);
}

struct bad_case {
  const char* name;
  const char* probed;
  long (*run)();
  int signo;
  long answer;  // when mended
};
inline const bad_case bad_cases[] = {
    {"copied load", entry(fault_load), [] { return fault_load(nullptr); }, SIGSEGV, 5},
    {"copied divide", fault_divide_here, [] { return fault_divide(6, 0); }, SIGFPE, 6},
    {"ud2", entry(fault_illegal), [] { return fault_illegal(); }, SIGILL, 7},
    {"call *mem", fault_call_here, [] { return fault_call(nullptr); }, SIGSEGV, 42},
    {"jmp *mem", fault_jump_here, [] { return fault_jump(nullptr); }, SIGSEGV, 42},
    {"leave", fault_leave_here, [] { return fault_leave(nullptr); }, SIGSEGV, 9},
};

}  // namespace libprobe::test
