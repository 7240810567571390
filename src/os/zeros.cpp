#include "os/zeros.hpp"

#include "os/raw.hpp"

namespace libprobe::os {

void* map_zeros(std::size_t size) noexcept {
  const long at = raw::map(0, size, PROT_READ | PROT_WRITE, MAP_NORESERVE);
  return raw::refused(at) ? nullptr : reinterpret_cast<void*>(at);
}

void clear_zeros(void* from, std::size_t size) noexcept { raw::advise(from, size, MADV_DONTNEED); }

}  // namespace libprobe::os
