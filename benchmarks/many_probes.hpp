// Thousands of probes at dense sites.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <libprobe/libprobe.hpp>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include "dense_sites.hpp"

/// Probes that are ready to be registered.
class many_probes {
 public:
  explicit many_probes(std::span<const std::uintptr_t> places) : all_{new libprobe::probe[places.size()]} {
    for (std::size_t i = 0; i < places.size(); ++i) {
      all_[i].at = reinterpret_cast<const void*>(places[i]);
      all_[i].pre_handler = [](libprobe::probe&, libprobe::registers&) { return 0; };
      pointers_.push_back(&all_[i]);
    }
  }
  [[nodiscard]] std::span<libprobe::probe* const> all() const { return pointers_; }

 private:
  std::unique_ptr<libprobe::probe[]> all_;
  std::vector<libprobe::probe*> pointers_;
};

inline void must(std::error_code why) {
  if (why) {
    std::fprintf(stderr, "%s: %s\n", why.message().c_str(), libprobe::last_error_detail().c_str());
    std::abort();
  }
}
