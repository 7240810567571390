// The kernel's own probe on user code, for comparison.
#pragma once

#include <cstdint>
#include <string>

/// A uprobe on an address in a file that is mapped here, counted by perf_event_open() for this thread only.
class uprobe {
 public:
  enum class kind { at_entry, at_return };

  explicit uprobe(const void* address, kind when = kind::at_entry);
  ~uprobe();
  uprobe(const uprobe&) = delete;
  uprobe& operator=(const uprobe&) = delete;

  /// Empty if it is in place, else what the machine does not allow.
  [[nodiscard]] const std::string& refusal() const { return refusal_; }
  [[nodiscard]] std::uint64_t count() const;

 private:
  int event_ = -1;
  std::string refusal_;
};
