// Modules come and go: which there are, in which of them sites lie, and which sites have gone with theirs.
//
// Floor: control, on site, symbols, os and epoch. Of control it knows requests only.
// Words: a site is *gone* when the module that it lay in is: it is in no table any more, its text is
// nobody's, and it waits for its probes to be removed. A site of no module whose place a module has taken is
// gone, too.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "control/request.hpp"
#include "epoch/retirement.hpp"
#include "site/site.hpp"
#include "symbols/modules.hpp"

namespace libprobe::control {

/// All members under control's lock, but where not said otherwise.
class module_watch {
 public:
  /// Who looks after sites' text: it is to forget one, which is gone.
  struct text_keeper {
    virtual void text_is_gone(site::site& at) noexcept = 0;

   protected:
    ~text_keeper() = default;
  };
  /// Gone sites without probes go to `retired`.
  module_watch(text_keeper& text, epoch::retirement& retired) noexcept : text_{text}, retired_{retired} {}
  module_watch(const module_watch&) = delete;
  module_watch& operator=(const module_watch&) = delete;

  /// What lay in modules that are no more is gone. False: no memory to find out. The loader's own lock may be
  /// held by the caller's thread, but no other thread that has it waits for ours: see symbols::lookup.
  bool look() noexcept;

  // Those below only after look() was true once.
  /// As they were at the last look.
  [[nodiscard]] const std::shared_ptr<const symbols::snapshot>& modules() const noexcept { return modules_; }
  /// Some have been unloaded between the last look and `when`.
  [[nodiscard]] bool any_left_since(const symbols::load_counts& when) const noexcept {
    return when.removed != modules_->counts.removed;
  }
  /// Between the lookup in `known` and the last look a module has gone, and another one has taken its place.
  [[nodiscard]] bool lead_elsewhere(std::span<const request> requests, const symbols::snapshot& known) const;
  /// Runs the action, which calls no loader (and may throw), while no module can be unloaded. Sites of
  /// modules that have been are gone by then. False: no memory to find out.
  template <class Action>
  bool while_none_leaves(Action&& action) {
    while (!symbols::while_none_leaves(modules_->counts.removed, action)) {
      if (!look()) return false;
    }
    return true;
  }

  /// The loader tells of each unloading: so a module that stands where it stood is the same one.
  void set_told_of_unloading(bool told) noexcept { told_of_unloading_ = told; }
  /// And of each loading, before the constructors run.
  void set_told_of_constructors(bool told) noexcept { told_of_constructors_ = told; }
  [[nodiscard]] bool told_of_constructors() const noexcept { return told_of_constructors_; }

  struct departed {
    site::site* at;
    std::shared_ptr<const symbols::module> with;
  };
  /// Gone sites with probes that are not all removed.
  [[nodiscard]] std::span<const departed> gone() const noexcept { return gone_; }
  /// A gone site has no probes any more. False: it had none when it went, and is retired.
  bool forget(const site::site& at) noexcept {
    return std::erase_if(gone_, [&at](const departed& one) { return one.at == &at; }) != 0;
  }
  /// So many sites may go without more memory.
  void reserve(std::size_t sites) { gone_.reserve(sites); }

 private:
  void let_go_of(const symbols::snapshot& before) noexcept;
  void settle_strays() noexcept;
  void let_go(site::site& at, const std::shared_ptr<const symbols::module>& with) noexcept;

  text_keeper& text_;
  epoch::retirement& retired_;
  bool told_of_unloading_ = false;
  bool told_of_constructors_ = false;
  std::shared_ptr<const symbols::snapshot> modules_;
  std::vector<departed> gone_;
};

}  // namespace libprobe::control
