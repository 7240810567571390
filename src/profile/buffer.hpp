// What one thread records. Written by that thread alone, without atomic read-modify-write; read by reports at
// any time.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "profile/buckets.hpp"

namespace libprobe::profile {

/// A number with one writer.
class counter {
 public:
  void add(std::uint64_t more) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t read() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A call that has not ended yet.
struct frame {
  // Its retprobe_instance; null: it has ended, by whatever thread, though others above have not.
  std::atomic<const void*> call;
  std::uint64_t start;
  std::uint64_t paused;    // the buffer's, at the start
  std::uint64_t children;  // ticks in profiled callees
  std::uint64_t value;
  std::uint32_t node;
  std::uint32_t function;
  bool sampled;
};

/// A function as it is called by one chain of profiled callers. Key and links are written before it is
/// published.
struct node {
  std::uint32_t parent;
  std::uint32_t function;
  std::uint32_t next_in_chain;  // of nodes with one hash
  std::uint32_t last_child;     // the one that was called last is likely to be called next
  counter calls;
  counter unwound;
  counter total;  // ticks
  counter self;
};

struct event {
  std::uint64_t start;  // ticks
  std::uint64_t duration;
  std::uint32_t function;
  pid_t thread;
};

/// A distinct stack of a sampled function.
struct sample {
  std::uint32_t function;
  std::uint32_t first;  // in the pool of addresses
  std::uint32_t depth;
  std::uint32_t next_in_chain;
  counter calls;
  counter value;
};

/// How much of what a thread's buffer has room for.
struct capacity {
  std::uint32_t functions = 0;
  std::uint32_t nodes = 0;    // with the root and, for when the tree is full, one for each function
  std::uint32_t samples = 0;  // 0: no stacks are taken
  std::uint64_t events = 0;

  static constexpr std::uint32_t frames = 4096;
  static constexpr std::uint32_t chains = 1U << 14;
  static constexpr std::uint32_t tree_nodes = 1U << 16;
  static constexpr std::uint32_t distinct_samples = 1U << 13;
  static constexpr std::uint32_t sample_depth = 64;
  static constexpr std::uint32_t addresses = 1U << 17;
};

/// Lives in one mapping, with its arrays behind it; zero pages are its initial state.
struct buffer {
  buffer* next;  // of all threads' buffers
  std::size_t bytes;
  std::atomic<pid_t> owner;           // the thread, running or ended
  std::atomic<std::uint64_t> serial;  // of that thread; numbers of threads come again, this does not

  std::uint64_t session;  // what is on the stack belongs to it
  std::uint32_t depth;
  std::uint32_t until_sample;
  std::uint64_t random;
  std::uint64_t paused;  // ticks spent on taking stacks

  counter untimed, unplaced, events_lost, samples_lost;

  std::atomic<std::uint32_t> node_count;
  std::atomic<std::uint32_t> sample_count;
  std::atomic<std::uint64_t> event_count;
  std::uint32_t address_count;

  frame* frames;
  node* nodes;
  std::uint32_t* node_chains;
  counter* latencies;  // buckets::count of each function
  event* events;
  sample* samples;
  std::uint32_t* sample_chains;
  std::uintptr_t* addresses;

  /// Null if the kernel gives no memory. Signal-safe.
  static buffer* make(const capacity& room) noexcept;
  static void free(buffer& one) noexcept;

  static constexpr std::uint32_t root = 0;
  /// Stands for all calls of a function that have no place of their own.
  static constexpr std::uint32_t spare_node(std::uint32_t function) noexcept { return function + 1; }

  /// The child of a node, made if need be.
  std::uint32_t child(std::uint32_t parent, std::uint32_t function, const capacity& room) noexcept;
  /// Starts a stack anew.
  void begin(std::uint64_t new_session) noexcept {
    session = new_session;
    depth = 0;
  }

 private:
  std::uint32_t find_or_make(std::uint32_t parent, std::uint32_t function, const capacity& room) noexcept;
};

inline std::uint32_t buffer::child(std::uint32_t parent, std::uint32_t function,
                                   const capacity& room) noexcept {
  const auto likely = nodes[parent].last_child;
  if (likely != root && nodes[likely].function == function) return likely;
  return nodes[parent].last_child = find_or_make(parent, function, room);
}

}  // namespace libprobe::profile
