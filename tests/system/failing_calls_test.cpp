// Each system call that a registration and its removal make fails in turn: alone, with all further ones of
// its kind, and with all further ones of any kind. Whatever comes of it, text, probes, memory and descriptors
// are as they were, and when the calls work again so do the probes.
#include <dirent.h>
#include <dlfcn.h>

#include <set>

#include "os/maps.hpp"
#include "support/child.hpp"
#include "support/failing_calls.hpp"

namespace libprobe {
namespace {

using test::failing_calls;
using test::flaw;
using which = failing_calls::which;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // their run-time libraries need system calls themselves
#else
constexpr bool sanitized = false;
#endif

/// Memory by its protection, whatever it is mapped from; the heap, which grows, aside.
struct memory {
  struct range {
    std::uintptr_t start, end;
    int protection;
    bool operator==(const range&) const = default;
  };
  std::vector<range> ranges;
  bool operator==(const memory&) const = default;

  static memory now() {
    memory made;
    const auto maps = os::read_maps();
    for (const auto& one : *maps) {
      if (one.path == "[heap]" || one.path == "[stack]") continue;
      const int protection = one.readable * 4 + one.writable * 2 + one.executable;
      if (!made.ranges.empty() && made.ranges.back().end == one.start &&
          made.ranges.back().protection == protection) {
        made.ranges.back().end = one.end;
      } else {
        made.ranges.push_back({one.start, one.end, protection});
      }
    }
    return made;
  }
  /// All that was there is there still.
  [[nodiscard]] bool holds(const memory& before) const {
    return std::ranges::all_of(before.ranges, [this](const range& one) {
      return std::ranges::any_of(ranges, [&one](const range& mine) {
        return mine.start <= one.start && one.end <= mine.end && mine.protection == one.protection;
      });
    });
  }
};

std::set<std::string> descriptors() {
  std::set<std::string> open;
  DIR* const folder = opendir("/proc/self/fd");
  while (const auto* entry = readdir(folder)) open.insert(entry->d_name);
  closedir(folder);
  return open;
}

int do_nothing(probe&, registers&) { return 0; }

struct workload {
  probe own{.at = &test::cycle::sum, .pre_handler = do_nothing};
  probe named{.at = "libc.so.6:getenv", .pre_handler = do_nothing};
  probe* all[2] = {&own, &named};

