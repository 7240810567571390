#include "os/hold.hpp"

#include <algorithm>
#include <charconv>
#include <climits>
#include <string_view>

#include "os/process.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"

namespace libprobe::os {

namespace {

constexpr std::size_t page = 4096;

struct thread_file {
  char path[64];
  char text[page];
  /// What the file says, as far as there is room.
  std::string_view read(int thread, std::string_view name) noexcept {
    constexpr std::string_view tasks = "/proc/self/task/";
    auto* at = std::copy(tasks.begin(), tasks.end(), path);
    at = std::to_chars(at, at + 16, thread).ptr;
    at = std::copy(name.begin(), name.end(), at);
    *at = '\0';
    const raw::file file{path, O_RDONLY};
    const long size = file ? file.read(text, sizeof text) : 0;
    return {text, size > 0 ? static_cast<std::size_t>(size) : 0};
  }
};

std::uint64_t hexadecimal(std::string_view digits) noexcept {
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return value;
}

/// A thread that waits in the kernel, or is stopped: where it will go on. 0: it runs, or that is not to be
/// seen.
std::uintptr_t waits_at(int thread, thread_file& scratch) noexcept {
  // "running", or words of which the last is the instruction pointer: proc(5).
  auto line = scratch.read(thread, "/syscall");
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const auto last = line.rfind(" 0x");
  return last == std::string_view::npos ? 0 : hexadecimal(line.substr(last + 3));
}

bool blocks(int thread, int signo, thread_file& scratch) noexcept {
  const auto status = scratch.read(thread, "/status");
  constexpr std::string_view key = "\nSigBlk:\t";
  const auto at = status.find(key);
  constexpr std::size_t digits = 16;
  return at == std::string_view::npos ||
         (hexadecimal(status.substr(at + key.size(), digits)) & signal_bit(signo)) != 0;
}

/// getdents64(2).
struct entry {
  std::uint64_t inode;
  std::int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[1];
};

template <class F>
void for_each_other_thread(F&& visit) noexcept {
  const raw::file tasks{"/proc/self/task", O_RDONLY | O_DIRECTORY};
  if (!tasks) return;
  const int me = thread_id();
  alignas(entry) char entries[page];
  for (;;) {
    const long size = tasks.entries(entries, sizeof entries);
    if (size <= 0) return;
    for (long at = 0; at < size;) {
      const auto* const one = reinterpret_cast<const entry*>(entries + at);
      const std::string_view name{one->name};
      int thread = 0;
      const auto read = std::from_chars(name.data(), name.data() + name.size(), thread);
      if (read.ptr == name.data() + name.size() && thread != me) visit(thread);
      at += one->length;
    }
  }
}

}  // namespace

bool hold::is_asked(int thread) const noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    if (hold_requests[i].thread == thread) return true;
  }
  return false;
}

bool hold::ask(int thread) noexcept {
  if (count_ == most_held) return false;
  auto& request = hold_requests[count_];
  request.thread = thread;
  request.state.store(number_, std::memory_order_relaxed);
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_pid = process_id();
  info.si_errno = static_cast<int>(number_);
  info.si_value.sival_ptr = &request;
  if (raw::call(__NR_rt_tgsigqueueinfo, process_id(), thread, hold_signal, &info) != 0) return false;
  ++count_;
  return true;
}

hold::looked hold::ask_threads(bool (*at_stake)(std::uintptr_t ip)) noexcept {
  looked seen;
  thread_file scratch;
  for_each_other_thread([&](int thread) {
    if (is_asked(thread)) return;
    const auto ip = waits_at(thread, scratch);
    if (ip != 0 && !at_stake(ip)) return;
    if (blocks(thread, hold_signal, scratch)) {
      seen.deaf = true;
    } else if (ask(thread)) {
      seen.asked = true;
    }
  });
  return seen;
}

bool hold::all_have_answered() const noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    // Pairs with stay_held().
    if (hold_requests[i].state.load(std::memory_order_acquire) == number_) return false;
  }
  return true;
}

void hold::forget_ended_threads() noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    auto& request = hold_requests[i];
    auto asked = number_;
    if (request.state.load(std::memory_order_relaxed) == asked && !thread_exists(request.thread))
      request.state.compare_exchange_strong(asked, 0, std::memory_order_relaxed);
  }
}

/// For some 0.2 s in which nothing happens. Not by the clock: this thread, too, may be stopped by a debugger.
void hold::wait_for_answers() noexcept {
  constexpr int longest = 200;
  constexpr timespec moment{0, 1'000'000};
  for (int idle = 0; idle < longest;) {
    const auto answers = hold_answers.load(std::memory_order_acquire);
    if (all_have_answered()) return;
    if (raw::call(__NR_futex, &hold_answers, FUTEX_WAIT_PRIVATE, answers, &moment) != -ETIMEDOUT) continue;
    forget_ended_threads();
    ++idle;
  }
}

hold::hold(bool (*at_stake)(std::uintptr_t ip)) noexcept
    : number_{(hold_number.load(std::memory_order_relaxed) + 1) | 1} {
  hold_number.store(number_, std::memory_order_relaxed);
  // Until nobody runs that was not asked: threads wake up in the kernel, and may make others. Those that have
  // all signals blocked have so for a moment mostly.
  constexpr int most_rounds = 16, rounds_for_deaf = 3;
  for (int round = 0, deaf = 0; round < most_rounds && deaf < rounds_for_deaf; ++round) {
    const auto seen = ask_threads(at_stake);
    if (seen.asked) {
      wait_for_answers();
    } else if (seen.deaf) {
      ++deaf;
      raw::call(__NR_sched_yield);
    } else {
      return;
    }
  }
}

hold::~hold() {
  hold_number.store(number_ + 1, std::memory_order_release);  // pairs with stay_held()
  raw::call(__NR_futex, &hold_number, FUTEX_WAKE_PRIVATE, INT_MAX);
}

}  // namespace libprobe::os
