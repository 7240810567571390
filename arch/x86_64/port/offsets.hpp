// What this port's assembly reads and writes of registers and of a signal's frame: see
// src/assembly/offsets.cpp.
#pragma once

#include <sys/ucontext.h>

#include <cstddef>

#include <libprobe/registers.hpp>

#include "arch/call.hpp"

#define PORT_OFFSETS(OFFSET)                                       \
  OFFSET(REGS_RAX, offsetof(registers, rax))                       \
  OFFSET(REGS_RBX, offsetof(registers, rbx))                       \
  OFFSET(REGS_RCX, offsetof(registers, rcx))                       \
  OFFSET(REGS_RDX, offsetof(registers, rdx))                       \
  OFFSET(REGS_RSI, offsetof(registers, rsi))                       \
  OFFSET(REGS_RDI, offsetof(registers, rdi))                       \
  OFFSET(REGS_RBP, offsetof(registers, rbp))                       \
  OFFSET(REGS_RSP, offsetof(registers, rsp))                       \
  OFFSET(REGS_R8, offsetof(registers, r8))                         \
  OFFSET(REGS_R9, offsetof(registers, r9))                         \
  OFFSET(REGS_R10, offsetof(registers, r10))                       \
  OFFSET(REGS_R11, offsetof(registers, r11))                       \
  OFFSET(REGS_R12, offsetof(registers, r12))                       \
  OFFSET(REGS_R13, offsetof(registers, r13))                       \
  OFFSET(REGS_R14, offsetof(registers, r14))                       \
  OFFSET(REGS_R15, offsetof(registers, r15))                       \
  OFFSET(REGS_RIP, offsetof(registers, rip))                       \
  OFFSET(REGS_RFLAGS, offsetof(registers, rflags))                 \
  OFFSET(REGS_XMM, offsetof(registers, vectors_.xmm))              \
  OFFSET(REGS_YMM_UPPER, offsetof(registers, vectors_.ymm_upper))  \
  OFFSET(REGS_XSTATE_IN_USE, offsetof(registers, vectors_.in_use)) \
  OFFSET(REGS_VECTOR_STRIDE, offsetof(registers, vectors_.stride)) \
  OFFSET(REGS_SIZE, sizeof(registers))                             \
  OFFSET(UC_LINK, offsetof(ucontext_t, uc_link))                   \
  OFFSET(UC_R8, offsetof(ucontext_t, uc_mcontext.gregs[REG_R8]))   \
  OFFSET(UC_R9, offsetof(ucontext_t, uc_mcontext.gregs[REG_R9]))   \
  OFFSET(UC_R10, offsetof(ucontext_t, uc_mcontext.gregs[REG_R10])) \
  OFFSET(UC_R11, offsetof(ucontext_t, uc_mcontext.gregs[REG_R11])) \
  OFFSET(UC_R12, offsetof(ucontext_t, uc_mcontext.gregs[REG_R12])) \
  OFFSET(UC_R13, offsetof(ucontext_t, uc_mcontext.gregs[REG_R13])) \
  OFFSET(UC_R14, offsetof(ucontext_t, uc_mcontext.gregs[REG_R14])) \
  OFFSET(UC_R15, offsetof(ucontext_t, uc_mcontext.gregs[REG_R15])) \
  OFFSET(UC_RDI, offsetof(ucontext_t, uc_mcontext.gregs[REG_RDI])) \
  OFFSET(UC_RSI, offsetof(ucontext_t, uc_mcontext.gregs[REG_RSI])) \
  OFFSET(UC_RBP, offsetof(ucontext_t, uc_mcontext.gregs[REG_RBP])) \
  OFFSET(UC_RBX, offsetof(ucontext_t, uc_mcontext.gregs[REG_RBX])) \
  OFFSET(UC_RDX, offsetof(ucontext_t, uc_mcontext.gregs[REG_RDX])) \
  OFFSET(UC_RAX, offsetof(ucontext_t, uc_mcontext.gregs[REG_RAX])) \
  OFFSET(UC_RCX, offsetof(ucontext_t, uc_mcontext.gregs[REG_RCX])) \
  OFFSET(UC_RSP, offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP])) \
  OFFSET(UC_RIP, offsetof(ucontext_t, uc_mcontext.gregs[REG_RIP])) \
  OFFSET(UC_EFL, offsetof(ucontext_t, uc_mcontext.gregs[REG_EFL])) \
  OFFSET(UC_FPREGS, offsetof(ucontext_t, uc_mcontext.fpregs))      \
  OFFSET(WORDS_READER, offsetof(arch::direct_words, reader))       \
  OFFSET(WORDS_ROW, offsetof(arch::direct_words, row))             \
  OFFSET(WORDS_BUSY, offsetof(arch::direct_words, busy))           \
  OFFSET(WORDS_RUNS, offsetof(arch::direct_words, runs))           \
  OFFSET(WORDS_EPOCH, offsetof(arch::direct_words, epoch))
