// The modules of the running process, as the loader tells them: what lies where, under which names.
#pragma once

#include <link.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace libprobe::symbols {

class symbol_table;

/// One PT_LOAD, rounded to pages: [start, end).
struct segment {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
  bool readable = false;
  bool executable = false;

  bool operator==(const segment&) const = default;
  [[nodiscard]] bool holds(std::uintptr_t address) const noexcept { return address - start < end - start; }
};

/// What tells one file from another that was put in its place.
struct file_identity {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified = 0;  // nanoseconds

  bool operator==(const file_identity&) const = default;
};

/// One loaded program, library or the vDSO. Immutable but for its symbol table, which is made on first use.
/// It may outlive the loaded module; only while_loaded() may look into the module's memory.
class module {
 public:
  enum class kind { program, library, vdso };

  kind what = kind::library;
  std::string path;       // to open it by; empty for the vDSO
  std::string file_name;  // without folders, as it was loaded
  std::string real_path;  // with all links followed
  std::string soname;     // empty: has none
  std::uintptr_t bias = 0;
  std::span<const ElfW(Phdr)> headers;  // in the module's memory
  std::vector<segment> segments;
  std::vector<std::uint8_t> build_id;  // empty: has none
  bool has_go_code = false;            // Go's linker has made it, or a part of it
  file_identity file;

  module();
  ~module();
  module(const module&) = delete;
  module& operator=(const module&) = delete;

  [[nodiscard]] const segment* segment_at(std::uintptr_t address) const noexcept;
  /// By soname, by the file's name or that of a link to it under which it was loaded, or by full path.
  [[nodiscard]] bool is_called(std::string_view name) const noexcept;
  /// Read on first use: milliseconds for a big library. Any thread; blocks while another thread reads it.
  [[nodiscard]] const symbol_table& symbols() const;

 private:
  mutable std::once_flag read_;
  mutable std::unique_ptr<const symbol_table> symbols_;
};

/// The loader's counts of modules added and removed so far.
struct load_counts {
  unsigned long long added = 0;
  unsigned long long removed = 0;

  bool operator==(const load_counts&) const = default;
};

/// The loaded modules at one moment.
struct snapshot {
  load_counts counts;
  std::vector<std::shared_ptr<const module>> modules;  // in load order

  struct place {
    segment where;
    const module* owner;
  };
  std::vector<place> by_address;

  /// The module that has a segment there, or null.
  [[nodiscard]] const module* find(std::uintptr_t address) const noexcept;
};

/// The counts as they are now. Takes the loader's lock for a moment (tens of nanoseconds); allocates nothing.
load_counts current_counts() noexcept;

/// The modules as they are now, from a cache that the counts keep fresh. A module that stayed loaded stays
/// the same object, with its symbol table. Any thread.
std::shared_ptr<const snapshot> current_modules();

/// What the module's file holds for that text, whatever has been written over it. False: no module's, or the
/// file cannot be read any more. Blocks on the disk; allocates.
bool read_from_file(std::uintptr_t address, std::span<std::uint8_t> to);

/// Runs the action if no module has been removed since the loader counted `removed`, and keeps all from being
/// removed meanwhile (the loader's lock is held: no dlopen, no dlsym in there). False if some have been.
/// Allocates nothing.
bool while_none_leaves(unsigned long long removed, void (*action)(void*), void* context);
template <class Action>
bool while_none_leaves(unsigned long long removed, Action&& action) {
  return while_none_leaves(
      removed, [](void* it) { (*static_cast<std::remove_reference_t<Action>*>(it))(); }, &action);
}

/// Runs the action if the module is still loaded, and keeps it from being unloaded meanwhile (the loader's
/// lock is held: no dlopen, no dlsym in there). False if it is gone.
bool while_loaded(const module& which, const std::function<void()>& action);

}  // namespace libprobe::symbols
