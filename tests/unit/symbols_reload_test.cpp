// Libraries that come, go, and come back as something else.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::symbols {
namespace {

namespace fs = std::filesystem;

class Reload : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "symbols_reload_XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = fs::absolute(name);
    plugin_ = folder_ / "plugin.so";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // As installers do it: a new file takes the old one's name.
  void install(const char* from) {
    fs::copy_file(from, folder_ / "new");
    fs::rename(folder_ / "new", plugin_);
  }

  static std::uintptr_t local_of(void* handle) {
    const auto ask = reinterpret_cast<std::uintptr_t (*)()>(dlsym(handle, "plugin_local_address"));
    return ask == nullptr ? 0 : ask();
  }

  static errc answer(const char* name, std::uintptr_t* address = nullptr) {
    std::string detail;
    const auto found = resolve(name, detail);
    if (found && address != nullptr) *address = *found;
    return found ? errc::ok : found.error();
  }

  fs::path folder_;
  fs::path plugin_;
};

TEST_F(Reload, NoticesWhatIsThere) {
  const std::uint64_t before = generation();
  EXPECT_EQ(generation(), before);
  EXPECT_EQ(answer("plugin.so:plugin_local"), errc::module_not_found);

  install(PLUGIN_FIRST);
  void* handle = dlopen(plugin_.c_str(), RTLD_NOW);
  ASSERT_NE(handle, nullptr) << dlerror();
  const std::uint64_t loaded = generation();
  EXPECT_NE(loaded, before);
  std::uintptr_t address = 0;
  EXPECT_EQ(answer("plugin.so:plugin_local", &address), errc::ok);
  EXPECT_EQ(address, local_of(handle));
  EXPECT_EQ(answer("plugin_first"), errc::ok);
  EXPECT_TRUE(in_module(address));
  dlclose(handle);

  EXPECT_NE(generation(), loaded);
  EXPECT_FALSE(in_module(address));
  EXPECT_EQ(probeable(address), errc::not_executable);
  EXPECT_EQ(answer("plugin_first"), errc::symbol_not_found);

  install(PLUGIN_SECOND);
  handle = dlopen(plugin_.c_str(), RTLD_NOW);
  ASSERT_NE(handle, nullptr) << dlerror();
  EXPECT_EQ(answer("plugin.so:plugin_local", &address), errc::ok);
  EXPECT_EQ(address, local_of(handle));
  EXPECT_EQ(answer("plugin_first"), errc::symbol_not_found);
  EXPECT_EQ(answer("plugin_second"), errc::ok);
  dlclose(handle);
}

TEST_F(Reload, KeepsTheTablesOfWhatStays) {
  const auto libc_of = [](const snapshot& now) {
    for (const auto& one : now.modules) {
      if (one->is_called("libc.so.6")) return one;
    }
    return std::shared_ptr<const module>{};
  };
  const auto before = libc_of(*current_modules());
  ASSERT_NE(before, nullptr);
  for (int round = 0; round < 2; ++round) {
    if (round == 0) install(PLUGIN_FIRST);
    void* handle = dlopen(plugin_.c_str(), RTLD_NOW);
    EXPECT_EQ(libc_of(*current_modules()), before);
    dlclose(handle);
    EXPECT_EQ(libc_of(*current_modules()), before);
  }
}

TEST_F(Reload, DoesNotBelieveAFileThatWasReplaced) {
  install(PLUGIN_FIRST);
  void* handle = dlopen(plugin_.c_str(), RTLD_NOW);
  ASSERT_NE(handle, nullptr) << dlerror();
  install(PLUGIN_SECOND);
  // What is loaded still tells its exported names; the local ones are gone with the file.
  EXPECT_EQ(answer("plugin.so:plugin_first"), errc::ok);
  EXPECT_EQ(answer("plugin.so:plugin_second"), errc::symbol_not_found);
  EXPECT_EQ(answer("plugin.so:plugin_local"), errc::symbol_not_found);
  dlclose(handle);
}

TEST_F(Reload, SaysThatAFileWasReplaced) {
  // Nothing in the file tells the one from the other.
  install(PLUGIN_TURNED_0);
  void* handle = dlopen(plugin_.c_str(), RTLD_NOW);
  ASSERT_NE(handle, nullptr) << dlerror();
  install(PLUGIN_TURNED_1);
  std::string detail;
  const auto found = resolve("plugin.so:plugin_turned", detail);
  ASSERT_FALSE(found) << std::hex << *found;
  EXPECT_EQ(found.error(), errc::symbol_not_found);
  EXPECT_NE(detail.find("has been replaced or deleted"), std::string::npos) << detail;
  EXPECT_EQ(answer("plugin.so:plugin_local_address"), errc::ok);
  dlclose(handle);

  // The same file again, as a package that is installed anew.
  install(PLUGIN_FIRST);
  handle = dlopen(plugin_.c_str(), RTLD_NOW);
  ASSERT_NE(handle, nullptr) << dlerror();
  install(PLUGIN_FIRST);
  std::uintptr_t address = 0;
  EXPECT_EQ(answer("plugin.so:plugin_local", &address), errc::ok);
  EXPECT_EQ(address, local_of(handle));
  dlclose(handle);
}

TEST_F(Reload, FindsLibrariesLoadedByRelativePath) {
  install(PLUGIN_FIRST);
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  void* handle = dlopen("./plugin.so", RTLD_NOW);
  fs::current_path(before);
  ASSERT_NE(handle, nullptr) << dlerror();
  std::uintptr_t address = 0;
  EXPECT_EQ(answer("plugin.so:plugin_local", &address), errc::ok);
  EXPECT_EQ(address, local_of(handle));
  dlclose(handle);
}

}  // namespace
}  // namespace libprobe::symbols
