// Where hit and control meet: what is known of each probed address, and of each thread that hits one.
//
// Here: a site, and who wants to know of it. Beside it: their table (table.hpp: one writer, readers in any
// signal handler), slots, detours and landings (code that hits run through), followed calls, ledgers and
// counters (counts, one word for each thread), a thread's state (thread.hpp), runs in guests, who writes text
// (text_owner.hpp).
//
// Floor: on os, arch and epoch; below hit and control, which never include each other. Sites, their lists and
// the tables are written by control, under its lock; hits read them inside a section (epoch), without any. A
// hit that retreats writes one site's text and state, as text_owner. Counts, followed calls, instances, runs
// in guests and believed signal actions are written by hits.
// Words: a *site* is one probed address; an *attachment*, one probe, the user's or a guard, that is
// registered there or waits for its module; its *hooks*, the functions that a hit calls for it: most are the
// api's, and call the user's handlers; *resting*, disabled or removed; a *hit*, one execution of a site; the
// *displaced instruction*, the one that a breakpoint or a jump stands in the place of; a *landing*, an inner
// boundary of a jump's window: who comes there traps, and goes on in a copy; a *ledger*, what a user's object
// shows of one registration: its counts, and where the original function is.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/registers.hpp>
#include <memory>

#include "arch/slot.hpp"
#include "arch/state.hpp"
#include "arch/text.hpp"
#include "epoch/retirement.hpp"
#include "site/calls.hpp"
#include "site/counted_table.hpp"
#include "site/counter.hpp"
#include "site/detour.hpp"
#include "site/ledger.hpp"
#include "site/slots.hpp"
#include "site/table.hpp"
#include "site/text_owner.hpp"

namespace libprobe {
struct probe;
}

namespace libprobe::site {

struct site;
struct attachment;
struct instance_pool;

/// One hit, while its handlers run. Its size is what every hit clears: five words besides the reference, as
/// gcc clears six by `rep stos`, which takes as long as all the rest.
struct hit {
  registers& regs;
  void* vectors = nullptr;  // the extended state, where it was saved whole in ordinary context; else null
  arch::vector_use saved = arch::all_saved();
  bool by_detour = false;  // not by a trap
  bool ordinary = false;   // in ordinary context, with a run that is written down: see ordinary_run
  bool first = true;       // no hook has run: vector registers that are not saved whole are the program's
  bool joined = false;     // its `call` had begun before: a tail call of it leads here
  followed_call* call = nullptr;                // set by the first retprobe that wants to see the return
  retprobe_instance** next_instance = nullptr;  // where that of this hit's next retprobe is linked in
  attachment* replacement = nullptr;            // runs in the function's place
};
static_assert(sizeof(hit) <= 6 * sizeof(void*));

/// What a `before` hook wants.
enum class step : std::uint8_t {
  go_on,
  redirected,  // the registers are as the program shall go on: no further hook, no displaced instruction
  missed,      // it could not do its work: counts as missed
};

/// One registered probe, of any kind, at its site. Made by the api, owned by control, freed after a grace
/// period.
struct attachment : epoch::retired {
  // What the hit path calls; any may be null. The kinds (src/api) supply them.
  step (*before)(attachment&, hit&) = nullptr;
  void (*after)(attachment&, registers&) = nullptr;
  bool (*fault)(attachment&, registers&, int signo) = nullptr;
  void (*replace)(attachment&, registers&,
                  void* vectors) = nullptr;                 // instead of the function, in ordinary context
  void (*replace_live)(attachment&, registers&) = nullptr;  // the same, in a detour: see arch::call_live()
  int (*pre_handler)(probe&,
                     registers&) = nullptr;  // of a probe that has no other handler: what `before` would call
  instance_pool* pool = nullptr;             // of one that follows calls and does no more: itself
  counter hits;
  std::atomic<std::uint64_t>* missed = nullptr;

  std::atomic<attachment*> next{nullptr};  // in order of registration; read under an epoch section
  std::atomic<bool> resting{false};        // disabled, or removed and waiting for its commit
  std::atomic<bool> removed{false};        // written by control
  arch::vector_use vectors;                // what its hooks may do to the extended state
  arch::vector_use return_vectors;         // and those behind a followed call
  counter begun, ended;  // of a replacement: its calls, for which a commit waits beyond the grace period
  const direct_call* direct = nullptr;  // of one that can be called so
  bool counts = false;                  // that is all it does: no hooks, so that it counts in handlers too
  // `before` counts the hit itself, when it knows that its work can be done: a count never falls.
  bool counts_itself = false;
  // control only:
  ledger_ptr book{nullptr,
                  nullptr};  // what `hits` and `missed` write; null: a guard's, or the user's object's own
  bool disabled = false;
  char kind = 'k';
  std::atomic<site*> where{nullptr};     // null while it waits for its module, and when it is unlinked
  std::atomic<void*>* handle = nullptr;  // in the user's object
  void* owner = nullptr;  // the user's object; null: a guard's, or one that is gone with a thread that did
                          // not fork along
  std::uintptr_t was_at = 0;  // the address of its site, for messages
  int on_stack_of = 0;        // the thread on whose stack that lies; 0: elsewhere
  /// Tells the user's object, if there is one, that it is free: nothing here leads to it any more.
  void (*part)(attachment&) noexcept = nullptr;
  /// After the grace period: parts, and frees. False: still in use by calls that have not
  /// returned; ask again after a later grace period.
  bool (*release)(attachment&) noexcept = nullptr;

