// A profiler's inside: the functions under their probes, and what their hooks share.
#pragma once

#include <deque>
#include <libprobe/counter.hpp>
#include <libprobe/profile.hpp>
#include <mutex>

#include "profile/session.hpp"

namespace libprobe {

class __attribute__((visibility("hidden"))) profiler::state {
 public:
  explicit state(profile_options options);
  ~state();
  state(const state&) = delete;
  state& operator=(const state&) = delete;

  std::error_code start();
  void stop();
  [[nodiscard]] bool running() const;
  [[nodiscard]] profile_report report() const;

 private:
  struct entry {
    profile::chosen what;
    counter count{};
    retprobe time{};
    bool refused = false;
    bool armed = false;
    std::uint64_t calls_before = 0;  // in runs that have ended; profile_detail::calls only
    std::uint64_t missed_before = 0;

    [[nodiscard]] std::uint64_t calls() const { return calls_before + (armed ? hits(count) : 0); }
    [[nodiscard]] std::uint64_t missed() const {
      return missed_before + (armed ? nmissed(count) + nmissed(time) : 0);
    }
  };

  void choose();
  void set_up(const function_info& function);
  std::error_code leave_out_refused(std::vector<entry*>& wanted);
  void disarm();
  [[nodiscard]] std::error_code register_all(std::span<entry* const> some);

  mutable std::mutex lock_;
  const profile_options options_;
  profile::session shared_;
  const profile::calibration calibration_;
  std::deque<entry> entries_;
  std::vector<skipped_function> skipped_;
  bool running_ = false;
  std::uint64_t started_ns_ = 0;
  std::uint64_t ran_ns_ = 0;
};

}  // namespace libprobe
