// What the probes saw, as tables.
#pragma once

#include <cstddef>
#include <deque>

#include "watched.hpp"

/// Those with the most hits first, no more than `top`.
void print_functions(const std::deque<watched_function>& functions, std::size_t top);
void print_hot(const std::deque<watched_code>& codes);
/// One function, instruction by instruction.
void print_code(const watched_code& c);
/// The longest that still fits on a screen.
const watched_code& most_readable(const std::deque<watched_code>& codes);
