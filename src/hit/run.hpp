// Runs a site's handlers. Everything in this folder runs at a hit: it allocates, locks and throws nothing,
// and calls nothing but raw system calls and the user's handlers.
#pragma once

#include "site/site.hpp"

namespace libprobe::hit {

/// All `before` hooks, in order of registration, until one redirects. True: the program goes on at regs,
/// without the displaced instruction. Inside a section.
bool run_before(const site::site& at, registers& regs) noexcept;

/// All `after` hooks; regs.ip() is where the program goes on. Inside a section.
void run_after(const site::site& at, registers& regs) noexcept;

/// `fault` hooks, until one says true: the program goes on at regs. Inside a section.
bool run_fault(const site::site& at, registers& regs, int signo) noexcept;

}  // namespace libprobe::hit
