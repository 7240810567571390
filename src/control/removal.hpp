// Removal: probes rest and are queued; then all are taken out of what hits may find, and each is freed when
// its grace period is complete and its calls have ended.
//
// Floor: control, on site and epoch. Of control it knows requests, site text and the module watch.
// Words: an attachment is *queued* when its user has removed it (it *rests*: hits pass it by); *retired* when
// it is unlinked, and a hit that began before may still hold it; *in use* when no hit can, but calls of it
// (of a replacement, of a followed function) have not returned. A *ticket* is of a grace period: when that is
// complete, no hit holds what was retired before.
#pragma once

#include <atomic>
#include <cstddef>
#include <libprobe/error.hpp>
#include <span>
#include <vector>

#include "control/module_watch.hpp"
#include "control/request.hpp"
#include "control/site_text.hpp"
#include "epoch/retirement.hpp"
#include "site/site.hpp"

namespace libprobe::control {

using handles = std::span<std::atomic<void*>* const>;

/// All members under control's lock. None but reserve() allocates, so that removal cannot fail.
class removal {
 public:
  removal(site_text& text, module_watch& modules, epoch::retirement& retired) noexcept
      : text_{text}, modules_{modules}, retired_{retired} {}
  removal(const removal&) = delete;
  removal& operator=(const removal&) = delete;

  /// So many attachments are about to be linked: there will be room for their removal.
  void reserve(std::size_t more);
  /// One has been.
  void add_linked() noexcept { ++linked_; }

  /// Lets a linked attachment rest for good.
  void queue(site::attachment& a) noexcept;
  /// The object of a gone probe is registered again: what it was goes with the next commit.
  void replace_gone(const request& by) noexcept;
  [[nodiscard]] bool any_queued() const noexcept { return !queue_.empty(); }

  /// Takes all that is queued out of what hits may find. The ticket that covers it, and all that was taken
  /// out before; 0: there is nothing to wait for. `answer`: of the text that had to be restored.
  epoch::ticket take_out(errc& answer) noexcept;
  /// Frees what tickets that are complete by now cover, but for what is in use.
  void free_complete() noexcept;
  /// Frees what is in use no more. One that is, of those that are asked for (null: all): calls of a
  /// replacement are still running; null: none.
  const site::attachment* free_in_use(const handles* only) noexcept;
  /// Nothing is retired, nor in use.
  [[nodiscard]] bool is_over() const noexcept { return retired_.empty() && in_use_ == nullptr; }
  [[nodiscard]] bool any_in_use() const noexcept { return in_use_ != nullptr; }
  /// A program whose libraries come and go need never commit: what it leaves behind is freed now and then, if
  /// just then no thread is in a handler. Never waits.
  void tidy() noexcept;

  /// One that is not linked (any more), but may still be held.
  void retire(site::attachment& a) noexcept;

  [[nodiscard]] std::span<site::attachment* const> queued() const noexcept { return queue_; }
  /// Attachments that wait for the end of their grace period, or of calls.
  template <class F>
  void for_each_retired(F&& visit) const {
    retired_.for_each([&visit](epoch::retired& what) {
      if (what.free == free_attachment) visit(static_cast<site::attachment&>(what));
    });
    for (auto* one = in_use_; one != nullptr; one = one->next_retired)
      visit(static_cast<site::attachment&>(*one));
  }

 private:
  void unlink_queued() noexcept;
  errc restore_text() noexcept;
  void drop_empty_sites() noexcept;
  static void free_attachment(epoch::retired& what) noexcept;

  site_text& text_;
  module_watch& modules_;
  epoch::retirement& retired_;  // unlinked attachments, sites and tables, until no hit can hold them
  std::size_t linked_ = 0;      // attachments
  std::size_t replaced_ = 0;    // gone probes that were registered anew, since the last tidy()
  std::vector<site::attachment*> queue_;
  std::vector<site::site*> touched_;  // scratch of take_out(): sites of the queued
  epoch::retired* in_use_ = nullptr;  // attachments
};

}  // namespace libprobe::control