  static std::string text() {
    return test::cycle::bytes_of(test::cycle::text_of(&test::cycle::sum)) +
           test::cycle::bytes_of(reinterpret_cast<const void*>(dlsym(RTLD_DEFAULT, "getenv")));
  }
  static bool functions_work() {
    return test::cycle::sum(20, 22) == 42 && getenv("no such variable") == nullptr;
  }
  std::error_code put() { return register_probes(all); }
  /// The calls are not armed here.
  [[nodiscard]] flaw is_in_place() {
    const auto before = hits(own), before_named = hits(named);
    HOLDS(list_probes().size() == 2);
    HOLDS(functions_work());
    HOLDS(hits(own) == before + 1 && hits(named) > before_named);
    return nullptr;
  }
  std::error_code take() {
    for (auto* one : all) unregister_probe_fast(*one);
    return commit_probes();
  }
  flaw works() {
    if (const auto why = put()) {
      static std::string said;
      said = "without a failure: " + why.message();
      return said.c_str();
    }
    if (flaw found = is_in_place()) return found;
    HOLDS(!take());
    HOLDS(list_probes().empty() && functions_work());
    return nullptr;
  }
};

struct tally {
  long calls = 0, refused = 0, survived = 0, refused_removals = 0;
};

/// One failure; `text` is what stood there at first. Nothing of what it did may be left.
flaw with_a_failure(workload& w, long nth, which how, const std::string& text, tally& seen) {
  const auto hits_before = hits(w.own);
  const auto* const address_before = address_of(w.own);
  failing_calls::arm(nth, how);
  const auto why = w.put();
  const bool in_registration = failing_calls::failed_number >= 0;
  if (why) {
    failing_calls::disarm();
    HOLDS(in_registration);
    ++seen.refused;
    HOLDS(list_probes().empty());
    HOLDS(address_of(w.own) == address_before);
    HOLDS(workload::functions_work() && hits(w.own) == hits_before);
    // With nothing at all allowed what was written cannot be taken back either.
    HOLDS(how == which::all || workload::text() == text);
  } else {
    const auto still_failing = failing_calls::disarm();
    seen.survived += in_registration;
    if (flaw found = w.is_in_place()) return found;
    failing_calls::arm(in_registration ? 0 : nth - still_failing, how);
    const auto refused = w.take();
    failing_calls::disarm();
    seen.refused_removals += static_cast<bool>(refused);
    HOLDS(list_probes().empty() && workload::functions_work());
    HOLDS(refused || workload::text() == text);
  }
  // And all is well again.
  if (flaw found = w.works()) return found;
  HOLDS(workload::text() == text);
  return nullptr;
}

std::string at(long nth, flaw found) {
  return std::string{"call "} + std::to_string(nth) + " (" +
         failing_calls::name_of(failing_calls::failed_number) + "): " + found;
}

/// The calls of one registration and removal, without a failure.
long count_calls(workload& w) {
  failing_calls::arm(0, which::the_nth);
  const bool good = !w.put() && !w.take();
  return good ? failing_calls::disarm() : 0;
}

void tell(const char* what, const tally& seen) {
  std::printf(
      "%s: %ld calls walked; %ld made the registration fail, it did without %ld; %ld made the removal fail\n",
      what, seen.calls, seen.refused, seen.survived, seen.refused_removals);
  for (std::size_t i = 0; i < failing_calls::kinds.size(); ++i) {
    if (failing_calls::kinds_seen[i] != 0)
      std::printf(" %s %ld", failing_calls::kinds[i].name, failing_calls::kinds_seen[i]);
  }
  std::puts("");
  std::fflush(stdout);
}

bool seen_kind(long number) {
  for (std::size_t i = 0; i < failing_calls::kinds.size(); ++i) {
    if (failing_calls::kinds[i].number == number) return failing_calls::kinds_seen[i] != 0;
  }
  return false;
}

class FailingCalls : public testing::TestWithParam<which> {};

TEST_P(FailingCalls, OfAnyRegistrationButTheFirst) {
  if (sanitized) GTEST_SKIP();
  std::string said;
  test::in_child([&]() -> flaw {
    workload w;
    if (flaw found = w.works()) return found;
    const auto text = workload::text();
    test::demand(failing_calls::install(), "seccomp");
    if (flaw found = w.works()) return found;
    const auto open = descriptors();
    const auto mapped = memory::now();
    tally seen;
    for (long nth = 1; nth <= count_calls(w); ++nth) {
      ++seen.calls;
      if (flaw found = with_a_failure(w, nth, GetParam(), text, seen)) return (said = at(nth, found)).c_str();
      if (descriptors() != open) return (said = at(nth, "descriptors are left open")).c_str();
      if (!(memory::now() == mapped)) return (said = at(nth, "memory is left mapped")).c_str();
    }
    count_calls(w);
    tell("a registration", seen);
    for (const long kind : {SYS_openat, SYS_pread64, SYS_pwrite64, SYS_membarrier}) HOLDS(seen_kind(kind));
    HOLDS(seen.calls >= 12);
    return nullptr;
  });
}

/// Where the calls of a first registration come from: the first call of each place.
std::vector<long> places_of_a_first_registration() {
  struct found {
    long calls;
    std::array<std::uint64_t, failing_calls::sites.size()> sites;
  };
  auto* const out = static_cast<found*>(
      mmap(nullptr, sizeof(found), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  test::in_child([&]() -> flaw {
    test::demand(failing_calls::install(), "seccomp");
    workload w;
    out->calls = count_calls(w);
    out->sites = failing_calls::sites;
    tell("a first registration makes these", {});
    for (const long kind : {SYS_openat, SYS_read, SYS_pread64, SYS_pwrite64, SYS_mmap, SYS_membarrier,
                            SYS_rt_sigaction, SYS_process_vm_readv, SYS_getdents64})
      HOLDS(seen_kind(kind));
    return nullptr;
  });
  std::vector<long> first;
  std::set<std::uint64_t> known;
  for (long nth = 1; nth <= std::min<long>(out->calls, out->sites.size()); ++nth) {
    if (known.insert(out->sites[static_cast<std::size_t>(nth - 1)]).second) first.push_back(nth);
  }
  munmap(out, sizeof(found));
  return first;
}

TEST_P(FailingCalls, OfAFirstRegistration) {
  if (sanitized) GTEST_SKIP();
  const auto places = places_of_a_first_registration();
  if (IsSkipped()) return;
  auto* const sum = static_cast<tally*>(
      mmap(nullptr, sizeof(tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::string said;
  for (const long nth : places) {
    test::in_child([&]() -> flaw {
      test::demand(failing_calls::install(), "seccomp");
      workload w;
      const auto text = workload::text();
      const auto open = descriptors();
      const auto mapped = memory::now();
      ++sum->calls;
      const auto tell_of = [&](flaw found) { return (said = at(nth, found)).c_str(); };
      if (flaw found = with_a_failure(w, nth, GetParam(), text, *sum)) return tell_of(found);
      if (descriptors() != open) return tell_of("descriptors are left open");
      if (!memory::now().holds(mapped)) return tell_of("memory has changed");
      // What is kept for the next time is kept once.
      const auto kept = memory::now();
      if (flaw found = w.works()) return tell_of(found);
      if (!(memory::now() == kept)) return tell_of("more memory is mapped each time");
      return nullptr;
    });
    if (HasFailure()) break;
  }
  failing_calls::kinds_seen = {};
  tell("a first registration, by places", *sum);
  EXPECT_GE(sum->calls, 40);
  EXPECT_GT(sum->refused, 0);
  munmap(sum, sizeof(tally));
}

INSTANTIATE_TEST_SUITE_P(Alone, FailingCalls, testing::Values(which::the_nth));
INSTANTIATE_TEST_SUITE_P(WithItsKind, FailingCalls, testing::Values(which::all_of_its_kind));
INSTANTIATE_TEST_SUITE_P(WithAllThatFollow, FailingCalls, testing::Values(which::all));

}  // namespace
}  // namespace libprobe
