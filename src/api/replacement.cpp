// The replacement: another function in a function's place.
#include <libprobe/batch.hpp>
#include <libprobe/replacement.hpp>

#include "api/jprobe_hooks.hpp"
#include "api/place.hpp"

namespace libprobe {

namespace {

bool release(site::attachment& base) noexcept {
  auto& a = static_cast<api::replacement_attachment&>(base);
  if (a.is_running()) return false;
  a.part(a);
  delete &a;
  return true;
}

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
  if (!counted || a.stack_bytes != 0 || a.vectors.most() > arch::vector_use::every_file) return;
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

result<api::wish> api::wish_for(replacement& r) {
  if (r.entry == nullptr) return errc::no_handler;
  auto* a = new api::replacement_attachment;
  auto wish = api::wish_of(r, a);
  api::fill(*a, r, 'j', release);
  a->entry = r.entry;
  a->stack_bytes = r.stack_bytes;
  a->result = r.result;
  a->before = api::replacement_before;
  a->counts_itself = true;
  a->replace = api::replacement_run;
  a->replace_live = api::replacement_run_live;
  // Exception flags belong to the thread, as in any call.
  if (!any(r.flags & probe_flags::standard_abi))
    a->vectors = api::vectors_of(r.flags, r.entry).vectors_only();
  begin_count(a->begun, a->begun_by_others, a->column_of_begun);
  begin_count(a->ended, a->ended_by_others, a->column_of_ended);
  allow_direct_call(*a, !any(r.flags & probe_flags::standard_abi));
  wish.need.purpose = site::purpose::replace;
  wish.need.code = true;
  wish.need.entry = true;
  wish.need.follow = !any(r.flags & probe_flags::never_calls_original);
  return wish;
}

std::error_code register_replacement(replacement& r) noexcept {
  replacement* const one[] = {&r};
  return api::register_all(std::span<replacement* const>{one});
}
void unregister_replacement_fast(replacement& r) noexcept { api::detach(r.state_); }
void unregister_replacement(replacement& r) noexcept {
  replacement* const one[] = {&r};
  api::unregister_all(std::span<replacement* const>{one});
}

void* original(const replacement& r) noexcept {
  if (any(r.flags & probe_flags::never_calls_original)) return nullptr;
  return reinterpret_cast<void*>(site::original_of(r.state_.ledger));
}

}  // namespace libprobe
