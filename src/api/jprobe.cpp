// The jprobe: its entry, called in ordinary context.
#include <libprobe/jprobe.hpp>

#include "api/jprobe_hooks.hpp"
#include "api/kind.hpp"

namespace libprobe {

template <>
struct api::kind_of<jprobe> : plain_kind<jprobe_attachment> {
  static constexpr char letter = 'j';

  static bool has_handler(const jprobe& p) noexcept { return p.entry != nullptr; }

  static errc fill(const jprobe& p, attachment& a, control::request& need) {
    a.entry = p.entry;
    a.stack_bytes = p.stack_bytes;
    a.before = jprobe_before;
    a.counts_itself = true;
    a.vectors = vectors_of(p.flags, p.entry);
    a.vectors.add(arch::vector_use::in_ordinary_context());
    need.code = true;
    need.entry = true;
    return errc::ok;
  }
};

LIBPROBE_KIND(jprobe, jprobes)

}  // namespace libprobe
