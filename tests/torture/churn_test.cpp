// Churn: probes are registered again before their commit, removed, read and destroyed by many threads, while
// libraries, threads and processes come and go and hits are left by siglongjmp. What is freed is filled with
// a pattern at once (support/filled_frees.cpp). tests/torture/seeded/ puts bugs back, each of which this must
// find.
#include "torture/churn/escapes.hpp"
#include "torture/churn/kinds.hpp"
#include "torture/churn/removal.hpp"
#include "torture/churn/watch.hpp"

namespace libprobe::churn {
namespace {

constexpr int long_enough = 2;  // times what other tortures last

TEST(Churn, NothingIsLostAndNothingFreedEarly) {
  static again<1> one;
  static again<2> another;
  replaced_again replacements;
  brief_threads threads;
  std::array<probe, places> beside;
  for (std::size_t i = 0; i < places; ++i) {
    beside[i].at = stays[i];
    beside[i].pre_handler = stay_a_while;
    ASSERT_FALSE(register_probe(beside[i]));
  }
  // ThreadSanitizer puts signals off until it likes them, does not see the locks that libprobe takes inside
  // dlopen(), and does not let a child of many threads make threads. AddressSanitizer's own locks stay taken
  // in such a child, and it takes a stack that overflows for its own finding.
  std::unique_ptr<interrupted> left_hits;
  std::unique_ptr<overflowing> overflows;
  std::unique_ptr<library_again> library;
  if (!threads_checked) {
    left_hits = std::make_unique<interrupted>();
    library = std::make_unique<library_again>();
    if (!addresses_checked) overflows = std::make_unique<overflowing>();
  }
  {
    crowd all{long_enough};
    all.add("again", [](auto round) { one.round(round); });
    all.add("again", [](auto round) { another.round(round + 1); });
    all.add("read", [](auto) {
      one.read();
      another.read();
    });
    all.add("list", [](auto round) {
      if (round % 8 == 0) list_probes();
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    });
    for (unsigned i = 0; i < 2; ++i) {
      all.add("commit", [](auto round) {
        must(!commit_probes(), "a commit");
        std::this_thread::sleep_for(std::chrono::milliseconds{round % 4});
      });
      all.add("remove", [i](auto round) { come_and_go(round + i); });
    }
    for (unsigned i = 0; i < 2 * places; ++i)
      all.add("call", [i](auto) { must(stays[i % places](1) == 22 + i % places, "the program's result"); });
    all.add("rest", [&beside](auto round) {
      auto& one = beside[round % places];
      must(!disable_probe(one) && !enable_probe(one), "a probe rests");
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    });
    all.add("replace", [&](auto round) { replacements.round(round); });
    all.add("threads", [&](auto round) { threads.round(round); });
    if (library != nullptr) all.add("library", [&](auto round) { library->round(round); });
    if (left_hits != nullptr) {
      all.add("leave", [&](auto round) { left_hits->call(round); });
      all.add("interrupt", [&](auto round) { left_hits->interrupt(round); });
    }
    if (overflows != nullptr) all.add("overflow", [&](auto round) { overflows->round(round); });
    if (!threads_checked && !addresses_checked) {
      all.add("fork", [](auto round) {
        fork_a_child(round);
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
      });
    }
    all.join();
    for (const char* part :
         {"again", "commit", "call", "remove", "replace", "threads", "library", "leave", "overflow", "fork"})
      RecordProperty(part, std::to_string(all.done(part)));
  }
  for (const auto& p : beside) EXPECT_EQ(nmissed(p), 0U) << "no thread that calls it is in a handler";
  for (const auto& p : beside) std::printf("beside %lu %lu\n", hits(p), nmissed(p));
  EXPECT_EQ(broken, 0U) << "see what was said at the time";
}

}  // namespace
}  // namespace libprobe::churn
