// C++20 coroutines that hand over to each other by symmetric transfer: each resumption is a tail call.
#pragma once

namespace libprobe::test {

/// One awaits `count` others, one after the other. `count`.
long await_in_turn(long count);
/// Each awaits the next, `count` deep. `count`.
long await_nested(long count);

/// What resumes the coroutines: of the one that awaits in turn, of those that it awaits, of the nested ones.
const void* awaiting_function();
const void* awaited_function();
const void* nested_function();

}  // namespace libprobe::test
