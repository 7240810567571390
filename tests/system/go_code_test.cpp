// A real Go library: its own functions are refused, by every kind; C functions that it calls by cgo are
// probed like any others, and the program is unharmed.
#include <dlfcn.h>
#include <fmt/format.h>

#include <libprobe/testing.hpp>

#include "support/child.hpp"

namespace libprobe {
namespace {

using test::flaw;
using test::in_child;

using unary = long(long);

struct library {
  unary* sum = nullptr;
  unary* deep = nullptr;
  const void* add = nullptr;
};

library load(const char* path) {
  void* const handle = dlopen(path, RTLD_NOW);
  if (handle == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    _exit(3);
  }
  return {reinterpret_cast<unary*>(dlsym(handle, "GoSum")), reinterpret_cast<unary*>(dlsym(handle, "GoDeep")),
          dlsym(handle, "go_code_add")};
}

flaw works(const library& go) {
  HOLDS(go.sum(1000) == 500500);
  HOLDS(go.deep(20000) == 20000);
  return nullptr;
}

bool is_refused(const location& at) {
  probe plain{.at = at, .pre_handler = test::just_count};
  counter counted{.at = at};
  retprobe back{.at = at, .handler = [](retprobe_instance&, registers&) {}};
  latency times{.at = at};
  jprobe entry{.at = at, .entry = reinterpret_cast<void*>(&is_refused)};
  replacement instead{.at = at, .entry = reinterpret_cast<void*>(&is_refused)};
  constexpr auto why = errc::unsupported_runtime;
  return register_probe(plain) == why && last_error_detail().find("Go") != std::string::npos &&
         register_counter(counted) == why && register_retprobe(back) == why &&
         register_latency(times) == why && register_jprobe(entry) == why &&
         register_replacement(instead) == why;
}

TEST(GoCode, ItsFunctionsAreRefused) {
  in_child([]() -> flaw {
    const auto go = load(GO_LIBRARY);
    if (flaw found = works(go)) return found;
    for (const char* name :
         {"main.deep", "runtime.mallocgc", "runtime.gcStart", "runtime.memmove", "runtime.asmcgocall.abi0",
          "runtime.morestack.abi0", "crosscall2", "runtime.text"}) {
      if (!is_refused(fmt::format("{}:{}", GO_LIBRARY_NAME, name))) return name;
    }
    // An instruction inside is no better.
    probe inside{.at = GO_LIBRARY_NAME ":main.deep+4", .pre_handler = test::just_count};
    HOLDS(register_probe(inside) == errc::unsupported_runtime);
    return works(go);
  });
}

TEST(GoCode, CFunctionsThatItCallsAreProbed) {
  in_child([]() -> flaw {
    const auto go = load(GO_LIBRARY);
    probe plain{.at = location{go.add}, .pre_handler = test::just_count};
    counter counted{.at = location{go.add}};
    long results = 0;
    HOLDS(!register_probe(plain));
    HOLDS(!register_counter(counted));
    {
      const auto back =
          on_return<long(long, long)>(location{go.add}, [&](long result) { results += result; });
      if (flaw found = works(go)) return found;
      HOLDS(back.hits() == 1000 && back.nmissed() == 0);
      HOLDS(results == 1000L * 1001 * 1002 / 6);  // of all partial sums
    }
    HOLDS(hits(plain) == 1000 && hits(counted) == 1000);
    {
      const auto instead = replace<long(long, long)>(
          location{go.add}, [](auto original, long a, long b) { return original(a, 2 * b); });
      HOLDS(go.sum(1000) == 2 * 500500);
      HOLDS(instead.hits() == 1000);
    }
    // The way from C into Go, as cgo has generated it in C.
    probe exported{.at = GO_LIBRARY_NAME ":GoSum", .pre_handler = test::just_count};
    HOLDS(!register_probe(exported));
    if (flaw found = works(go)) return found;
    HOLDS(hits(exported) == 1);
    unregister_probe(exported);
    unregister_probe(plain);
    unregister_counter(counted);
    return works(go);
  });
}

// No symbol tells there which functions are Go's.
TEST(GoCode, AllAreRefusedInAStrippedLibrary) {
  in_child([]() -> flaw {
    const auto go = load(GO_LIBRARY_STRIPPED);
    HOLDS(is_refused(location{go.add}));
    HOLDS(is_refused(location{reinterpret_cast<const void*>(go.sum)}));
    return works(go);
  });
}

}  // namespace
}  // namespace libprobe
