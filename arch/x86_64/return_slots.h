// Shared by assembly and C++.
#pragma once

// Chunks of 127 return slots. Calls followed at once, in all threads together, are limited by their number.
#define RETURN_CHUNKS 96

// By slot, 32 bits: what the handlers behind its return may do to the extended state (a vector_use), and in the last
// byte, written by the slot's code, whether the function has returned to it.
#define RETURN_VECTORS_MASK 0xffff
#define RETURNED_BYTE 3
