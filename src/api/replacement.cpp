// The replacement: another function in a function's place.
#include <libprobe/replacement.hpp>

#include "api/jprobe_hooks.hpp"
#include "api/kind.hpp"

namespace libprobe {

namespace {

/// What a column holds from earlier use does not count.
void begin_count(site::counter& counter, std::atomic<std::uint64_t>& by_others,
                 control::counter_column& column) {
  column = control::take_column();
  counter.begin(by_others, nullptr);
  if (column != nullptr) counter.move_to(column.get());
}

/// By its own detour: see direct_call.S.
void allow_direct_call(api::replacement_attachment& a, bool keeps) {
  const bool counted = a.book->own.column.load(std::memory_order_relaxed) != nullptr &&
                       a.column_of_begun != nullptr && a.column_of_ended != nullptr;
  if (!counted || a.stack_bytes != 0 || a.vectors.is_more_than_vectors()) return;
  a.call.entry = a.entry;
  a.call.hits = a.book->own.column.load(std::memory_order_relaxed);
  a.call.begun = a.column_of_begun.get();
  a.call.ended = a.column_of_ended.get();
  a.call.what = &a;
  a.call.result = static_cast<std::uint32_t>(a.result);
  a.call.keeps = keeps ? 1 : 0;
  a.call.level = a.vectors.most();
  a.direct = &a.call;
}

}  // namespace

template <>
struct api::kind_of<replacement> : plain_kind<replacement_attachment> {
  static constexpr char letter = 's';

  static bool has_handler(const replacement& r) noexcept { return r.entry != nullptr; }
  static bool may_part(const attachment& a) noexcept { return !a.is_running(); }

  static errc fill(const replacement& r, attachment& a, control::request& need) {
    a.entry = r.entry;
    a.stack_bytes = r.stack_bytes;
    a.result = r.result;
    a.before = replacement_before;
    a.counts_itself = true;
    a.replace = replacement_run;
    a.replace_live = replacement_run_live;
    // Exception flags belong to the thread, as in any call.
    if (!any(r.flags & probe_flags::standard_abi)) a.vectors = vectors_of(r.flags, r.entry).vectors_only();
    begin_count(a.begun, a.begun_by_others, a.column_of_begun);
    begin_count(a.ended, a.ended_by_others, a.column_of_ended);
    allow_direct_call(a, !any(r.flags & probe_flags::standard_abi));
    need.purpose = site::purpose::replace;
    need.code = true;
    need.entry = true;
    need.follow = !any(r.flags & probe_flags::never_calls_original);
    return errc::ok;
  }
};

LIBPROBE_KIND(replacement, replacements)

void* original(const replacement& r) noexcept {
  if (any(r.flags & probe_flags::never_calls_original)) return nullptr;
  return reinterpret_cast<void*>(site::original_of(r.state_.ledger));
}

}  // namespace libprobe
