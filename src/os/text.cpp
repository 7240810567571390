#include "os/text.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "os/maps.hpp"

namespace libprobe::os {

namespace {

constexpr std::size_t page_size = 4096;  // the smallest there is; larger pages are written in parts

std::atomic<bool (*)(std::uintptr_t)> write_refusal{nullptr};

enum class write_result : std::uint8_t { done, gone, refused };

/// Pages that the program may write to anyway are stored into; others are exchanged for written copies of
/// them, in one step. No page is ever writable and executable that was not both before, and none that a
/// thread may run stops being executable.
write_result exchange_pages(std::uintptr_t to, std::span<const std::uint8_t> from) noexcept {
  const auto begin = to & ~(page_size - 1);
  const auto length = ((to + from.size() + page_size - 1) & ~(page_size - 1)) - begin;
  const bool writable = is_writable(to);
  if (writable != is_writable(to + from.size() - 1)) return write_result::refused;
  if (writable) {
    std::memcpy(reinterpret_cast<void*>(to), from.data(), from.size());
    return write_result::done;
  }
  void* const copy = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return write_result::refused;
  auto* const bytes = static_cast<std::uint8_t*>(copy);
  auto answer = write_result::refused;
  if (!read_memory(begin, {bytes, length})) {
    answer = write_result::gone;
  } else {
    std::memcpy(bytes + (to - begin), from.data(), from.size());
    // Other threads see the old pages or the new ones: faults wait until both steps of the move are over.
    if (mprotect(copy, length, PROT_READ | PROT_EXEC) == 0 &&
        mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, begin) == reinterpret_cast<void*>(begin))
      return write_result::done;
  }
  munmap(copy, length);
  return answer;
}

/// Opened for each pass: a descriptor that is kept would be inherited by forked children, whose writes would
/// then land in the parent, and a program that closes all descriptors would put its own file under the
/// number.
class process_memory {
 public:
  process_memory() noexcept : file_{open("/proc/self/mem", O_RDWR | O_CLOEXEC)} {}
  ~process_memory() {
    if (file_ >= 0) close(file_);
  }
  process_memory(const process_memory&) = delete;
  process_memory& operator=(const process_memory&) = delete;

  [[nodiscard]] bool read(std::uintptr_t from, std::span<std::uint8_t> to) const noexcept {
    if (file_ >= 0) {
      const auto count = pread(file_, to.data(), to.size(), static_cast<off_t>(from));
      if (count == static_cast<ssize_t>(to.size())) return true;
    }
    return read_memory(from, to);
  }

  /// Within a page, or a little beyond.
  [[nodiscard]] write_result write(std::uintptr_t to, std::span<const std::uint8_t> from) const noexcept {
    const auto refuse = write_refusal.load(std::memory_order_relaxed);
    if (refuse != nullptr && refuse(to & ~(page_size - 1))) return write_result::refused;
    return write_pages(to, from) ? write_result::done : exchange_pages(to, from);
  }
  /// False: some of it may have been written.
  [[nodiscard]] bool write_pages(std::uintptr_t to, std::span<const std::uint8_t> from) const noexcept {
    return file_ >= 0 && pwrite(file_, from.data(), from.size(), static_cast<off_t>(to)) ==
                             static_cast<ssize_t>(from.size());
  }

 private:
  int file_;
};

std::uintptr_t page_of(const edit& one) noexcept { return one.address / page_size; }

std::size_t same_page(std::span<const edit> edits) noexcept {
  const auto page = page_of(edits.front());
  return static_cast<std::size_t>(
      std::find_if(edits.begin(), edits.end(), [page](const edit& e) { return page_of(e) != page; }) -
      edits.begin());
}

/// A system call has its price, whatever it writes: pages one behind the other, in each of which an edit
/// begins, are one run.
constexpr std::size_t longest_run = 8;
constexpr std::size_t longest_edit = 256;  // it may run over the run's end by this much

std::size_t same_run(std::span<const edit> edits) noexcept {
  const std::size_t longest = write_refusal.load(std::memory_order_relaxed) != nullptr ? 1 : longest_run;
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
  std::array<std::uint8_t, longest_run * page_size + longest_edit> bytes;
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

bool write_text(std::span<edit> edits, bool all_or_nothing) noexcept {
  static image scratch;  // larger than some threads' stacks
  const process_memory memory;
  bool good = true;
  for (std::size_t at = 0; at < edits.size();) {
    const auto run = edits.subspan(at, same_run(edits.subspan(at)));
    write_run(memory, run, scratch);
    good = good && std::all_of(run.begin(), run.end(),
                               [](const edit& e) { return e.done == edit::outcome::written; });
    if (!good && all_or_nothing) break;
    at += run.size();
  }
  if (!good && all_or_nothing) {
    for (auto& one : edits) {
      if (one.done != edit::outcome::written || one.expected == nullptr) continue;
      edit back{one.address, one.wanted, one.expected, one.size, edit::outcome::pending};
      write_run(memory, {&back, 1}, scratch);
      if (back.done == edit::outcome::written) one.done = edit::outcome::pending;
    }
  }
  return good;
}

bool read_memory(std::uintptr_t from, std::span<std::uint8_t> to) noexcept {
  const iovec local{to.data(), to.size()};
  const iovec remote{reinterpret_cast<void*>(from), to.size()};
  const auto count = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
  if (count == static_cast<ssize_t>(to.size())) return true;
  if (count >= 0 || errno == EFAULT) return false;
  // A sandbox without that system call.
  const int file = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    const auto read = pread(file, to.data(), to.size(), static_cast<off_t>(from));
    const bool not_there = read >= 0 || errno == EIO;
    close(file);
    if (read == static_cast<ssize_t>(to.size())) return true;
    if (not_there) return false;
  }
  // Neither: look whether it is there, which may change at once.
  const auto begin = from & ~(page_size - 1);
  std::array<unsigned char, 32> resident;
  for (auto page = begin; page < from + to.size(); page += page_size) {
    if (mincore(reinterpret_cast<void*>(page), page_size, resident.data()) != 0) return false;
  }
  std::memcpy(to.data(), reinterpret_cast<const void*>(from), to.size());
  return true;
}

void set_write_refusal(bool (*refuse)(std::uintptr_t page)) noexcept { write_refusal = refuse; }

}  // namespace libprobe::os
