// What happens when an exception, or a thread's exit, passes through libprobe's frames. The routines are
// named by the unwind data of the entry code; see the Itanium C++ ABI: Exception Handling, 1.3 and 2.5.
#include <asm/unistd.h>
#include <unwind.h>

#include <exception>
#include <utility>

#include "hit/calls.hpp"
#include "hit/run.hpp"

namespace libprobe::hit {

namespace {

/// Handlers in ordinary context were left by an exception.
void abandon_run() noexcept {
  auto& run = *site::self.run;
  abandon_beginnings();
  site::self.run = run.outer;
  site::self.jprobe = nullptr;
  if (site::self.in_handler != 0) --site::self.in_handler;  // 0: see abandon_hit()
  epoch::leave(run.section);
}

/// The thread ends in a handler, or on the way to it: its stack is unwound, and nothing on it goes on.
void abandon_hit() noexcept {
  abandon_beginnings();
  site::self.in_handler = 0;
  epoch::leave_all();
}

[[noreturn]] void refuse_exception() noexcept {
  constexpr char message[] = "libprobe: a probe's handler threw an exception\n";
  arch::system_call(__NR_write, 2, reinterpret_cast<long>(message), sizeof message - 1);
  std::terminate();
}

/// Where a function runs without a hit: what libprobe calls is no call of the program's.
std::uintptr_t unprobed(std::uintptr_t function) noexcept {
  const site::site* at = site::sites.find(function);
  if (at == nullptr) return function;
  const auto body = at->body.load(std::memory_order_acquire);
  if (body != 0) return body;
  site::self.own_call = function;
  return function;
}

bool is_cleanup(_Unwind_Action actions) noexcept { return (actions & _UA_CLEANUP_PHASE) != 0; }
/// pthread_exit() and cancellation.
bool is_the_end(_Unwind_Action actions) noexcept { return (actions & _UA_FORCE_UNWIND) != 0; }

}  // namespace

}  // namespace libprobe::hit

using namespace libprobe;

extern "C" {

/// An exception, or the thread's end, comes to a return slot: it lands there, as where a function cleans up.
/// So the slot is free when the unwinder has left it, and not before.
_Unwind_Reason_Code libprobe_return_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                                _Unwind_Exception* exception, _Unwind_Context* context) {
  if (!hit::is_cleanup(actions)) return _URC_CONTINUE_UNWIND;
  const auto number = arch::return_slot_at(_Unwind_GetIP(context));
  if (number == arch::return_slot_count) return _URC_CONTINUE_UNWIND;
  const auto word = [](const void* value) {
    return static_cast<_Unwind_Word>(reinterpret_cast<std::uintptr_t>(value));
  };
  _Unwind_SetGR(context, __builtin_eh_return_data_regno(0), word(exception));
  _Unwind_SetGR(context, __builtin_eh_return_data_regno(1), word(arch::saved_place(number)));
  _Unwind_SetIP(context, reinterpret_cast<std::uintptr_t>(&libprobe_unwound));
  return _URC_INSTALL_CONTEXT;
}

std::uintptr_t libprobe_on_unwound(const void* saved) {
  const epoch::section section;
  const hit::in_handler unwind_handlers_may_run;
  auto& call = site::calls[arch::slot_of_saved(saved)];
  if (site::owner_of(call) == epoch::thread_number()) hit::leave_own(call);
  hit::abandon_call(call);
  return hit::unprobed(site::resume_unwinding);
}

/// A handler at an entry or a return threw.
_Unwind_Reason_Code libprobe_entry_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                               _Unwind_Exception*, _Unwind_Context*) {
  // Cancelled at any moment, a thread may have begun no run yet.
  if (hit::is_cleanup(actions) && site::self.run != nullptr) hit::abandon_run();
  if (hit::is_the_end(actions)) hit::abandon_hit();
  return _URC_CONTINUE_UNWIND;
}

/// A handler in the middle of a function threw: nobody there expects an exception.
_Unwind_Reason_Code libprobe_handler_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                                 _Unwind_Exception*, _Unwind_Context*) {
  if (!hit::is_the_end(actions)) hit::refuse_exception();
  hit::abandon_hit();
  return _URC_CONTINUE_UNWIND;
}

/// The same where the hit came by a trap; or it was no hit, and the program's own handler of SIGTRAP threw.
_Unwind_Reason_Code libprobe_trap_personality(int version, _Unwind_Action actions,
                                              _Unwind_Exception_Class kind, _Unwind_Exception* exception,
                                              _Unwind_Context* context) {
  if (site::self.in_handler == 0 && !hit::is_the_end(actions)) return _URC_CONTINUE_UNWIND;
  return libprobe_handler_personality(version, actions, kind, exception, context);
}

/// A replacement threw.
_Unwind_Reason_Code libprobe_replacement_personality(int, _Unwind_Action actions, _Unwind_Exception_Class,
                                                     _Unwind_Exception*, _Unwind_Context*) {
  if (site::self.in_handler != 0 && !hit::is_the_end(actions))
    hit::refuse_exception();  // not the replacement did
  if (site::self.may_have_guest) hit::settle_guest_between_hits();
  if (hit::is_cleanup(actions) && site::self.replacement != nullptr) {
    hit::end_run(*site::self.replacement);
  }
  if (hit::is_the_end(actions)) hit::abandon_hit();
  return _URC_CONTINUE_UNWIND;
}
}
