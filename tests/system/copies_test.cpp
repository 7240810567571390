// Several copies of the library in one process, in plugins that are built in every way, and in the program:
// the first one that registers a probe is at work, the others refuse, and touch nothing.
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <sys/syscall.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>

#include "copies/plugin.hpp"
#include "support/child.hpp"
#include "support/refusing.hpp"

namespace libprobe {
namespace {

using test::flaw;
using test::in_child;

constexpr int refused = static_cast<int>(errc::another_copy);

[[gnu::noipa]] long target(long x) { return 3 * x + 1; }
[[gnu::noipa]] long other_target(long x) { return 5 * x + 2; }
const void* address_of(long (*function)(long)) { return reinterpret_cast<const void*>(function); }

/// A copy of the library: a plugin's, or the program's own, which has no path.
struct copy {
  std::string path;
  void* handle = nullptr;
  const copies::api* api = nullptr;

  /// Where the library lies.
  [[nodiscard]] std::string module() const {
    if (path.empty()) return "/system_copies";
    return path == COPIES_SHARED ? "/libcopies_library.so" : path.substr(path.find_last_of('/'));
  }
};

probe& the_probe() {
  static auto* const one = new probe{.at = {}, .pre_handler = test::just_count};
  return *one;
}
constexpr copies::api programs_own{
    [](const void* address) {
      the_probe().at = location{address};
      return register_probe(the_probe()).value();
    },
    [](const char* where) {
      the_probe().at = where;
      return register_probe(the_probe()).value();
    },
    [] {
      static std::string text;
      text = last_error_detail();
      return text.c_str();
    },
    []() -> unsigned long { return hits(the_probe()); },
    [] { unregister_probe(the_probe()); },
    []() -> unsigned long { return list_probes().size(); },
};

copy load(const char* path) {
  if (*path == '\0') return {"", nullptr, &programs_own};
  copy made{path, dlopen(path, RTLD_NOW | RTLD_LOCAL)};
  if (made.handle == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    _exit(3);
  }
  made.api = reinterpret_cast<copies::get_api*>(dlsym(made.handle, "copies_api"))();
  return made;
}

/// All code that is mapped, and all signal actions as the kernel has them.
struct state {
  std::vector<std::string> text;
  std::vector<std::array<unsigned long, 4>> actions;

  static state now() {
    state made;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& part = info->dlpi_phdr[i];
            if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
            static_cast<state*>(to)->text.emplace_back(
                reinterpret_cast<const char*>(info->dlpi_addr + part.p_vaddr), part.p_memsz);
          }
          return 0;
        },
        &made);
    for (int signo = 1; signo <= 64; ++signo) {
      std::array<unsigned long, 4> action{};
      syscall(SYS_rt_sigaction, signo, nullptr, action.data(), 8);
      made.actions.push_back(action);
    }
    return made;
  }
  bool operator==(const state&) const = default;
};

constexpr const char* program = "";
constexpr const char* plugins[] = {COPIES_PLAIN, COPIES_HIDDEN, COPIES_STRIPPED, COPIES_SHARED};

flaw one_after_the_other(const char* first, const char* second) {
  const copy a = load(first);
  const copy b = load(second);
  HOLDS(a.api != b.api);
  HOLDS(a.api->place(address_of(target)) == 0);
  for (long i = 0; i < 10; ++i) HOLDS(target(i) == 3 * i + 1);
  HOLDS(a.api->hits() == 10);
  const auto before = state::now();
  for (int round = 0; round < 3; ++round) {
    HOLDS(b.api->place(address_of(round % 2 == 0 ? target : other_target)) == refused);
    HOLDS(std::string{b.api->detail()}.find(a.module() + " ") != std::string::npos);
    HOLDS(b.api->place_named("libc.so.6:getenv") == refused);
    b.api->remove();
    HOLDS(b.api->listed() == 0);
  }
  HOLDS(state::now() == before);
  for (long i = 0; i < 10; ++i) HOLDS(target(i) == 3 * i + 1 && other_target(i) == 5 * i + 2);
  HOLDS(a.api->hits() == 20 && b.api->hits() == 0);
  // And goes on, elsewhere too.
  a.api->remove();
  HOLDS(a.api->place(address_of(other_target)) == 0);
  for (long i = 0; i < 10; ++i) HOLDS(target(i) == 3 * i + 1 && other_target(i) == 5 * i + 2);
  HOLDS(a.api->hits() == 10);
  a.api->remove();
  HOLDS(b.api->place(address_of(target)) == refused);  // its guards stay, so it is still at work
  HOLDS(target(1) == 4);
  return nullptr;
}

TEST(Copies, TheSecondPluginIsRefused) {
  for (const char* first : plugins) {
    for (const char* second : plugins) {
      if (first == second) continue;
      SCOPED_TRACE(std::string{first} + " then " + second);
      in_child([&] { return one_after_the_other(first, second); });
    }
  }
}

TEST(Copies, TheProgramAndAPlugin) {
  for (const char* plugin : plugins) {
    SCOPED_TRACE(plugin);
    in_child([&] { return one_after_the_other(program, plugin); });
    in_child([&] { return one_after_the_other(plugin, program); });
  }
}

