// Removal: queued, committed, destroyed; by the one who registered, by others, and from inside handlers.
#include <atomic>
#include <memory>
#include <thread>

#include "epoch/epoch.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::just_count;

[[gnu::noinline]] int subject(int x) { return test::opaque(x) + 1; }
[[gnu::noinline]] int neighbour(int x) { return test::opaque(x) + 2; }

std::vector<std::uint8_t> text() { return test::bytes_at(test::code_of(&subject), 8); }

TEST(Removal, RestoresTheText) {
  const auto before = text();
  probe p{.at = &subject, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  EXPECT_NE(text(), before);
  EXPECT_EQ(subject(1), 2);
  unregister_probe(p);
  EXPECT_EQ(text(), before);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 1U) << "readable afterwards";
  EXPECT_EQ(nmissed(p), 0U);
  EXPECT_EQ(address_of(p), test::code_of(&subject));
}

TEST(Removal, OfWhatIsNotRegisteredDoesNothing) {
  probe p{.at = &subject, .pre_handler = just_count};
  unregister_probe(p);
  unregister_probe_fast(p);
  probe* const one[] = {&p, &p};
  unregister_probes(one);
  ASSERT_FALSE(register_probe(p));
  unregister_probe(p);
  unregister_probe(p);
  EXPECT_FALSE(commit_probes());
}

TEST(Removal, FastDisarmsAtOnce) {
  probe p{.at = &subject, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  unregister_probe_fast(p);
  unregister_probe_fast(p);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 0U);
  EXPECT_FALSE(commit_probes());
}

TEST(Removal, OneGracePeriodForAll) {
  std::vector<std::unique_ptr<probe>> probes;
  std::vector<probe*> all;
  for (int i = 0; i < 100; ++i) {
    probes.emplace_back(new probe{.at = i % 2 == 0 ? &subject : &neighbour, .pre_handler = just_count});
    all.push_back(probes.back().get());
  }
  ASSERT_FALSE(register_probes(all));
  EXPECT_EQ(subject(1), 2);
  const auto before = epoch::grace_periods();
  unregister_probes(all);
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  for (auto* p : all) ASSERT_FALSE(register_probe(*p));
  for (auto* p : all) unregister_probe_fast(*p);
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(epoch::grace_periods(), before + 2);
  probes.clear();
  EXPECT_EQ(epoch::grace_periods(), before + 2);
}

TEST(Removal, AQueuedProbeMayBeRegisteredAgain) {
  probe p{.at = &subject, .pre_handler = just_count};
  for (int round = 0; round < 20; ++round) {
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(subject(1), 2);
    EXPECT_EQ(hits(p), 1U) << "reset by registration";
    unregister_probe_fast(p);
  }
  p.at = &neighbour;
  ASSERT_FALSE(register_probe(p));
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(neighbour(1), 3);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(list_probes().size(), 1U);
  unregister_probe(p);
  EXPECT_TRUE(list_probes().empty());
}

TEST(Removal, ARefusedRegistrationOfAQueuedProbeLeavesItRemoved) {
  probe p{.at = &subject, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  unregister_probe_fast(p);
  p.at = "no_such_function_here";
  EXPECT_EQ(register_probe(p), errc::symbol_not_found);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 0U);
  EXPECT_EQ(address_of(p), test::code_of(&subject));
}

TEST(Removal, WhatHandlersWroteIsSeenAfterwards) {
  // Plainly written, and freed: a removal orders all that handlers did before all that comes after it.
  for (int round = 0; round < 200; ++round) {
    auto written = std::make_unique<std::uint64_t>(0);
    std::atomic<bool> stop{false};
    std::thread hitting{[&stop] {
      while (!stop.load(std::memory_order_relaxed)) subject(1);
    }};
    probe p{.at = &subject,
            .pre_handler =
                [](probe& self, registers&) {
                  ++*static_cast<std::uint64_t*>(self.context);
                  return 0;
                },
            .context = written.get()};
    ASSERT_FALSE(register_probe(p));
    while (hits(p) < 10) std::this_thread::yield();
    unregister_probe(p);
    EXPECT_EQ(*written, hits(p));
    written.reset();
    stop.store(true, std::memory_order_relaxed);
    hitting.join();
  }
}

TEST(Destruction, OfARegisteredProbeRemovesIt) {
  const auto before = text();
  {
    probe p{.at = &subject, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p));
    EXPECT_NE(text(), before);
  }
  EXPECT_EQ(text(), before);
  EXPECT_EQ(subject(1), 2);
}

TEST(Destruction, OfAQueuedProbeWaitsForItsGracePeriod) {
  const auto before = epoch::grace_periods();
  {
    probe p{.at = &subject, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p));
    unregister_probe_fast(p);
    EXPECT_EQ(epoch::grace_periods(), before);
  }
  EXPECT_EQ(epoch::grace_periods(), before + 1);
}

