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

constexpr std::size_t page = 4096;  // what one look at a file of /proc brings

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

/// A thread that waits in a system call: where it will go on. 0: it does not, or that is not to be seen.
std::uintptr_t waits_at(int thread, thread_file& scratch) noexcept {
  // "running", or the call's number (-1: it waits for a page, or is stopped) and words of which the last is
  // the instruction pointer: proc(5).
  auto line = scratch.read(thread, "/syscall");
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  const auto last = line.rfind(" 0x");
  return last == std::string_view::npos || line.front() == '-' ? 0 : hexadecimal(line.substr(last + 3));
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

std::span<hold_request> hold::asked() const noexcept { return requests().first(count_); }

/// Those of the last one are not written over yet.
std::span<hold_request> hold::requests() const noexcept {
  return std::span{hold_requests}.subspan((number_ >> 1 & 1) * most_held, most_held);
}

bool hold::is_asked(int thread) const noexcept {
  const auto all = asked();
  return std::any_of(all.begin(), all.end(), [thread](const auto& r) { return r.thread == thread; });
}

/// It was held by the last one, which may have left it a moment ago only.
bool hold::was_held(int thread) const noexcept {
  const auto last = std::span{hold_requests}.subspan((~number_ >> 1 & 1) * most_held, most_held);
  const auto held = number_ - 2 + 1;
  return std::any_of(last.begin(), last.end(), [=](const auto& r) {
    return r.thread == thread && r.state.load(std::memory_order_relaxed) == held;
  });
}

bool hold::ask(int thread) noexcept {
  if (count_ == most_held) return false;
  auto& request = requests()[count_];
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
    if (!blocks(thread, hold_signal, scratch)) {
      seen.asked = ask(thread) || seen.asked;
    } else if (was_held(thread)) {
      seen.leaving = true;
    } else {
      seen.deaf = true;
    }
  });
  return seen;
}

bool hold::all_have_answered() const noexcept {
  const auto all = asked();
  return std::none_of(all.begin(), all.end(), [this](const auto& r) {
    return r.state.load(std::memory_order_acquire) == number_;  // pairs with stay_held()
  });
}

void hold::forget_ended_threads() noexcept {
  for (auto& request : asked()) {
    auto asked = number_;
    if (request.state.load(std::memory_order_relaxed) == asked && !thread_exists(request.thread))
      request.state.compare_exchange_strong(asked, 0, std::memory_order_relaxed);
  }
}

namespace {

// Not by the clock: a debugger may stop this thread, too.
constexpr int most_moments = 1000;
constexpr timespec moment{0, 1'000'000};

}  // namespace

void hold::wait_for_answers() noexcept {
  for (int idle = 0; idle < most_moments;) {
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
  // Until nobody runs that was not asked: threads wake up in the kernel, and may make others. Some have all
  // signals blocked for a moment, as those that begin, end, or are on their way out of the last hold.
  constexpr int most_rounds = 16, most_for_deaf = 3;
  for (int rounds = 0, deaf = 0, leaving = 0;
       rounds < most_rounds && deaf < most_for_deaf && leaving < most_moments;) {
    const auto seen = ask_threads(at_stake);
    if (seen.asked) {
      wait_for_answers();
      ++rounds;
    } else if (seen.leaving) {
      raw::sleep(moment);
      ++leaving;
    } else if (seen.deaf) {
      raw::sleep(moment);
      ++deaf;
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
