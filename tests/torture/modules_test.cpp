// Libraries loaded and unloaded by some threads, while others place and remove probes there.
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "support/probing.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

namespace fs = std::filesystem;
using test::just_count;
using work = int (*)(int, int);

constexpr int owners = 4, meddlers = 4;

/// A folder with a plugin for each thread that loads its own, and one for all.
class plugins {
 public:
  plugins() {
    char name[] = "torture_modules_XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    folder_ = fs::absolute(name);
    for (int i = 0; i <= owners; ++i) fs::copy_file(MODULES_PLUGIN, path(i));
  }
  ~plugins() { fs::remove_all(folder_); }
  plugins(const plugins&) = delete;
  plugins& operator=(const plugins&) = delete;

  [[nodiscard]] static std::string name(int i) { return "plugin" + std::to_string(i) + ".so"; }
  [[nodiscard]] fs::path path(int i) const { return folder_ / name(i); }

 private:
  fs::path folder_;
};

constexpr int shared = owners;

void nothing(int, int) {}
int in_place(int a, int b) { return reinterpret_cast<work>(original(*current_replacement()))(a, b) + 1000; }

/// What became of the probes in one file.
std::string rows_of(const std::string& file) {
  std::string told;
  for (const auto& row : list_probes()) {
    if (row.symbol.find(file) == std::string::npos && row.module.find(file) == std::string::npos) continue;
    told +=
        fmt::format("\n{} {:#x} {} {}{}{}{}: {}", row.kind, row.address, row.symbol, row.gone ? "gone " : "",
                    row.pending ? "pending " : "", row.disabled ? "disabled " : "", row.tactic, row.reason);
  }
  return told;
}

/// Loads a library that is its own again and again: its probes see each call, the constructor's first.
void own(const plugins& all, int number, const test::until_time_is_over& time) {
  const auto where = plugins::name(number) + ":plugin_work";
  probe p{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
  retprobe r{.at = where, .handler = [](retprobe_instance&, registers&) {}, .flags = probe_flags::pending};
  replacement instead{
      .at = where, .entry = reinterpret_cast<void*>(&in_place), .flags = probe_flags::pending};
  for (int round = 0; time; ++round) {
    batch add;
    add.add(p).add(r);
    if (round % 2 != 0) add.add(instead);
    const auto refused = add.commit();
    ASSERT_FALSE(refused) << refused.message() << ": " << last_error_detail();
    void* const library = dlopen(all.path(number).c_str(), RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    const int more = round % 2 != 0 ? 1000 : 0;
    ASSERT_EQ(*static_cast<int*>(dlsym(library, "plugin_early_work")), 12 + more)
        << rows_of(plugins::name(number));
    const auto call = reinterpret_cast<work>(dlsym(library, "plugin_work"));
    for (int i = 0; i < 5; ++i) ASSERT_EQ(call(i, 1), 10 * i + 1 + more) << rows_of(plugins::name(number));
    ASSERT_EQ(hits(p) + nmissed(p), 6U) << rows_of(plugins::name(number));
    ASSERT_EQ(hits(r) + nmissed(r), 6U) << rows_of(plugins::name(number));
    dlclose(library);
    if (round % 3 != 0) continue;
    batch remove;
    remove.remove(p).remove(r).remove(instead);
    ASSERT_FALSE(remove.commit());
  }
}

/// Everything else that the library may do meanwhile, by names that may be anywhere just now, or nowhere.
void meddle(const plugins& all, int number, const test::until_time_is_over& time) {
  unsigned random = 12345U + static_cast<unsigned>(number);
  const auto next = [&random](unsigned below) {
    random = random * 1103515245 + 12345;
    return (random >> 16) % below;
  };
  std::array<probe, 4> probes;
  jprobe entry{.at = nullptr, .entry = reinterpret_cast<void*>(&nothing)};
  latency times;
  counter counts;
  const auto somewhere = [&next] {
    const auto file = next(owners + 2);
    const auto in = file <= owners ? plugins::name(static_cast<int>(file)) + ":" : std::string{};
    return in + (file == shared && next(2) == 0 ? "plugin_choice" : "plugin_work");
  };
  const auto some_flags = [&next] { return next(2) == 0 ? probe_flags::pending : probe_flags::none; };
  while (time) {
    for (auto& p : probes) {
      unregister_probe_fast(p);
      if (next(2) == 0) commit_probes();
      p.at = somewhere();
      p.pre_handler = just_count;
      p.flags = some_flags();
      static_cast<void>(register_probe(p));
    }
    unregister_jprobe(entry);
    entry.at = somewhere();
    entry.flags = some_flags();
    static_cast<void>(register_jprobe(entry));
    unregister_latency_fast(times);
    times.at = somewhere();
    times.flags = some_flags();
    static_cast<void>(register_latency(times));
    unregister_counter_fast(counts);
    counts.at = somewhere();
    counts.flags = some_flags();
    static_cast<void>(register_counter(counts));
    static_cast<void>(disable_probe(probes[next(4)]));
    static_cast<void>(enable_probe(probes[next(4)]));
    for (const auto& row : list_probes()) EXPECT_FALSE(row.gone && row.pending);
    if (next(2) == 0) {
      void* const library = dlopen(all.path(shared).c_str(), RTLD_NOW);
      const auto call = reinterpret_cast<work>(dlsym(library, "plugin_work"));
      EXPECT_EQ(call(1, 2), 12);
      const auto choice = reinterpret_cast<int (*)(int)>(dlsym(library, "plugin_choice"));
      EXPECT_EQ(choice(1), 101);
      dlclose(library);
    }
  }
}

TEST(Modules, ComeAndGoUnderThreadsThatProbeThem) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "it looks away inside dlopen(), and does not see the locks that libprobe takes there";
#endif
  const plugins all;
  {
    const test::until_time_is_over time;
    std::vector<std::thread> threads;
    for (int i = 0; i < owners; ++i) threads.emplace_back([&, i] { own(all, i, time); });
    for (int i = 0; i < meddlers; ++i) threads.emplace_back([&, i] { meddle(all, i, time); });
    for (auto& t : threads) t.join();
  }
  EXPECT_FALSE(commit_probes());
  EXPECT_TRUE(list_probes().empty());
  void* const library = dlopen(all.path(0).c_str(), RTLD_NOW);
  ASSERT_NE(library, nullptr);
  const auto* const text = static_cast<std::uint8_t*>(dlsym(library, "plugin_work"));
  probe p{.at = plugins::name(0) + ":plugin_work", .pre_handler = just_count};
  const auto before = test::bytes_at(text, 16);
  ASSERT_FALSE(register_probe(p));
  EXPECT_NE(test::bytes_at(text, 16), before);
  unregister_probe(p);
  EXPECT_EQ(test::bytes_at(text, 16), before);
  dlclose(library);
}

}  // namespace
}  // namespace libprobe
