#include "os/text.hpp"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "arch/text.hpp"
#include "os/maps.hpp"
#include "os/pages.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"
#include "os/tracer.hpp"

namespace libprobe::os {

namespace {

constexpr std::size_t grain = 4096;  // no page is smaller; larger ones are written in parts

std::atomic<bool (*)(std::uintptr_t)> write_refusal{nullptr};

enum class write_result : std::uint8_t { done, gone, refused };

/// Room for written copies of some pages of text, to be put in their place in one step. No page is ever
/// writable and executable, and none that a thread may run stops being executable.
class page_copies {
 public:
  page_copies(std::uintptr_t begin, std::size_t length) noexcept
      : begin_{begin}, length_{length}, copy_{raw::map(0, length, PROT_READ | PROT_WRITE, 0)} {}
  ~page_copies() {
    if (*this) raw::unmap(static_cast<std::uintptr_t>(copy_), length_);
  }
  page_copies(const page_copies&) = delete;
  page_copies& operator=(const page_copies&) = delete;
  explicit operator bool() const noexcept { return !raw::refused(copy_); }
  [[nodiscard]] std::span<std::uint8_t> bytes() const noexcept {
    return {reinterpret_cast<std::uint8_t*>(copy_), length_};
  }
  /// Other threads see the old pages or the new ones: faults wait until both steps of the move are over.
  [[nodiscard]] bool exchange() noexcept {
    const auto at = static_cast<std::uintptr_t>(copy_);
    if (!raw::protect(at, length_, PROT_READ | PROT_EXEC) || !raw::move(at, length_, begin_)) return false;
    copy_ = -EFAULT;
    return true;
  }

 private:
  std::uintptr_t begin_;
  std::size_t length_;
  long copy_;
};

/// Pages that the program may write to anyway are stored into; others are exchanged for written copies of
/// them.
write_result exchange_pages(std::uintptr_t to, std::span<const std::uint8_t> from) noexcept {
  const auto begin = page_start(to);
  const auto length = page_end(to + from.size()) - begin;
  const bool writable = is_writable(to);
  if (writable != is_writable(to + from.size() - 1)) return write_result::refused;
  if (writable) {
    std::memcpy(reinterpret_cast<void*>(to), from.data(), from.size());
    arch::code_was_written(to, from.size());
    return write_result::done;
  }
  page_copies copy{begin, length};
  if (!copy) return write_result::refused;
  if (!read_memory(begin, copy.bytes())) return write_result::gone;
  std::copy(from.begin(), from.end(), &copy.bytes()[to - begin]);
  if (!copy.exchange()) return write_result::refused;
  arch::code_was_written(begin, length);
  return write_result::done;
}

class process_memory {
 public:
  [[nodiscard]] bool read(std::uintptr_t from, std::span<std::uint8_t> to) const noexcept {
    return file_.read_at(from, to) == raw::word(to.size()) || read_memory(from, to);
  }

  /// Within a page, or a little beyond.
  [[nodiscard]] write_result write(std::uintptr_t to, std::span<const std::uint8_t> from) const noexcept {
    const auto refuse = write_refusal.load(std::memory_order_relaxed);
    if (refuse != nullptr && refuse(page_start(to))) return write_result::refused;
    return write_pages(to, from) ? write_result::done : exchange_pages(to, from);
  }
  /// False: some of it may have been written.
  [[nodiscard]] bool write_pages(std::uintptr_t to, std::span<const std::uint8_t> from) const noexcept {
    if (!file_.write_at(to, from)) return false;
    arch::code_was_written(to, from.size());
    return true;
  }

