// Return probes are removed while calls are inside the function: nobody waits for those, they return rightly,
// and no handler runs after the commit. And what the kinds share: one commit, one batch.
#include <pthread.h>
#include <unistd.h>

#include <thread>

#include "epoch/epoch.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

std::atomic<int> inside{0};
std::atomic<bool> open{false};

[[gnu::noinline]] long waits(long x) {
  ++inside;
  while (!open) std::this_thread::yield();
  return opaque(x) + 1;
}
[[gnu::noinline]] long subject(long x) { return opaque(x) + 1; }

/// A thread that is inside a call of waits() for as long as the door is closed.
class caller {
 public:
  caller() {
    open = false;
    const int before = inside;
    thread_ = std::thread{[this] { result_ = waits(41); }};
    while (inside == before) std::this_thread::yield();
  }
  long result() {
    open = true;
    thread_.join();
    return result_;
  }

 private:
  long result_ = 0;
  std::thread thread_;
};

TEST(Removal, DoesNotWaitForCallsInside) {
  followed p{&waits};
  caller c;
  EXPECT_EQ(p.entries(), 1U);
  unregister_retprobe(p.probe());
  EXPECT_TRUE(list_probes().empty());
  EXPECT_EQ(c.result(), 42);
  EXPECT_EQ(p.returns() + p.unwinds(), 0U) << "no handler after the commit";
  EXPECT_FALSE(commit_probes());
}

TEST(Removal, TheObjectMayGoWhileACallIsInside) {
  auto p = std::make_unique<followed>(&waits);
  caller c;
  p.reset();
  EXPECT_EQ(c.result(), 42);
}

TEST(Removal, TheObjectMayBeRegisteredAnewWhileACallIsInside) {
  followed p{&waits, 2};
  caller first;
  unregister_retprobe(p.probe());
  ASSERT_FALSE(register_retprobe(p.probe()));
  std::thread second{[] { EXPECT_EQ(waits(1), 2); }};
  while (p.entries() != 2) std::this_thread::yield();
  EXPECT_EQ(hits(p.probe()), 1U);
  EXPECT_EQ(first.result(), 42);
  second.join();
  EXPECT_EQ(p.returns(), 1U) << "of the second registration";
}

TEST(Removal, OfABlockedRead) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  followed p{"libc.so.6:read", 4};
  ssize_t got = 0;
  char letter = 0;
  std::thread reader{[&] { got = read(ends[0], &letter, 1); }};
  while (p.entries() == 0) std::this_thread::yield();
  unregister_retprobe(p.probe());
  EXPECT_EQ(write(ends[1], "x", 1), 1);
  reader.join();
  EXPECT_EQ(got, 1);
  EXPECT_EQ(letter, 'x');
  EXPECT_EQ(p.returns(), 0U);
  close(ends[0]);
  close(ends[1]);
}

TEST(Removal, ByExceptionAfterTheCommit) {
  static retprobe* removed;
  struct thrower {
    [[gnu::noinline]] static void run(bool doit) {
      unregister_retprobe(*removed);
      if (opaque(doit)) throw 5;
    }
  };
  followed p{&thrower::run};
  removed = &p.probe();
  for (int i = 0; i < 100; ++i) {
    EXPECT_THROW(thrower::run(true), int);
    ASSERT_FALSE(register_retprobe(p.probe()));
  }
  EXPECT_EQ(p.entries(), 100U);
  EXPECT_EQ(p.returns() + p.unwinds(), 0U);
}

TEST(Removal, GivesMemoryBackOnceTheCallsAreOver) {
  // 4 MiB of instances each: two thousand of them would not fit.
  for (int round = 0; round < 2000; ++round) {
    retprobe p{
        .at = &waits, .handler = [](retprobe_instance&, registers&) {}, .maxactive = 1024, .data_size = 4000};
    ASSERT_FALSE(register_retprobe(p));
    if (round % 100 == 0) {
      caller c;
      unregister_retprobe(p);
      EXPECT_EQ(c.result(), 42);
    }
  }
  EXPECT_FALSE(commit_probes());
}

TEST(Disabling, WhileACallIsInside) {
  followed p{&waits};
  caller c;
  ASSERT_FALSE(disable_retprobe(p.probe()));
  EXPECT_EQ(c.result(), 42);
  EXPECT_EQ(waits(1), 2);
  EXPECT_EQ(p.entries(), 1U);
  EXPECT_EQ(p.returns(), 1U) << "what began is told to the end";
}

void jprobe_entry(long) {}

TEST(OneGracePeriod, ForAllKindsAndMany) {
  std::vector<std::unique_ptr<retprobe>> many;
  std::vector<retprobe*> all;
  for (int i = 0; i < 50; ++i) {
    many.emplace_back(new retprobe{.at = i % 2 == 0 ? &subject : &waits,
                                   .handler = [](retprobe_instance&, registers&) {},
                                   .maxactive = 2});
    all.push_back(many.back().get());
  }
  ASSERT_FALSE(register_retprobes(all));
  EXPECT_EQ(subject(1), 2);
  auto before = epoch::grace_periods();
  unregister_retprobes(all);
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  EXPECT_TRUE(list_probes().empty());

  ASSERT_FALSE(register_retprobes(all));
  probe k{.at = &subject, .pre_handler = test::just_count};
  jprobe j{.at = &subject, .entry = reinterpret_cast<void*>(&jprobe_entry)};
  ASSERT_FALSE(register_probe(k));
  ASSERT_FALSE(register_jprobe(j));
  before = epoch::grace_periods();
  for (auto* p : all) unregister_retprobe_fast(*p);
  unregister_probe_fast(k);
  unregister_jprobe_fast(j);
  EXPECT_EQ(epoch::grace_periods(), before);
  EXPECT_EQ(subject(1), 2);
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  EXPECT_EQ(hits(k) + hits(j) + hits(*all[0]), 0U);
}

TEST(MixedBatch, IsAllOrNothing) {
  probe k{.at = &subject, .pre_handler = test::just_count};
  jprobe j{.at = &subject, .entry = reinterpret_cast<void*>(&jprobe_entry)};
  retprobe r{.at = &subject, .handler = [](retprobe_instance&, registers&) {}};
  retprobe bad{.at = "no_such_function_here", .handler = [](retprobe_instance&, registers&) {}};
  const auto text = test::bytes_at(test::code_of(&subject), 8);
  batch b;
  b.add(k).add(j).add(r).add(bad);
  EXPECT_EQ(b.commit(), errc::symbol_not_found);
  EXPECT_EQ(test::bytes_at(test::code_of(&subject), 8), text);
  EXPECT_TRUE(list_probes().empty());
  b.add(k).add(j).add(r);
  EXPECT_FALSE(b.commit());
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(k) + hits(j) + hits(r), 3U);
  const auto before = epoch::grace_periods();
  b.remove(k).remove(j).remove(r);
  EXPECT_FALSE(b.commit());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  EXPECT_TRUE(list_probes().empty());
}

}  // namespace
}  // namespace libprobe
