// Libraries that come and go under their probes.
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <sys/mman.h>

#include <filesystem>
#include <optional>
#include <thread>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::bytes_at;
using test::just_count;
using work = int (*)(int, int);

class library {
 public:
  explicit library(const char* path = MODULES_PLUGIN) : handle_{dlopen(path, RTLD_NOW | RTLD_LOCAL)} {
    EXPECT_NE(handle_, nullptr) << dlerror();
  }
  ~library() { close(); }
  library(const library&) = delete;
  library& operator=(const library&) = delete;

  void close() {
    if (handle_ != nullptr) dlclose(handle_);
    handle_ = nullptr;
  }
  template <class T>
  T symbol(const char* name) const {
    return reinterpret_cast<T>(dlsym(handle_, name));
  }
  int call(int a, int b) const { return symbol<work>("plugin_work")(a, b); }
  int early_work() const { return *symbol<int*>("plugin_early_work"); }
  int early_choice() const { return *symbol<int*>("plugin_early_choice"); }

 private:
  void* handle_;
};

constexpr const char* where = MODULES_PLUGIN_NAME ":plugin_work";

bool is_mapped(const void* address) {
  unsigned char resident = 0;
  const auto page = reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095};
  return mincore(reinterpret_cast<void*>(page), 1, &resident) == 0;
}

/// The row of the only probe that there is.
probe_row only_row() {
  const auto rows = list_probes();
  EXPECT_EQ(rows.size(), 1U);
  return rows.empty() ? probe_row{} : rows.front();
}

int entry_runs = 0;
void entry_of_work(int a, int b) { entry_runs += a + b; }
int in_place_of_work(int a, int b) {
  return reinterpret_cast<work>(original(*current_replacement()))(a, b) + 5000;
}

/// One of each kind, at the plugin's function.
struct all_kinds {
  explicit all_kinds(probe_flags flags = probe_flags::none)
      : simple{.at = where, .pre_handler = just_count, .flags = flags},
        entry{.at = where, .entry = reinterpret_cast<void*>(&entry_of_work), .flags = flags},
        returns{.at = where, .handler = [](retprobe_instance&, registers&) {}, .flags = flags},
        times{.at = where, .flags = flags},
        counts{.at = where, .flags = flags},
        instead{.at = where, .entry = reinterpret_cast<void*>(&in_place_of_work), .flags = flags} {}

  template <class F>
  void each(F&& visit) {
    visit(simple);
    visit(entry);
    visit(returns);
    visit(times);
    visit(counts);
    visit(instead);
  }
  std::error_code add_all() {
    batch together;
    each([&together](auto& p) { together.add(p); });
    return together.commit();
  }
  void remove_all() {
    batch together;
    each([&together](auto& p) { together.remove(p); });
    EXPECT_FALSE(together.commit());
  }

  probe simple;
  jprobe entry;
  retprobe returns;
  latency times;
  counter counts;
  replacement instead;
};

void expect_hits(all_kinds& all, std::uint64_t wanted) {
  all.each([wanted](const auto& p) { EXPECT_EQ(hits(p), wanted) << typeid(p).name(); });
}

