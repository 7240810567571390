// The counter: an attachment without hooks.
#include <libprobe/counter.hpp>

#include "api/kind.hpp"

namespace libprobe {

template <>
struct api::kind_of<counter> : plain_kind<site::attachment> {
  static constexpr char letter = 'c';

  static errc fill(const counter& /*c*/, attachment& a, control::request& need) noexcept {
    a.counts = true;
    need.purpose = site::purpose::count;
    return errc::ok;
  }
};

LIBPROBE_KIND(counter, counters)

}  // namespace libprobe
