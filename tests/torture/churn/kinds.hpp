// Parts of the churn: replacements and counters, libraries, threads and processes that come and go.
#pragma once

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "support/probing.hpp"
#include "torture/churn/watch.hpp"

namespace libprobe::churn {

/// glibc leaves the loader's lock as it is in the child of a fork: while one thread loads, another must not
/// fork.
inline std::mutex loader;

[[gnu::noinline]] inline long replaced(long x) { return test::opaque(x) + 5; }
[[gnu::noinline]] inline long counted(long x) { return test::opaque(x) + 6; }
[[gnu::noinline]] inline long brief(long x) { return test::opaque(x) + 7; }
[[gnu::noinline]] inline long child_called(long x) { return test::opaque(x) + 8; }

inline long in_its_place(long x) { return test::opaque(x) + 100; }
inline long in_its_place_too(long x) {
  return reinterpret_cast<long (*)(long)>(original(*current_replacement()))(x) + 1000;
}

/// A replacement, called directly where that is possible, and a counter: removed and there again.
class replaced_again {
 public:
  void round(std::uint64_t number) {
    const bool by_original = number % 2 != 0;
    r_.entry =
        by_original ? reinterpret_cast<void*>(&in_its_place_too) : reinterpret_cast<void*>(&in_its_place);
    if (!must(!register_replacement(r_) && !register_counter(c_), "a replacement is refused")) return;
    for (long i = 0; i < 3; ++i) {
      must(replaced(i) == i + (by_original ? 1005 : 100), "the replacement's result");
      must(counted(i) == i + 6, "the program's result");
    }
    must(hits(r_) == 3 && hits(c_) == 3, "the hits of a replacement and of a counter", hits(r_), hits(c_));
    unregister_replacement_fast(r_);
    unregister_counter_fast(c_);
    must(replaced(1) == 6, "a removed replacement runs");
    if (number % 3 == 0) must(!commit_probes(), "a commit");
    must(hits(r_) == 3 && hits(c_) == 3, "hits() after the removal", hits(r_), hits(c_));
  }

 private:
  replacement r_{.at = replaced, .stack_bytes = 0, .result = result_registers::first_integer};
  counter c_{.at = counted};
};

/// A library with more probes in it than are forgotten at once; each time it comes all are registered again,
/// so that registration tidies up.
class library_again {
 public:
  library_again() {
    for (std::size_t i = 0; i < probes_.size(); ++i) {
      probes_[i].at = MODULES_PLUGIN_NAME ":plugin_work";
      probes_[i].pre_handler = test::just_count;
      all_[i] = &probes_[i];
    }
  }

  void round(std::uint64_t number) {
    void* const library = [] {
      const std::lock_guard no_fork{loader};
      return dlopen(MODULES_PLUGIN, RTLD_NOW);
    }();
    if (!must(library != nullptr, "a library cannot be loaded")) return;
    if (!must(!register_probes(all_), "probes in a library are refused")) return;
    const auto work = reinterpret_cast<int (*)(int, int)>(dlsym(library, "plugin_work"));
    for (int i = 0; i < 3; ++i) must(work(i, 2) == 10 * i + 2, "the library's result");
    see();
    {
      const std::lock_guard no_fork{loader};
      dlclose(library);
    }
    see();
    if (number % 64 == 63) unregister_probes(all_);
  }

 private:
  void see() const {
    for (const auto& p : probes_) must(hits(p) == 3, "the hits in a library", hits(p), 3);
  }

  std::array<probe, 70> probes_;
  std::array<probe*, 70> all_{};
};

/// Threads that end soon: their records and their counts are handed on.
class brief_threads {
 public:
  brief_threads() { must(!register_probe(p_), "a probe is refused"); }
  ~brief_threads() { unregister_probe(p_); }
  brief_threads(const brief_threads&) = delete;
  brief_threads& operator=(const brief_threads&) = delete;

  void round(std::uint64_t) {
    std::array<std::thread, 3> all;
    for (auto& t : all) {
      t = std::thread{[] {
        for (long i = 0; i < long{calls}; ++i) must(brief(i) == i + 7, "the program's result");
      }};
    }
    for (auto& t : all) t.join();
    made_ += std::uint64_t{calls} * all.size();
    const auto seen = hits(p_) + nmissed(p_);
    must(seen == made_, "hits() is not the calls when the callers have ended", seen, made_);
  }

 private:
  static constexpr int calls = 20;
  probe p_{.at = brief, .pre_handler = test::just_count};
  std::uint64_t made_ = 0;
};

/// The child goes on with what it finds: removes, commits, and registers anew.
inline void fork_a_child(std::uint64_t) {
  static probe p{.at = child_called, .pre_handler = test::just_count};
  must(!register_probe(p), "a probe is refused");
  unregister_probe_fast(p);
  {
    const std::lock_guard no_loading{loader};
    child = fork();
  }
  if (child == 0) {
    alarm(static_cast<unsigned>(patience()));
    bool good = !register_probe(p);
    for (long i = 0; i < 3; ++i) good = child_called(i) == i + 8 && good;
    good = good && hits(p) == 3;
    unregister_probe(p);
    good = good && hits(p) == 3 && !commit_probes();
    std::thread{[&good] { good = child_called(1) == 9 && good; }}.join();
    _exit(good ? 0 : 1);
  }
  int status = -1;
  must(child > 0 && waitpid(child, &status, 0) == child, "a child cannot be made");
  child = 0;
  must(status == 0, "a child ends well (its status)", static_cast<std::uint64_t>(status));
  must(!commit_probes(), "a commit");
}

}  // namespace libprobe::churn
