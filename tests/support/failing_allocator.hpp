// operator new that fails on demand. A program that links failing_allocator.cpp uses it for everything.
#pragma once

namespace libprobe::test {

/// How many allocations of this thread succeed before one fails; negative: all of them. Only that one fails,
/// and then this is negative again.
extern constinit thread_local long allowed;

}  // namespace libprobe::test
