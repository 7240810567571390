// What happens when an exception, or a thread's exit, passes through libprobe's frames. The routines are
// named by the unwind data of the entry code; see the Itanium C++ ABI: Exception Handling, 1.3 and 2.5.
#include <asm/unistd.h>
#include <unwind.h>

#include <exception>

#include "hit/calls.hpp"
#include "hit/run.hpp"

namespace libprobe::hit {

namespace {

/// Handlers in ordinary context were left by an exception.
void abandon_run() noexcept {
  auto& run = *site::self.run;
  if (run.call != nullptr) abandon_call(*run.call);
  if (run.replacement != nullptr) end_replacement(*run.replacement);
  abandon_instances(run.instances);
  site::self.run = run.outer;
  site::self.jprobe = nullptr;
  --site::self.in_handler;
  epoch::leave(run.section);
}

bool is_cleanup(_Unwind_Action actions) noexcept { return (actions & _UA_CLEANUP_PHASE) != 0; }

}  // namespace

}  // namespace libprobe::hit

using namespace libprobe;

extern "C" {

/// A followed call ends here, by an exception.
_Unwind_Reason_Code libprobe_return_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                                _Unwind_Exception* exception, _Unwind_Context* context) {
  if (hit::is_cleanup(actions)) {
    const auto number = arch::return_slot_at(_Unwind_GetIP(context));
    const auto caller = number < arch::return_slot_count ? arch::saved_return(number) : 0;
    if (number < arch::return_slot_count) {
      const epoch::section section;
      const hit::in_handler guard;
      hit::abandon_call(site::calls[number]);
    }
    if ((actions & _UA_HANDLER_FRAME) != 0) {
      // The caller will catch it. Unwinders know frames by their stack pointers, and the slot's is the
      // caller's: they take the slot for the frame that promised to handle the exception. It handles it by
      // throwing on, from the caller's own call.
      const auto word = [](auto value) { return static_cast<_Unwind_Word>(value); };
      _Unwind_SetGR(context, __builtin_eh_return_data_regno(0),
                    word(reinterpret_cast<std::uintptr_t>(exception)));
      _Unwind_SetGR(context, __builtin_eh_return_data_regno(1), word(caller));
      _Unwind_SetIP(context, reinterpret_cast<std::uintptr_t>(&libprobe_throw_on));
      return _URC_INSTALL_CONTEXT;
    }
  }
  return _URC_CONTINUE_UNWIND;
}

/// A handler at an entry or a return threw.
_Unwind_Reason_Code libprobe_entry_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                               _Unwind_Exception*, _Unwind_Context*) {
  if (hit::is_cleanup(actions)) hit::abandon_run();
  return _URC_CONTINUE_UNWIND;
}

/// A handler in the middle of a function threw: nobody there expects an exception.
_Unwind_Reason_Code libprobe_handler_personality(int, _Unwind_Action, _Unwind_Exception_Class,
                                                 _Unwind_Exception*, _Unwind_Context*) {
  constexpr char message[] = "libprobe: a probe's handler threw an exception\n";
  arch::system_call(__NR_write, 2, reinterpret_cast<long>(message), sizeof message - 1);
  std::terminate();
}

/// A replacement threw.
_Unwind_Reason_Code libprobe_replacement_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                                     _Unwind_Exception*, _Unwind_Context*) {
  if (hit::is_cleanup(actions)) {
    auto& run = *site::self.replacement;
    site::self.replacement = run.outer;
    hit::end_replacement(*run.what);
  }
  return _URC_CONTINUE_UNWIND;
}
}