TEST(Modules, AProbeGoesWithItsLibrary) {
  library plugin;
  probe p{.at = where, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(plugin.call(1, 2), 12);
  void* const address = address_of(p);
  plugin.close();
  ASSERT_FALSE(is_mapped(address));

  const auto row = only_row();
  EXPECT_TRUE(row.gone);
  EXPECT_FALSE(row.pending);
  EXPECT_FALSE(row.jump);
  EXPECT_EQ(row.symbol, "plugin_work");
  EXPECT_EQ(row.module, MODULES_PLUGIN_NAME);
  EXPECT_EQ(row.hits, 1U);
  EXPECT_NE(to_string(row).find("[GONE]"), std::string::npos) << to_string(row);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(address_of(p), address);
  EXPECT_FALSE(disable_probe(p));
  EXPECT_FALSE(enable_probe(p));
  EXPECT_TRUE(only_row().gone);

  unregister_probe(p);
  EXPECT_TRUE(list_probes().empty());
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(disable_probe(p), errc::not_registered);
}

TEST(Modules, EachKindGoesAndComesBack) {
  all_kinds all;
  for (int round = 0; round < 3; ++round) {
    library plugin;
    ASSERT_FALSE(all.add_all());
    entry_runs = 0;
    EXPECT_EQ(plugin.call(1, 2), 5012);
    EXPECT_EQ(entry_runs, 3);
    expect_hits(all, 1);
    plugin.close();
    for (const auto& row : list_probes()) EXPECT_TRUE(row.gone) << row;
    EXPECT_EQ(list_probes().size(), 6U);
    EXPECT_EQ(original(all.instead) == nullptr, false);
    EXPECT_EQ(latencies_of(all.times).count(), 1U);
    if (round == 1) all.remove_all();  // else: what is gone is registered anew as it is
    expect_hits(all, 1);
  }
  all.remove_all();
  EXPECT_TRUE(list_probes().empty());
}

TEST(Modules, AGoneProbeMayBeDestroyed) {
  library plugin;
  {
    all_kinds all;
    ASSERT_FALSE(all.add_all());
    EXPECT_EQ(plugin.call(0, 1), 5001);
    plugin.close();
  }
  EXPECT_TRUE(list_probes().empty());
}

TEST(Modules, WhatWasQueuedGoesToo) {
  library plugin;
  all_kinds all;
  ASSERT_FALSE(all.add_all());
  unregister_probe_fast(all.simple);
  unregister_retprobe_fast(all.returns);
  plugin.close();
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(list_probes().size(), 4U);
  all.remove_all();
  EXPECT_TRUE(list_probes().empty());
}

/// Something else lies where the library was: made of what the probe wrote there, even.
TEST(Modules, NothingIsWrittenWhereTheLibraryWas) {
  library plugin;
  probe p{.at = where, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  void* const address = address_of(p);
  auto* const page =
      reinterpret_cast<std::uint8_t*>(reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095});
  const auto probed = bytes_at(page, 4096);
  plugin.close();
  void* const mine = mmap(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(mine, page);
  std::memcpy(page, probed.data(), probed.size());
  EXPECT_FALSE(disable_probe(p));
  EXPECT_FALSE(enable_probe(p));
  unregister_probe(p);
  EXPECT_EQ(bytes_at(page, 4096), probed);
  munmap(mine, 4096);
}

/// Code that was in no module is unmapped, and a library comes to lie where it was: its probes are hit.
TEST(Modules, ALibraryTakesThePlaceOfOtherCode) {
  void* address = nullptr;
  {
    const library plugin;
    address = plugin.symbol<void*>("plugin_work");
  }
  auto* const page =
      reinterpret_cast<std::uint8_t*>(reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095});
  ASSERT_EQ(mmap(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
            page);
  std::fill_n(static_cast<std::uint8_t*>(address), 16, std::uint8_t{0x90});
  static_cast<std::uint8_t*>(address)[16] = 0xc3;
  probe of_old{.at = address, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(of_old)) << last_error_detail();
  reinterpret_cast<void (*)()>(address)();
  EXPECT_EQ(hits(of_old), 1U);
  munmap(page, 4096);

  probe of_new{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
  ASSERT_FALSE(register_probe(of_new));
  const library plugin;
  ASSERT_EQ(plugin.symbol<void*>("plugin_work"), address) << "the kernel has put it elsewhere";
  EXPECT_EQ(plugin.call(2, 3), 23);
  EXPECT_EQ(hits(of_new), 2U);  // the constructor's call, too
  EXPECT_EQ(hits(of_old), 1U);
  const auto rows = list_probes();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_TRUE(rows[0].gone != rows[1].gone);
  unregister_probe(of_old);
  EXPECT_EQ(plugin.call(2, 3), 23);
  EXPECT_EQ(hits(of_new), 3U);
}

volatile sig_atomic_t own_traps = 0;

/// A breakpoint of the program's own, at the very address: no handler of the gone probe sees it.
TEST(Modules, AnothersBreakpointThereIsNotOurs) {
  struct sigaction own {};
  own.sa_handler = [](int) { own_traps = own_traps + 1; };
  struct sigaction before {};
  sigaction(SIGTRAP, &own, &before);
  library plugin;
  all_kinds all;
  ASSERT_FALSE(all.add_all());
  void* const address = address_of(all.simple);
  plugin.close();
  auto* const page =
      reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095});
  ASSERT_EQ(mmap(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
            page);
  // Breakpoints at what were the function's instructions, a jump's inner boundaries among them.
  auto* const code = static_cast<std::uint8_t*>(address);
  std::fill_n(code, 16, std::uint8_t{0xcc});
  code[16] = 0xc3;
  own_traps = 0;
  reinterpret_cast<void (*)()>(address)();
  EXPECT_EQ(own_traps, 16);
  expect_hits(all, 0);
  munmap(page, 4096);
  all.remove_all();
  sigaction(SIGTRAP, &before, nullptr);
}

TEST(Modules, PendingProbesSeeTheConstructors) {
  all_kinds all{probe_flags::pending};
  ASSERT_FALSE(all.add_all());
  auto rows = list_probes();
  ASSERT_EQ(rows.size(), 6U);
  for (const auto& row : rows) {
    EXPECT_TRUE(row.pending) << row;
    EXPECT_EQ(row.symbol, where);
    EXPECT_EQ(row.address, 0U);
    EXPECT_NE(to_string(row).find("[PENDING]"), std::string::npos) << row;
  }
  EXPECT_EQ(address_of(all.simple), nullptr);
  EXPECT_EQ(original(all.instead), nullptr);
  EXPECT_EQ(register_probe(all.simple), errc::already_registered);
  expect_hits(all, 0);

  entry_runs = 0;
  library plugin;
  EXPECT_EQ(plugin.early_work(), 5012);
  EXPECT_EQ(entry_runs, 3);
  expect_hits(all, 1);
  EXPECT_EQ(address_of(all.simple), plugin.symbol<void*>("plugin_work"));
  EXPECT_EQ(plugin.call(3, 4), 5034);
  for (const auto& row : list_probes()) {
    EXPECT_FALSE(row.pending) << row;
    EXPECT_EQ(row.symbol, "plugin_work");
  }
  plugin.close();
  for (const auto& row : list_probes()) EXPECT_TRUE(row.gone) << row;
  // Anew, and they wait again.
  ASSERT_FALSE(all.add_all());
  for (const auto& row : list_probes()) EXPECT_TRUE(row.pending) << row;
  {
    library again;
    EXPECT_EQ(again.early_work(), 5012);
  }
  all.remove_all();
  EXPECT_TRUE(list_probes().empty());
}

TEST(Modules, PendingProbesFindTheCodeBehindAnIndirectFunction) {
  int seen = 0;
  probe p{.at = MODULES_PLUGIN_NAME ":plugin_choice",
          .pre_handler =
              [](probe& p, registers& regs) {
                *static_cast<int*>(p.context) = regs.argument<int>(0);
                return 0;
              },
          .flags = probe_flags::pending,
          .context = &seen};
  ASSERT_FALSE(register_probe(p));
  library plugin;
  EXPECT_EQ(plugin.early_choice(), 101);
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(plugin.symbol<int (*)(int)>("plugin_choice")(7), 107);
  EXPECT_EQ(seen, 7);
  unregister_probe(p);
}

TEST(Modules, PendingTakesAnySymbolThatComes) {
  probe p{.at = "plugin_work", .pre_handler = just_count, .flags = probe_flags::pending};
  ASSERT_FALSE(register_probe(p));
  EXPECT_TRUE(only_row().pending);
  const library plugin;
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(only_row().symbol, "plugin_work");
  unregister_probe(p);
  // What is there already is not waited for.
  ASSERT_FALSE(register_probe(p));
  EXPECT_FALSE(only_row().pending);
  EXPECT_EQ(plugin.call(1, 1), 11);
  EXPECT_EQ(hits(p), 1U);
}

TEST(Modules, APendingProbeMayRestAndLeave) {
  probe p{.at = where, .pre_handler = just_count, .flags = probe_flags::pending | probe_flags::disabled};
  ASSERT_FALSE(register_probe(p));
  {
    const library plugin;
    EXPECT_EQ(plugin.call(1, 1), 11);
    EXPECT_EQ(hits(p), 0U);
    EXPECT_FALSE(enable_probe(p));
    EXPECT_EQ(plugin.call(1, 1), 11);
    EXPECT_EQ(hits(p), 1U);
  }
  p.flags = probe_flags::pending;
  ASSERT_FALSE(register_probe(p));
  EXPECT_FALSE(disable_probe(p));
  EXPECT_TRUE(only_row().disabled);
  { const library plugin; }
  EXPECT_EQ(hits(p), 0U);
  ASSERT_FALSE(register_probe(p));
  EXPECT_FALSE(disable_probe(p));
  EXPECT_FALSE(enable_probe(p));
  { const library plugin; }
  EXPECT_EQ(hits(p), 1U);

  ASSERT_FALSE(register_probe(p));
  unregister_probe_fast(p);
  EXPECT_TRUE(list_probes().empty());
  { const library plugin; }
  EXPECT_EQ(hits(p), 0U);
  ASSERT_FALSE(register_probe(p));
  unregister_probe(p);
  {
    probe short_lived{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
    ASSERT_FALSE(register_probe(short_lived));
  }
  const library plugin;
  EXPECT_TRUE(list_probes().empty());
}

TEST(Modules, WhatCannotBePlacedSaysWhyAndWaitsOn) {
  struct expectation {
    const char* at;
    const char* reason;
  };
  const expectation all[] = {
      {MODULES_PLUGIN_NAME ":no_such_function", "has no function"},
      {MODULES_PLUGIN_NAME ":plugin_work+100000000", "no executable code"},
      {MODULES_PLUGIN_NAME ":plugin_work+1", "lies inside an instruction"},
      {"no_such_library.so:plugin_work", "no loaded module"},
  };
  for (const auto& one : all) {
    probe good{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
    probe bad{.at = one.at, .pre_handler = just_count, .flags = probe_flags::pending};
    probe* const both[] = {&bad, &good};
    ASSERT_FALSE(register_probes(both)) << one.at;
    {
      const library plugin;
      EXPECT_EQ(plugin.call(1, 1), 11);
      EXPECT_EQ(hits(good), 2U);
      EXPECT_EQ(hits(bad), 0U);
      const auto rows = list_probes();
      ASSERT_EQ(rows.size(), 2U);
      EXPECT_TRUE(rows.front().pending) << rows.front();
      EXPECT_EQ(rows.front().symbol, one.at);
      EXPECT_NE(rows.front().reason.find(one.reason), std::string::npos) << rows.front().reason;
    }
    unregister_probes(both);
  }
}

TEST(Modules, OnlyWhatIsMissingMayWait) {
  probe p{.at = "libc.so.6:", .pre_handler = just_count, .flags = probe_flags::pending};
  EXPECT_EQ(register_probe(p), errc::malformed_location);
  p.at = "libc.so.6:getenv+1";
  EXPECT_EQ(register_probe(p), errc::not_instruction_boundary);
  p.at = where;
  p.flags = probe_flags::none;
  EXPECT_EQ(register_probe(p), errc::module_not_found);
  EXPECT_TRUE(list_probes().empty());
}

TEST(Modules, AMixIsAllOrNothing) {
  probe waits{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
  probe fits{.at = "libc.so.6:getenv", .pre_handler = just_count};
  probe refused{.at = "libc.so.6:getenv+1", .pre_handler = just_count};
  probe* const all[] = {&waits, &fits, &refused};
  EXPECT_EQ(register_probes(all), errc::not_instruction_boundary);
  EXPECT_TRUE(list_probes().empty());
  {
    const library plugin;
    EXPECT_EQ(hits(waits), 0U);
  }
  probe* const good[] = {&waits, &fits};
  ASSERT_FALSE(register_probes(good));
  EXPECT_EQ(list_probes().size(), 2U);
  test::opaque (&getenv)("HOME");
  EXPECT_EQ(hits(fits), 1U);
  {
    const library plugin;
    EXPECT_EQ(hits(waits), 1U);
  }
  unregister_probes(good);
  EXPECT_TRUE(list_probes().empty());
}

TEST(Modules, TypedProbesWaitToo) {
  int sum = 0, result = 0;
  const auto entry = on_entry<int(int, int)>(
      where, [&sum](int a, int b) { sum += a + b; }, probe_flags::pending);
  const auto returned = on_return<int(int, int)>(
      where, [&result](int r) { result = r; }, probe_flags::pending);
  const auto instead = replace<int(int, int)>(
      where, [](auto original, int a, int b) { return original(a, b) + 1000; }, probe_flags::pending);
  {
    const library plugin;
    EXPECT_EQ(plugin.early_work(), 1012);
    EXPECT_EQ(sum, 3);
    EXPECT_EQ(result, 1012);
    EXPECT_EQ(plugin.call(2, 3), 1023);
  }
  EXPECT_EQ(entry.hits(), 2U);
  for (const auto& row : list_probes()) EXPECT_TRUE(row.gone) << row;
}

/// A handler may load a library, and what waits for that is placed.
TEST(Modules, HandlersMayLoadLibraries) {
  static std::optional<library> loaded;
  all_kinds all{probe_flags::pending};
  ASSERT_FALSE(all.add_all());
  probe p{.at = "libc.so.6:getenv", .pre_handler = [](probe&, registers&) {
            loaded.emplace();
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  test::opaque (&getenv)("HOME");
  unregister_probe(p);
  ASSERT_TRUE(loaded);
  // No handler runs in a handler.
  EXPECT_EQ(loaded->early_work(), 12);
  EXPECT_EQ(loaded->call(1, 1), 5011);
  EXPECT_EQ(hits(all.simple), 1U);
  loaded.reset();
  all.remove_all();
}

TEST(Modules, NamespacesOfTheirOwnAreLeftAlone) {
  probe p{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
  ASSERT_FALSE(register_probe(p));
  void* const handle = dlmopen(LM_ID_NEWLM, MODULES_PLUGIN, RTLD_NOW);
  ASSERT_NE(handle, nullptr) << dlerror();
  EXPECT_TRUE(only_row().pending);
  EXPECT_EQ(hits(p), 0U);
  dlclose(handle);
  EXPECT_TRUE(only_row().pending);
  const library plugin;
  EXPECT_EQ(hits(p), 1U);
}

TEST(Modules, AFailedLoadLeavesThemWaiting) {
  probe p{.at = where, .pre_handler = just_count, .flags = probe_flags::pending};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(dlopen(MODULES_BROKEN, RTLD_NOW), nullptr);  // needs a symbol that nobody has, and the plugin
  EXPECT_EQ(hits(p), 0U);
  EXPECT_TRUE(only_row().pending);
  const library plugin;
  EXPECT_EQ(hits(p), 1U);
}

/// zlib, under a name by which nobody else has loaded it.
std::string own_zlib() {
  void* const library = dlopen("libz.so.1", RTLD_NOW);
  link_map* map = nullptr;
  EXPECT_EQ(dlinfo(library, RTLD_DI_LINKMAP, &map), 0);
  std::filesystem::copy_file(map->l_name, "own_zlib.so", std::filesystem::copy_options::overwrite_existing);
  dlclose(library);
  return "./own_zlib.so";
}

/// Real libraries, loaded here and nowhere else.
TEST(Modules, RealLibrariesComeAndGo) {
  struct use {
    std::string path;
    const char* function;
    void (*work)(void* library);
  };
  const use all[] = {
      {own_zlib(), "own_zlib.so:crc32",
       [](void* library) {
         const auto crc = reinterpret_cast<unsigned long (*)(unsigned long, const char*, unsigned)>(
             dlsym(library, "crc32"));
         EXPECT_EQ(crc(0, "123456789", 9), 0xcbf43926UL);
       }},
      {"libsqlite3.so.0", "libsqlite3.so.0:sqlite3_initialize",
       [](void* library) {
         void* base = nullptr;
         const auto open = reinterpret_cast<int (*)(const char*, void**)>(dlsym(library, "sqlite3_open"));
         EXPECT_EQ(open(":memory:", &base), 0);
         reinterpret_cast<int (*)(void*)>(dlsym(library, "sqlite3_close"))(base);
         reinterpret_cast<int (*)()>(dlsym(library, "sqlite3_shutdown"))();
       }},
  };
  for (const auto& one : all) {
    probe waits{.at = one.function, .pre_handler = just_count, .flags = probe_flags::pending};
    std::uint64_t seen = 0;
    for (int round = 0; round < 3; ++round) {
      ASSERT_FALSE(register_probe(waits));
      ASSERT_TRUE(only_row().pending) << one.path << " is loaded";
      void* const library = dlopen(one.path.c_str(), RTLD_NOW);
      ASSERT_NE(library, nullptr) << dlerror();
      one.work(library);
      EXPECT_GT(hits(waits), 0U) << one.path;
      if (round != 0) {
        EXPECT_EQ(hits(waits), seen);
      }
      seen = hits(waits);
      dlclose(library);
      EXPECT_TRUE(only_row().gone);
    }
    unregister_probe(waits);
  }
}

}  // namespace
}  // namespace libprobe
