#include <exception>
#include <libprobe/batch.hpp>

#include "api/place.hpp"
#include "epoch/epoch.hpp"
#include "hit/calls.hpp"
#include "hit/run.hpp"

namespace libprobe {

namespace {

errc after_commit(errc answer) noexcept {
  if (answer != errc::would_deadlock) {
    // Retprobes are kept while calls of theirs are open: those of ended threads never return.
    const epoch::section section;
    const hit::in_handler unwind_handlers_may_run;
    hit::drop_of_ended_threads();
  }
  return answer;
}

}  // namespace

errc api::commit_these(std::span<std::atomic<void*>* const> handles) noexcept {
  return after_commit(control::registry::instance().commit(handles));
}

std::error_code commit_probes() noexcept {
  return api::refuse(after_commit(control::registry::instance().commit()));
}

batch::~batch() {
  if (!added_.empty() || !removed_.empty()) commit();
}

std::error_code batch::commit() noexcept {
  const site::quiet no_handlers;
  std::error_code added;
  std::vector<std::atomic<void*>*> gone;
  bool all_known = false;
  try {
    // Removals first: a probe that is both removed and added ends registered.
    for (const auto& one : removed_) std::visit([](auto* p) { api::detach(p->state_); }, one);
    gone.reserve(removed_.size());
    for (const auto& one : removed_)
      std::visit([&gone](auto* p) { gone.push_back(&p->state_.attachment); }, one);
    all_known = true;
    std::vector<api::wish> wishes;
    wishes.reserve(added_.size());
    for (const auto& one : added_) {
      std::string detail;
      auto made = std::visit([&detail](auto* p) { return api::wish_of_any(*p, detail); }, one);
      if (!made) {
        added = api::refuse(made.error(), std::move(detail));
        break;
      }
      wishes.push_back(std::move(*made));
    }
    if (!added && !wishes.empty()) added = api::place(wishes);
  } catch (const std::exception&) {  // the heap is exhausted; a batch's variants always hold one of the kinds
    added = api::refuse(errc::out_of_memory);
  }
  removed_.clear();
  added_.clear();
  const auto committed =
      all_known ? api::commit_these(gone) : after_commit(control::registry::instance().commit());
  return added ? added : api::refuse(committed);  // a refused addition's detail stays
}

}  // namespace libprobe
