// Modules that come and go, and the sites that lie in them.
#include "control/module_watch.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "support/control_scene.hpp"

namespace libprobe::control {
namespace {

struct keeper final : module_watch::text_keeper {
  std::vector<site::site*> told;
  void text_is_gone(site::site& at) noexcept override {
    told.push_back(&at);
    at.gone = true;
  }
};

class ModuleWatch : public test::Scene {
 protected:
  void SetUp() override {
    Scene::SetUp();
    library_ = dlopen(PLUGIN_FIRST, RTLD_NOW);
    ASSERT_NE(library_, nullptr) << dlerror();
    in_library_ = reinterpret_cast<std::uintptr_t>(dlsym(library_, "plugin_first"));
    ASSERT_NE(in_library_, 0U);
    watch.reserve(8);
  }
  void TearDown() override {
    for (const auto& at : sites_) site::sites.erase(at->address);
    if (library_ != nullptr) unload();
    Scene::TearDown();
  }
  void unload() {
    dlclose(library_);
    library_ = nullptr;
  }
  site::site& site_in_library() {
    auto& at = make_site(0);
    at.address = in_library_;
    at.module = watch.modules()->find(in_library_);
    EXPECT_NE(at.module, nullptr);
    publish(at);
    return at;
  }

  keeper told;
  epoch::retirement retired;
  module_watch watch{told, retired};
  std::uintptr_t in_library_ = 0;
  void* library_ = nullptr;
};

TEST_F(ModuleWatch, ASiteWithProbesIsGoneWithItsModule) {
  ASSERT_TRUE(watch.look());
  auto& at = site_in_library();
  test::attachment probe;
  link(probe, at);
  site::detour way;
  at.through = &way;
  way.at = &at;
  const auto* const module = at.module;
  unload();
  ASSERT_TRUE(watch.look());
  EXPECT_EQ(told.told, std::vector{&at});
  EXPECT_EQ(site::sites.find(in_library_), nullptr);
  EXPECT_EQ(way.at.load(), nullptr) << "a hit on its way finds it";
  ASSERT_EQ(watch.gone().size(), 1U);
  EXPECT_EQ(watch.gone()[0].at, &at);
  EXPECT_EQ(watch.gone()[0].with.get(), module);
  EXPECT_TRUE(retired.empty());
  EXPECT_TRUE(watch.forget(at));
  EXPECT_FALSE(watch.forget(at));
  EXPECT_TRUE(watch.gone().empty());
}

TEST_F(ModuleWatch, ASiteWithoutProbesIsRetiredAtOnce) {
  ASSERT_TRUE(watch.look());
  auto& at = site_in_library();
  unload();
  ASSERT_TRUE(watch.look());
  EXPECT_EQ(told.told, std::vector{&at});
  EXPECT_TRUE(watch.gone().empty());
  EXPECT_FALSE(retired.empty());
  EXPECT_FALSE(watch.forget(at));
}

TEST_F(ModuleWatch, SitesElsewhereStay) {
  ASSERT_TRUE(watch.look());
  auto& at = site_in_library();
  at.address = reinterpret_cast<std::uintptr_t>(&std::atoi);
  at.module = watch.modules()->find(at.address);
  publish(at);
  unload();
  ASSERT_TRUE(watch.look());
  EXPECT_TRUE(told.told.empty());
  EXPECT_EQ(site::sites.find(at.address), &at);
}

/// The loader does not tell each time, and other bytes stand there: the module may be another one.
TEST_F(ModuleWatch, WhereTheLoaderDoesNotTellTheTextIsLookedAt) {
  for (const bool is_told : {true, false}) {
    ASSERT_TRUE(watch.look());
    auto& at = make_site(0);
    at.address = reinterpret_cast<std::uintptr_t>(&std::atoi);
    at.module = watch.modules()->find(at.address);
    at.now = site::text::breakpoint;  // which does not stand there
    publish(at);
    watch.set_told_of_unloading(is_told);
    unload();
    ASSERT_TRUE(watch.look());
    EXPECT_EQ(site::sites.find(at.address) != nullptr, is_told);
    library_ = dlopen(PLUGIN_FIRST, RTLD_NOW);
  }
}

TEST_F(ModuleWatch, AStrayIsItsModulesIfItsTextStands) {
  ASSERT_TRUE(watch.look());
  auto& at = site_in_library();
  at.module = nullptr;
  auto& other = make_site(0);
  other.address = at.address + 1;
  other.now = site::text::breakpoint;
  publish(other);
  unload();
  library_ = dlopen(PLUGIN_FIRST, RTLD_NOW);  // it counts as a change
  ASSERT_EQ(reinterpret_cast<std::uintptr_t>(dlsym(library_, "plugin_first")), in_library_);
  ASSERT_TRUE(watch.look());
  EXPECT_EQ(at.module, watch.modules()->find(in_library_));
  EXPECT_EQ(told.told, std::vector{&other});
}

TEST_F(ModuleWatch, RequestsInAModuleThatHasGoneLeadElsewhere) {
  ASSERT_TRUE(watch.look());
  const auto known = watch.modules();
  std::array<request, 1> there{}, stays{};
  there[0].address = in_library_;
  stays[0].address = reinterpret_cast<std::uintptr_t>(&std::atoi);
  EXPECT_FALSE(watch.lead_elsewhere(there, *known));
  unload();
  ASSERT_TRUE(watch.look());
  EXPECT_TRUE(watch.any_left_since(known->counts));
  EXPECT_TRUE(watch.lead_elsewhere(there, *known));
  EXPECT_FALSE(watch.lead_elsewhere(stays, *known));
}

TEST_F(ModuleWatch, WhatIsDoneWhileNoneLeavesKnowsWhoHasLeft) {
  ASSERT_TRUE(watch.look());
  auto& at = site_in_library();
  unload();
  int times = 0;
  EXPECT_TRUE(watch.while_none_leaves([&] {
    ++times;
    EXPECT_TRUE(at.gone);
  }));
  EXPECT_EQ(times, 1);
}

}  // namespace
}  // namespace libprobe::control