TEST(Destruction, OfANeverRegisteredOrCommittedProbeDoesNotWait) {
  const auto before = epoch::grace_periods();
  { const probe p{.at = &subject, .pre_handler = just_count}; }
  EXPECT_EQ(epoch::grace_periods(), before);
}

/// Handlers that stay until they are let go.
struct gate {
  std::atomic<bool> entered{false}, open{false};
  static int pass(probe& p, registers&) {
    auto& self = *static_cast<gate*>(p.context);
    self.entered = true;
    while (!self.open) std::this_thread::yield();
    return 0;
  }
};

TEST(Destruction, WaitsForAHandlerThatIsRunning) {
  gate g;
  auto* p = new probe{.at = &subject, .pre_handler = gate::pass, .context = &g};
  ASSERT_FALSE(register_probe(*p));
  std::thread in_handler{[] { EXPECT_EQ(subject(1), 2); }};
  while (!g.entered) std::this_thread::yield();
  std::atomic<bool> freed{false};
  std::thread destroyer{[&] {
    delete p;
    freed = true;
  }};
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  EXPECT_FALSE(freed);
  g.open = true;
  destroyer.join();
  in_handler.join();
}

TEST(Destruction, DuringAnotherThreadsCommitWaitsForThatCommit) {
  gate g;
  auto* p = new probe{.at = &subject, .pre_handler = gate::pass, .context = &g};
  ASSERT_FALSE(register_probe(*p));
  std::thread in_handler{[] { EXPECT_EQ(subject(1), 2); }};
  while (!g.entered) std::this_thread::yield();
  unregister_probe_fast(*p);
  const auto epoch_before = epoch::detail::current.load();
  std::thread committer{[] { EXPECT_FALSE(commit_probes()); }};
  while (epoch::detail::current.load() == epoch_before) std::this_thread::yield();
  std::atomic<bool> freed{false};
  std::thread destroyer{[&] {
    delete p;
    freed = true;
  }};
  for (int i = 0; i < 1000; ++i) std::this_thread::yield();
  EXPECT_FALSE(freed);
  // Others may register meanwhile: nobody holds the registry while waiting.
  probe other{.at = &neighbour, .pre_handler = just_count};
  EXPECT_FALSE(register_probe(other));
  EXPECT_EQ(neighbour(1), 3);
  EXPECT_EQ(hits(other), 1U);
  g.open = true;
  destroyer.join();
  committer.join();
  in_handler.join();
}

TEST(Destruction, AtExitIsSafe) {
  const auto body = [] {
    static probe p{.at = &subject, .pre_handler = just_count};
    if (register_probe(p)) return 1;
    if (subject(1) != 2) return 2;
    exit(hits(p) == 1 ? 0 : 3);
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(0));
}

TEST(Destruction, InsideAHandlerEndsTheProcessWithAWord) {
  const auto body = [] {
    static probe* doomed = new probe{.at = &neighbour, .pre_handler = just_count};
    probe p{.at = &subject, .pre_handler = [](probe&, registers&) {
              delete doomed;
              return 0;
            }};
    if (register_probe(*doomed) || register_probe(p)) return 1;
    return subject(1);
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::killed_by(SIGABRT));
}

std::error_code answer_in_handler;
probe* target_of_handler = nullptr;

TEST(FromAHandler, CommitWouldDeadlock) {
  probe p{.at = &subject, .pre_handler = [](probe&, registers&) {
            answer_in_handler = commit_probes();
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(answer_in_handler, errc::would_deadlock);
  EXPECT_EQ(answer_in_handler, std::errc::resource_deadlock_would_occur);
}

TEST(FromAHandler, UnregisterOnlyQueues) {
  // Of itself and of another; the probe is disarmed at once.
  probe other{.at = &neighbour, .pre_handler = just_count};
  target_of_handler = &other;
  probe p{.at = &subject, .pre_handler = [](probe& self, registers&) {
            unregister_probe(self);
            unregister_probe(*target_of_handler);
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(other));
  const auto before = epoch::grace_periods();
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(epoch::grace_periods(), before);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(neighbour(1), 3);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(hits(other), 0U);
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
}

TEST(FromAHandler, RegisterEnableAndDisableWork) {
  probe other{.at = &neighbour, .pre_handler = just_count};
  target_of_handler = &other;
  probe p{.at = &subject,
          .pre_handler =
              [](probe&, registers&) {
                answer_in_handler = register_probe(*target_of_handler);
                return 0;
              },
          .post_handler =
              [](probe& self, registers&) {
                if (!answer_in_handler) answer_in_handler = disable_probe(self);
              }};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(answer_in_handler, std::error_code{});
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(neighbour(1), 3);
  EXPECT_EQ(hits(other), 1U);
  EXPECT_EQ(hits(p), 1U);
}

}  // namespace
}  // namespace libprobe