 private:
  raw::file file_ = raw::open_text();
};

std::uintptr_t page_of(const edit& one) noexcept { return one.address / grain; }

std::size_t same_page(std::span<const edit> edits) noexcept {
  const auto page = page_of(edits.front());
  return static_cast<std::size_t>(
      std::find_if(edits.begin(), edits.end(), [page](const edit& e) { return page_of(e) != page; }) -
      edits.begin());
}

/// A system call has its price, whatever it writes: pages one behind the other, in each of which an edit
/// begins, are one run.
constexpr std::size_t longest_run = 8;
constexpr std::size_t longest_exchange =
    256;                                   // each leaves mappings of its own, of which there may be so many
constexpr std::size_t longest_edit = 256;  // it may run over the run's end by this much

std::size_t same_run(std::span<const edit> edits, std::size_t longest) noexcept {
  if (write_refusal.load(std::memory_order_relaxed) != nullptr) longest = 1;
  std::size_t count = 1;
  while (count < edits.size() && page_of(edits[count]) - page_of(edits[count - 1]) <= 1 &&
         page_of(edits[count]) - page_of(edits.front()) < longest)
    ++count;
  return count;
}

template <class F>
void for_each_page(std::span<edit> edits, F&& visit) noexcept {
  while (!edits.empty()) {
    const auto count = same_page(edits);
    visit(edits.first(count));
    edits = edits.subspan(count);
  }
}

/// What all edits cover, from the first to the last.
struct image {
  std::uintptr_t start = 0;
  std::array<std::uint8_t, longest_run * grain + longest_edit> bytes;
  [[nodiscard]] std::span<std::uint8_t> part(std::span<const edit> edits) noexcept {
    const auto from = edits.front().address - start;
    return std::span{bytes}.subspan(from, edits.back().address + edits.back().size - start - from);
  }
};

/// Applies the edits to their image. False: none of them fits.
bool apply(std::span<edit> edits, image& to) noexcept {
  bool any = false;
  for (auto& one : edits) {
    auto* bytes = &to.bytes[one.address - to.start];
    if (one.expected != nullptr && std::memcmp(bytes, one.expected, one.size) != 0) {
      one.done = edit::outcome::differs;
      continue;
    }
    std::memcpy(bytes, one.wanted, one.size);
    any = true;
  }
  return any;
}

/// Writes the image of edits; a page at a time where all at once does not go.
void store(const process_memory& memory, std::span<edit> edits, image& from) noexcept {
  auto answer = write_result::done;
  if (same_page(edits) == edits.size()) {
    answer = memory.write(edits.front().address, from.part(edits));
  } else if (!memory.write_pages(edits.front().address, from.part(edits))) {
    return for_each_page(edits, [&](std::span<edit> page) { store(memory, page, from); });
  }
  for (auto& one : edits) {
    if (one.done != edit::outcome::pending) continue;
    one.done = answer == write_result::done   ? edit::outcome::written
               : answer == write_result::gone ? edit::outcome::gone
                                              : edit::outcome::refused;
  }
}

/// What stands there now. Where no edit expects anything it is memory of our own, which is not gone.
bool load(const process_memory& memory, std::span<const edit> edits, image& to) noexcept {
  to.start = edits.front().address;
  const auto all = to.part(edits);
  const bool own =
      std::all_of(edits.begin(), edits.end(), [](const edit& e) { return e.expected == nullptr; });
  if (own) std::memcpy(all.data(), reinterpret_cast<const void*>(to.start), all.size());
  return own || memory.read(to.start, all);
}

/// No thread ever runs a part of an edit: one byte is written as it is, and where more change the pages are
/// exchanged, if there are other threads: tracers that look for a page's file find it in its maps else. Only
/// the edits' own bytes are written: a debugger may put breakpoints beside them meanwhile.
void exchange_run(const process_memory& memory, std::span<edit> edits) noexcept {
  const auto begin = page_start(edits.front().address);
  const auto end = page_end(edits.back().address + edits.back().size);
  page_copies copy{begin, end - begin};
  const bool readable = copy && memory.read(begin, copy.bytes());
  if (!readable && edits.size() > 1) {  // some of it may be there
    for (auto& one : edits) exchange_run(memory, {&one, 1});
    return;
  }
  if (!readable) {
    edits.front().done = copy ? edit::outcome::gone : edit::outcome::refused;
    return;
  }
  bool any = false, single = true;
  for (auto& one : edits) {
    auto* const bytes = &copy.bytes()[one.address - begin];
    if (std::memcmp(bytes, one.expected, one.size) != 0) {
      one.done = edit::outcome::differs;
    } else {
      std::memcpy(bytes, one.wanted, one.size);
      any = true;
      single = single && one.size == 1;
    }
  }
  if (!any) return;
  const auto refuse = write_refusal.load(std::memory_order_relaxed);
  const auto written = [](bool done) { return done ? edit::outcome::written : edit::outcome::refused; };
  const bool may = refuse == nullptr || !refuse(begin);
  // What the program may write to it may write to just now.
  const bool alone = may && !single && is_only_thread();
  const bool whole =
      may && !single && !alone && !is_writable(begin) && !is_writable(end - 1) && copy.exchange();
  for (auto& one : edits) {
    if (one.done != edit::outcome::pending) continue;
    const bool at_once = alone || (may && one.size == 1);
    one.done = written(whole || (at_once && memory.write_pages(one.address, {one.wanted, one.size})));
  }
}

void write_run(const process_memory& memory, std::span<edit> edits, image& scratch) noexcept {
  if (load(memory, edits, scratch)) {
    if (apply(edits, scratch)) store(memory, edits, scratch);
  } else if (edits.size() == 1) {
    edits.front().done = edit::outcome::gone;
  } else if (same_page(edits) == edits.size()) {  // some of it may be there
    for (auto& one : edits) write_run(memory, {&one, 1}, scratch);
  } else {
    for_each_page(edits, [&](std::span<edit> page) { write_run(memory, page, scratch); });
  }
}

}  // namespace

namespace {

template <class Run>
bool write_runs(std::span<edit> edits, bool all_or_nothing, std::size_t longest,
                const Run& write_one) noexcept {
  bool good = true;
  for (std::size_t at = 0; at < edits.size();) {
    const auto run = edits.subspan(at, same_run(edits.subspan(at), longest));
    write_one(run);
    good = good && std::all_of(run.begin(), run.end(),
                               [](const edit& e) { return e.done == edit::outcome::written; });
    if (!good && all_or_nothing) break;
    at += run.size();
  }
  if (!good && all_or_nothing) {
    for (auto& one : edits) {
      if (one.done != edit::outcome::written || one.expected == nullptr) continue;
      edit back{one.address, one.wanted, one.expected, one.size, edit::outcome::pending};
      write_one({&back, 1});
      if (back.done == edit::outcome::written) one.done = edit::outcome::pending;
    }
  }
  return good;
}

}  // namespace

bool write_text(std::span<edit> edits, bool all_or_nothing) noexcept {
  static image scratch;  // larger than some threads' stacks
  const process_memory memory;
  return write_runs(edits, all_or_nothing, longest_run,
                    [&](std::span<edit> run) { write_run(memory, run, scratch); });
}

bool exchange_text(std::span<edit> edits, bool all_or_nothing) noexcept {
  const process_memory memory;
  return write_runs(edits, all_or_nothing, longest_exchange,
                    [&](std::span<edit> run) { exchange_run(memory, run); });
}

bool read_memory(std::uintptr_t from, std::span<std::uint8_t> to) noexcept {
  const iovec local{to.data(), to.size()};
  const iovec remote{reinterpret_cast<void*>(from), to.size()};
  const long count = raw::call(__NR_process_vm_readv, process_id(), &local, 1, &remote, 1, 0);
  if (count == raw::word(to.size())) return true;
  if (count >= 0 || count == -EFAULT) return false;
  // A sandbox without that system call.
  const raw::file file{"/proc/self/mem", O_RDONLY};
  const long read = file.read_at(from, to);
  if (read == raw::word(to.size())) return true;
  if (read >= 0 || read == -EIO) return false;
  // Neither: look whether it is there, which may change at once.
  const auto begin = page_start(from);
  std::array<unsigned char, 32> resident;
  for (auto page = begin; page < from + to.size(); page += page_size()) {
    if (raw::call(__NR_mincore, page, page_size(), resident.data()) != 0) return false;
  }
  std::memcpy(to.data(), reinterpret_cast<const void*>(from), to.size());
  return true;
}

void set_write_refusal(bool (*refuse)(std::uintptr_t page)) noexcept { write_refusal = refuse; }

}  // namespace libprobe::os
