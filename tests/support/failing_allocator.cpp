#include "support/failing_allocator.hpp"

#include <cstdlib>
#include <new>

namespace libprobe::test {

constinit thread_local long allowed = -1;

}  // namespace libprobe::test

namespace {

void* allocate(std::size_t size) noexcept {
  auto& allowed = libprobe::test::allowed;
  if (allowed == 0) {
    allowed = -1;
    return nullptr;
  }
  if (allowed > 0) --allowed;
  return std::malloc(size);
}

}  // namespace

void* operator new(std::size_t size) {
  if (void* memory = allocate(size)) return memory;
  throw std::bad_alloc{};
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
