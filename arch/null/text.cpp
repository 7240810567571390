// Refuses: see arch/arch.hpp.
#include "arch/text.hpp"

namespace libprobe::arch {

void code_was_written(std::uintptr_t /*at*/, std::size_t /*size*/) noexcept {}
bool page_flush_interrupts() noexcept { return false; }
bool is_translated() noexcept { return false; }

}  // namespace libprobe::arch