  /// When no more calls can begin.
  [[nodiscard]] bool is_running() const noexcept {
    const auto over = ended.total();
    std::atomic_thread_fence(std::memory_order_acquire);  // pairs with hit::end_replacement() and its like
    return static_cast<std::int64_t>(begun.total() - over) > 0;
  }

  /// The threads that made them are gone.
  void end_all_calls() noexcept {
    const auto more = begun.total() - ended.total();
    if (more != 0) ended.add(static_cast<std::int64_t>(more));
  }

  /// Before anything was counted: counts in another column, which it shares with the code of a detour.
  void count_in(std::uint64_t* other) noexcept {
    hits.count_in(other);
    book->of_detour.set(other, sum_of_column(other));
    book->from.store(&book->of_detour, std::memory_order_release);  // pairs with ledger::hits()
  }
};

/// Published in the table; freed a grace period after it was taken out.
struct site : epoch::retired {
  site() noexcept {
    free = [](epoch::retired& what) noexcept { delete static_cast<site*>(&what); };
  }

  std::uintptr_t address = 0;
  arch::displaced plan;
  // Null for an emulated instruction. Slots are never freed: a thread may sit in one for hours.
  const slot* code = nullptr;
  std::atomic<attachment*> only{
      nullptr};  // all that is registered, if that is one attachment with a pre_handler
  std::atomic<instance_pool*> follower{nullptr};  // or if it follows calls
  std::atomic<std::uintptr_t> body{0};            // code that goes on from the displaced instruction; 0: none
  purpose detour_for = purpose::any;              // control only
  /// A guard's: does what the displaced instruction would have done, or returns false. Outside of a section.
  bool (*stand_in)(registers&) = nullptr;
  bool only_learns = false;  // of the call, before the handlers, and returns false: the call goes on as ever
  bool after_by_detour = false;  // a detour runs `after` hooks behind the displaced instruction
  std::atomic<attachment*> first{nullptr};
  // control only:
  attachment* last = nullptr;
  atomic<text> now{text::original};  // changed by whoever owns text
  atomic<bool> retreated{false};     // too many threads came to its inner boundaries: it stays a breakpoint
  detour* through =
      nullptr;  // where its jump leads, or that of an earlier plan for the address; null: none ever did
  std::uintptr_t first_copy =
      0;  // the displaced instruction's, behind the detour; set before it is published
  std::unique_ptr<jump_text> jump;  // the bytes
  std::uintptr_t detour_body = 0;   // where that detour goes on
  // Of a function that is replaced: by what the original is called, as long as there is no jump; and else.
  std::uintptr_t original_by_trap = 0, original_by_jump = 0;
  bool keeps_more_than_vectors = false;  // see arch; handlers in its middle need the whole state saved
  bool yields = false;             // another probe needs bytes of the jump's window: it stays a breakpoint
  const char* why_trap = nullptr;  // why it has no jump
  const void* module = nullptr;    // the one that it lies in, to be compared only; null: in none
  bool gone = false;               // that module has been unloaded, and the site is in no table any more

  /// Visits what is registered and not resting, in order. Inside a section.
  template <class F>
  void for_each_active(F&& visit) const noexcept {
    // Pairs with the release stores of control: what is reached here is whole, and stays until the section
    // ends.
    for (auto* a = first.load(std::memory_order_acquire); a != nullptr;
         a = a->next.load(std::memory_order_acquire)) {
      if (!a->resting.load(std::memory_order_relaxed)) visit(*a);
    }
  }
  [[nodiscard]] bool wants_after() const noexcept {
    bool answer = false;
    for_each_active([&answer](const attachment& a) { answer = answer || a.after != nullptr; });
    return answer;
  }
  [[nodiscard]] bool wants_ordinary() const noexcept {
    bool answer = false;
    for_each_active([&answer](const attachment& a) { answer = answer || a.vectors.ordinary(); });
    return answer;
  }
};

/// All sites of the process. One writer: control, under its lock.
extern constinit counted_table<site> sites;

/// By address. Landings live as long as the process.
extern constinit table<landing> landings;

/// Pages that hold nothing but hops, by address.
extern constinit table<const char> hop_pages;
constexpr std::uintptr_t hop_page_of(std::uintptr_t address) noexcept {
  return address & ~std::uintptr_t{arch::code_page - 1};
}

}  // namespace libprobe::site
