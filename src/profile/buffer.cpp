#include "profile/buffer.hpp"

#include <sys/mman.h>

namespace libprobe::profile {

namespace {

constexpr std::uint32_t chain_of(std::uint32_t parent, std::uint32_t function) noexcept {
  const auto mixed = ((std::uint64_t{parent} << 32) | function) * 0x9e3779b97f4a7c15U;
  return static_cast<std::uint32_t>(mixed >> 40) % capacity::chains;
}

/// Gives each array its place behind the buffer; with a null base it only measures.
class layout {
 public:
  explicit layout(std::byte* base) noexcept : base_{base} {}

  template <class T>
  T* place(std::size_t count) noexcept {
    constexpr std::size_t line = 64;
    at_ = (at_ + line - 1) / line * line;
    auto* const where = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at_);
    at_ += count * sizeof(T);
    return where;
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return at_; }

 private:
  std::byte* base_;
  std::size_t at_ = 0;
};

std::size_t arrange(std::byte* base, const capacity& room) noexcept {
  layout memory{base};
  buffer measured{};
  auto* const placed = memory.place<buffer>(1);
  buffer& one = placed != nullptr ? *placed : measured;
  const bool samples = room.samples != 0;
  one.frames = memory.place<frame>(capacity::frames);
  one.nodes = memory.place<node>(room.nodes);
  one.node_chains = memory.place<std::uint32_t>(capacity::chains);
  one.latencies = memory.place<counter>(room.functions * buckets::count);
  one.events = memory.place<event>(room.events);
  one.samples = memory.place<sample>(room.samples);
  one.sample_chains = memory.place<std::uint32_t>(samples ? capacity::chains : 0);
  one.addresses = memory.place<std::uintptr_t>(samples ? capacity::addresses : 0);
  return memory.bytes();
}

}  // namespace

buffer* buffer::make(const capacity& room) noexcept {
  const std::size_t bytes = arrange(nullptr, room);
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  arrange(static_cast<std::byte*>(memory), room);
  auto* const one = static_cast<buffer*>(memory);
  one->bytes = bytes;
  for (std::uint32_t function = 0; function < room.functions; ++function) {
    one->nodes[spare_node(function)].function = function;
  }
  one->node_count.store(room.functions + 1, std::memory_order_relaxed);
  one->random = reinterpret_cast<std::uintptr_t>(memory) | 1U;
  return one;
}

void buffer::free(buffer& one) noexcept { ::munmap(&one, one.bytes); }

std::uint32_t buffer::find_or_make(std::uint32_t parent, std::uint32_t function,
                                   const capacity& room) noexcept {
  auto& chain = node_chains[chain_of(parent, function)];
  for (auto at = chain; at != root; at = nodes[at].next_in_chain) {
    if (nodes[at].parent == parent && nodes[at].function == function) return at;
  }
  const auto fresh = node_count.load(std::memory_order_relaxed);
  if (fresh == room.nodes) return spare_node(function);
  nodes[fresh].parent = parent;
  nodes[fresh].function = function;
  nodes[fresh].next_in_chain = chain;
  chain = fresh;
  node_count.store(fresh + 1, std::memory_order_release);
  return fresh;
}

}  // namespace libprobe::profile
