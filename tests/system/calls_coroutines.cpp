// See the header. Compiled with optimisation and without sanitizers: else gcc makes calls of what should be
// jumps.
#include "system/calls_coroutines.hpp"

#include <coroutine>
#include <exception>
#include <utility>

namespace libprobe::test {
namespace {

class task {
 public:
  struct promise_type {
    task get_return_object() { return task{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct back {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
          return self.promise().waiting;
        }
        void await_resume() noexcept {}
      };
      return back{};
    }
    void return_value(long result) { value = result; }
    void unhandled_exception() { std::terminate(); }

    long value = 0;
    std::coroutine_handle<> waiting = std::noop_coroutine();
  };

  explicit task(std::coroutine_handle<promise_type> handle) : handle_{handle} {}
  task(task&& other) noexcept : handle_{std::exchange(other.handle_, nullptr)} {}
  task& operator=(task&&) = delete;
  ~task() {
    if (handle_) handle_.destroy();
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) noexcept {
    handle_.promise().waiting = waiting;
    return handle_;
  }
  [[nodiscard]] long await_resume() const noexcept { return handle_.promise().value; }

  long run() {
    handle_.resume();
    return handle_.done() ? handle_.promise().value : -1;
  }
  /// A frame begins with it.
  [[nodiscard]] const void* resume_function() const {
    return *static_cast<const void* const*>(handle_.address());
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

[[gnu::noinline]] task one_of_many() { co_return 1; }
[[gnu::noinline]] task in_turn(long count) {
  long sum = 0;
  for (long i = 0; i < count; ++i) sum += co_await one_of_many();
  co_return sum;
}
[[gnu::noinline]] task nested(long count) {
  if (count == 0) co_return 0;
  co_return 1 + co_await nested(count - 1);
}

}  // namespace

long await_in_turn(long count) { return in_turn(count).run(); }
long await_nested(long count) { return nested(count).run(); }
const void* awaiting_function() { return in_turn(0).resume_function(); }
const void* awaited_function() { return one_of_many().resume_function(); }
const void* nested_function() { return nested(0).resume_function(); }

}  // namespace libprobe::test
