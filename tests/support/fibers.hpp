// Fibers of makecontext(), which any thread may resume: one at a time, not two at once.
#pragma once

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "support/probing.hpp"

namespace libprobe::test {

class fiber {
 public:
  /// `body` gets the fiber, to yield() from wherever it is.
  explicit fiber(std::function<void(fiber&)> body, std::size_t stack_size = std::size_t{256} * 1024)
      : body_{std::move(body)},
        size_{stack_size},
        stack_{mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)} {
    begin(stack_, size_);
  }
  /// On a stack of somebody else's.
  fiber(std::function<void(fiber&)> body, void* stack, std::size_t stack_size)
      : body_{std::move(body)}, size_{stack_size} {
    begin(stack, size_);
  }
  /// One that has not ended is given up where it is.
  ~fiber() {
    if (stack_ != nullptr) munmap(stack_, size_);
  }
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;

  /// Until it yields or ends; in whatever thread. False: it has ended.
  bool resume() {
    swapcontext(&home_, &self_);
    return !ended_;
  }
  void yield() { swapcontext(&self_, &home_); }

 private:
  void begin(void* stack, std::size_t size) {
    getcontext(&self_);
    self_.uc_stack.ss_sp = stack;
    self_.uc_stack.ss_size = size;
    self_.uc_link = nullptr;
    const auto word = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&self_, reinterpret_cast<void (*)()>(&start), 2, static_cast<unsigned>(word),
                static_cast<unsigned>(word >> 32));
  }
  static void start(unsigned low, unsigned high) {
    auto& self = *reinterpret_cast<fiber*>(static_cast<std::uintptr_t>(high) << 32 | low);
    self.body_(self);
    self.ended_ = true;
    setcontext(&self.home_);  // never uc_link: that was fixed where the fiber began
  }

  std::function<void(fiber&)> body_;
  std::size_t size_;
  void* stack_ = nullptr;
  ucontext_t self_{}, home_{};
  bool ended_ = false;
};

}  // namespace libprobe::test
