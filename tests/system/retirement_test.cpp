// What is taken out while others wait: nobody frees it before its own grace period is over.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using namespace std::chrono_literals;

[[gnu::noinline]] long slow(long x) { return test::opaque(x) + 1; }
[[gnu::noinline]] long victim(long x) { return test::opaque(x) + 2; }

/// A handler that stays until it is let go.
struct gate {
  std::atomic<bool> inside{false}, open{false};

  static int stay(probe& p, registers&) {
    auto& self = *static_cast<gate*>(p.context);
    self.inside = true;
    while (!self.open) std::this_thread::sleep_for(100us);
    self.inside = false;
    return 0;
  }
  void wait_until_inside() const {
    while (!inside) std::this_thread::sleep_for(100us);
  }
};

/// A library comes and goes, and its probe is registered anew each time: after some rounds registration
/// tidies up what that leaves behind.
void come_and_go(probe& in_library, int rounds) {
  for (int i = 0; i < rounds; ++i) {
    void* const library = dlopen(MODULES_PLUGIN, RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    ASSERT_FALSE(register_probe(in_library)) << last_error_detail();
    dlclose(library);
  }
}

/// One thread commits and waits for a handler. Another handler begins meanwhile, its probe is queued, and a
/// registration tidies up. When the first handler ends, the second one is not what that commit has waited
/// for.
TEST(Retirement, ACommitFreesNothingThatAnotherHasTakenOutSince) {
  constexpr int more_than_is_kept = 140;
  gate first, second;
  probe in_library{.at = MODULES_PLUGIN_NAME ":plugin_work", .pre_handler = test::just_count};
  probe waited_for{.at = slow, .pre_handler = gate::stay, .context = &first};
  auto removed = std::make_unique<probe>();
  removed->at = victim;
  removed->pre_handler = gate::stay;
  removed->context = &second;
  probe beside{.at = victim, .pre_handler = test::just_count};
  come_and_go(in_library, more_than_is_kept);
  ASSERT_FALSE(register_probe(waited_for));
  ASSERT_FALSE(register_probe(*removed));
  ASSERT_FALSE(register_probe(beside));

  std::thread in_first{[] { slow(1); }};
  first.wait_until_inside();
  come_and_go(in_library, 2);  // something to wait for
  std::atomic<bool> committed{false};
  std::thread commits{[&] {
    commit_probes();
    committed = true;
  }};
  std::this_thread::sleep_for(100ms);  // most likely it waits by now
  std::thread in_second{[] { victim(1); }};
  second.wait_until_inside();
  unregister_probe_fast(*removed);
  come_and_go(in_library, more_than_is_kept);
  first.open = true;
  while (!committed && second.inside) {
    std::this_thread::sleep_for(1ms);
    static int patience = 0;
    if (++patience > 200) break;  // it may rightly wait for the second one, too
  }

  std::atomic<bool> destroyed{false};
  std::thread destroys{[&] {
    removed.reset();
    destroyed = true;
  }};
  std::this_thread::sleep_for(200ms);  // time enough to return too early
  EXPECT_TRUE(second.inside);
  EXPECT_FALSE(destroyed) << "its handler runs";
  second.open = true;
  for (auto* t : {&destroys, &commits, &in_first, &in_second}) t->join();
  EXPECT_FALSE(commit_probes());
}

}  // namespace
}  // namespace libprobe
