// The probes of the workload: at the entries of functions, and at every instruction of some.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <libprobe/libprobe.hpp>
#include <span>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <vector>

#include "library.hpp"

inline void must(std::error_code answer, std::string_view doing) {
  if (!answer) return;
  throw std::runtime_error{fmt::format("{}: {} {}", doing, answer.message(), libprobe::last_error_detail())};
}

/// An exported function with a probe at its entry that tells the program's own calls from the library's.
struct watched_function {
  const library::image& in;
  const library::function& what;
  std::atomic<std::uint64_t> from_outside{0};
  libprobe::probe probe{
      .at = fmt::format("{}:{}", in.file_name, what.name), .pre_handler = on_entry, .context = this};

  watched_function(const library::image& image, const library::function& function)
      : in{image}, what{function} {}

  static int on_entry(libprobe::probe& p, libprobe::registers& regs) {
    auto& self = *static_cast<watched_function*>(p.context);
    const auto caller = *reinterpret_cast<const std::uintptr_t*>(regs.sp());
    if (!self.in.holds(caller)) self.from_outside.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
};

inline int only_count(libprobe::probe& /*unused*/, libprobe::registers& /*unused*/) { return 0; }

/// A function and a probe for each of its instructions.
struct watched_code {
  const library::function& what;
  std::vector<library::instruction> code;
  std::deque<libprobe::probe> probes;

  explicit watched_code(const library::function& function)
      : what{function}, code{library::disassemble(function)} {
    for (const auto& one : code) {
      auto& p = probes.emplace_back();
      p.at = reinterpret_cast<const void*>(one.address);
      p.pre_handler = only_count;
    }
  }

  [[nodiscard]] std::uint64_t hits() const {
    std::uint64_t sum = 0;
    for (const auto& p : probes) sum += libprobe::hits(p);
    return sum;
  }
};

inline std::uint64_t hits_of(std::span<libprobe::probe* const> probes) {
  std::uint64_t sum = 0;
  for (const auto* p : probes) sum += libprobe::hits(*p);
  return sum;
}

/// All that is probed at once.
class probe_set {
 public:
  void add_entry(const library::image& in, const library::function& what) {
    auto& added = functions_.emplace_back(in, what);
    all_.push_back(&added.probe);
  }
  void add_code(const library::function& what) {
    auto& added = codes_.emplace_back(what);
    for (auto& p : added.probes) all_.push_back(&p);
  }
  [[nodiscard]] const std::deque<watched_function>& functions() const noexcept { return functions_; }
  [[nodiscard]] const std::deque<watched_code>& codes() const noexcept { return codes_; }
  [[nodiscard]] std::span<libprobe::probe* const> all() const noexcept { return all_; }
  [[nodiscard]] std::uint64_t hits() const { return hits_of(all_); }

 private:
  std::deque<watched_function> functions_;
  std::deque<watched_code> codes_;
  std::vector<libprobe::probe*> all_;
};