TEST(Copies, OfThoseThatBeginAtOnceOneIsAtWork) {
  for (int round = 0; round < 40; ++round) {
    in_child([&]() -> flaw {
      const copy all[] = {load(plugins[round % 4]), load(plugins[(round + 1) % 4]), load(program)};
      std::atomic<int> waiting{0};
      int answers[3];
      std::vector<std::thread> threads;
      for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&, i] {
          ++waiting;
          while (waiting != 3) {
          }
          answers[i] = all[i].api->place(address_of(target));
        });
      }
      for (auto& one : threads) one.join();
      for (long i = 0; i < 10; ++i) HOLDS(target(i) == 3 * i + 1);
      int at_work = 0;
      for (int i = 0; i < 3; ++i) {
        HOLDS(answers[i] == 0 || answers[i] == refused);
        at_work += answers[i] == 0 ? 1 : 0;
        HOLDS(all[i].api->hits() == (answers[i] == 0 ? 10U : 0U));
      }
      HOLDS(at_work == 1);
      return nullptr;
    });
  }
}

TEST(Copies, WhoNeverPlacedAProbeDoesNotCount) {
  in_child([]() -> flaw {
    const copy a = load(COPIES_HIDDEN);
    int answer = 0;
    // It has thread-local texts, and stays as long as they.
    std::thread{[&] { answer = a.api->place_named("no_such_function_here"); }}.join();
    HOLDS(answer == static_cast<int>(errc::symbol_not_found) && a.api->listed() == 0);
    const copy b = load(COPIES_STRIPPED);
    HOLDS(b.api->place(address_of(target)) == 0);
    HOLDS(target(2) == 7 && b.api->hits() == 1);
    // It may be unloaded, too; and others come and are refused.
    HOLDS(dlclose(a.handle) == 0);
    HOLDS(dlopen(COPIES_HIDDEN, RTLD_NOW | RTLD_NOLOAD) == nullptr);
    HOLDS(programs_own.place(address_of(target)) == refused);
    HOLDS(target(2) == 7 && b.api->hits() == 2);
    return nullptr;
  });
}

// Signal handlers, guards and probes lie in it.
TEST(Copies, WhoIsAtWorkStaysLoaded) {
  for (const char* plugin : plugins) {
    in_child([&]() -> flaw {
      const copy a = load(plugin);
      HOLDS(a.api->place(address_of(target)) == 0);
      // Of a shared library the plugin is a user like any other, and has to remove its probes.
      const bool stays = plugin != std::string{COPIES_SHARED};
      if (!stays) a.api->remove();
      HOLDS(dlclose(a.handle) == 0);
      HOLDS(target(2) == 7 && (!stays || a.api->hits() == 1));
      static std::atomic<int> caught{0};
      ::signal(SIGUSR1, [](int) { ++caught; });
      ::raise(SIGUSR1);
      HOLDS(caught == 1);
      HOLDS(programs_own.place(address_of(target)) == refused);
      HOLDS(std::string{programs_own.detail()}.find(a.module() + " ") != std::string::npos);
      HOLDS(target(2) == 7 && (!stays || a.api->hits() == 2));
      return nullptr;
    });
  }
}

TEST(Copies, WhoCouldNotBeginMakesWay) {
  in_child([]() -> flaw {
    const copy a = load(COPIES_PLAIN);
    const copy b = load(COPIES_HIDDEN);
    test::demand(test::refuse_system_calls({SYS_rt_sigaction}, EPERM), "seccomp");
    const auto why = static_cast<int>(errc::signal_refused);
    HOLDS(a.api->place(address_of(target)) == why);
    HOLDS(b.api->place(address_of(target)) == why);
    HOLDS(a.api->place(address_of(target)) == why);
    HOLDS(target(2) == 7);
    return nullptr;
  });
}

TEST(Copies, AChildKeepsTheOneThatIsAtWork) {
  in_child([]() -> flaw {
    const copy a = load(COPIES_STRIPPED);
    const copy b = load(COPIES_HIDDEN);
    // Before any is at work, parent and child are each free to choose.
    const auto in_first = test::status_of_child([&] {
      return b.api->place(address_of(target)) == 0 && a.api->place(address_of(target)) == refused &&
                     target(2) == 7 && b.api->hits() == 1
                 ? 0
                 : 1;
    });
    HOLDS(in_first == 0);
    HOLDS(a.api->place(address_of(target)) == 0);
    const auto in_second = test::status_of_child([&] {
      a.api->remove();
      return b.api->place(address_of(target)) == refused && a.api->place(address_of(target)) == 0 &&
                     target(2) == 7 && a.api->hits() == 1
                 ? 0
                 : 1;
    });
    HOLDS(in_second == 0);
    HOLDS(b.api->place(address_of(target)) == refused);
    HOLDS(target(2) == 7 && a.api->hits() == 1);
    return nullptr;
  });
}

}  // namespace
}  // namespace libprobe
