// Children that try something in a place of their own, and say what they found.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "support/probing.hpp"
#include "support/whole_cycle.hpp"

namespace libprobe::test {

/// What a child says: shared with its parent.
class word {
 public:
  word()
      : text_{static_cast<char*>(
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))} {}
  ~word() { munmap(text_, size); }
  word(const word&) = delete;
  word& operator=(const word&) = delete;
  void say(const std::string& text) { std::snprintf(text_, size, "%s", text.c_str()); }
  [[nodiscard]] const char* text() const { return text_; }

 private:
  static constexpr std::size_t size = 4096;
  char* text_;
};

/// What a child ends with when this machine cannot make what is to be tested.
struct cannot {
  std::string why;
};

/// Runs body() in a forked child, in which libprobe has done nothing yet. It returns a flaw, or throws
/// cannot.
template <class Body>
void in_child(Body body) {
  constexpr int skipped = 77;
  word said;
  const auto status = status_of_child([&] {
    try {
      const flaw found = body();
      if (found == nullptr) return 0;
      said.say(std::string{found} + "; last refusal: " + last_error_detail());
      return 1;
    } catch (const cannot& reason) {
      said.say(reason.why);
      return skipped;
    }
  });
  if (WIFEXITED(status) && WEXITSTATUS(status) == skipped) GTEST_SKIP() << "not tested here: " << said.text();
  EXPECT_EQ(told(status), exited_with(0)) << said.text();
}

/// In a child: what the machine must let us do, or there is nothing to test.
inline void demand(bool done, const char* what) {
  if (!done) throw cannot{std::string{what} + ": " + std::strerror(errno)};
}

}  // namespace libprobe::test
