// See tail_chain.hpp.
  .text

.macro step name, offset
  .globl \name
  .type \name, @function
  .p2align 4
\name:
  .cfi_startproc
  addq %rdi, %rsi
  subq $1, %rdi
  js 1f
  jmpq *\offset(%rdx)
1:
  jmpq *24(%rdx)
  .cfi_endproc
  .size \name, . - \name
.endm

  step chain_a, 0
  step chain_b, 8
  step chain_c, 16

  .globl call_chain
  .globl call_chain_back
  .type call_chain, @function
  .p2align 4
call_chain:
  .cfi_startproc
  subq $8, %rsp
  .cfi_adjust_cfa_offset 8
  callq *%rcx
call_chain_back:
  addq $8, %rsp
  .cfi_adjust_cfa_offset -8
  ret
  .cfi_endproc
  .size call_chain, . - call_chain

  .section .note.GNU-stack, "", @progbits
