// Functions by pattern and by address, against what the loader and the compiler know.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstring>
#include <libprobe/libprobe.hpp>

#include "symbols_targets/sample.hpp"

namespace libprobe {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

std::vector<std::string> names(std::string_view pattern) {
  std::vector<std::string> found;
  for (const auto& one : list_functions(pattern)) found.push_back(one.name);
  return found;
}

const void* number(std::uintptr_t address) { return reinterpret_cast<const void*>(address); }

TEST(Functions, OfALibraryByItsNameAndAGlob) {
  const auto found = list_functions("libsqlite3.so.0:sqlite3_bind_*");
  ASSERT_GE(found.size(), 10U);
  void* const library = dlopen("libsqlite3.so.0", RTLD_LAZY);
  for (const auto& one : found) {
    EXPECT_EQ(one.address, dlsym(library, one.name.c_str())) << one.name;
    EXPECT_EQ(one.name.rfind("sqlite3_bind_", 0), 0U) << one.name;
    EXPECT_GT(one.size, 0U) << one.name;
    EXPECT_EQ(one.module.rfind("libsqlite3.so", 0), 0U) << one.module;
  }
  EXPECT_TRUE(std::ranges::is_sorted(found, std::less{}, &function_info::address));
  EXPECT_EQ(std::ranges::adjacent_find(found, {}, &function_info::address), found.end());
}

TEST(Functions, ModulesMayBePatternsToo) {
  const auto exact = names("libsqlite3.so.0:sqlite3_bind_*");
  EXPECT_EQ(names("libsqlite3*:sqlite3_bind_*"), exact);
  EXPECT_EQ(names("libsqlite[0-9].so.?:sqlite3_bind_*"), exact);
  EXPECT_EQ(names("sqlite3_bind_*"), exact);
  EXPECT_THAT(names("libz*:sqlite3_bind_*"), IsEmpty());
}

TEST(Functions, CxxNamesWithAndWithoutParameters) {
  EXPECT_THAT(names(SAMPLE_SONAME ":sample::overloaded"),
              UnorderedElementsAre("sample::overloaded(int)", "sample::overloaded(double)"));
  EXPECT_THAT(names(SAMPLE_SONAME ":sample::overloaded(int)"), ElementsAre("sample::overloaded(int)"));
  EXPECT_THAT(names(SAMPLE_SONAME ":sample::widget::*"), Contains("sample::widget::shape() const"));
  EXPECT_THAT(names(SAMPLE_SONAME ":_ZN6sample6widget4draw*"),
              UnorderedElementsAre("sample::widget::draw(int)", "sample::widget::draw(double)"));
  EXPECT_THAT(names(SAMPLE_SONAME ":sample::templated<*>"),
              UnorderedElementsAre("int sample::templated<int>(int)", "int sample::templated<long>(long)"));
}

TEST(Functions, StaticOnesAndWhatAnIfuncChose) {
  const auto hidden = list_functions(SAMPLE_SONAME ":sample_hidden");
  ASSERT_EQ(hidden.size(), 1U);
  EXPECT_EQ(hidden[0].address, number(sample_hidden_address()));
  EXPECT_EQ(list_functions(SAMPLE_SONAME ":sample_twin").size(), 2U);
  const auto choice = list_functions(SAMPLE_SONAME ":sample_choice");
  ASSERT_EQ(choice.size(), 1U);
  EXPECT_EQ(choice[0].address, number(sample_choice_address()));
}

TEST(Functions, NoSplitOffHalves) {
  ASSERT_FALSE(names("libstdc++.so.6:*").empty());
  EXPECT_THAT(names("*:*.cold*"), IsEmpty());
}

TEST(Functions, NothingFits) {
  EXPECT_THAT(names("no_such_module:*"), IsEmpty());
  EXPECT_THAT(names("libsqlite3.so.0:no_such_*"), IsEmpty());
  EXPECT_THAT(names(""), IsEmpty());
  EXPECT_THAT(names("libsqlite3.so.0:"), IsEmpty());
  EXPECT_THAT(names("libsqlite3.so.0:sqlite3_step+4"), IsEmpty());
}

TEST(Functions, AroundAnAddress) {
  for (const auto& one : list_functions("libsqlite3.so.0:sqlite3_column_*")) {
    const auto last = function_at(static_cast<const char*>(one.address) + one.size - 1);
    ASSERT_TRUE(last);
    EXPECT_EQ(last->address, one.address) << one.name;
    EXPECT_EQ(last->size, one.size) << one.name;
  }
  EXPECT_FALSE(function_at(nullptr));
  int local = 0;
  EXPECT_FALSE(function_at(&local));
}

TEST(Functions, WithoutASymbolTheUnwindTablesTell) {
  const auto* const exported = static_cast<const char*>(dlsym(RTLD_DEFAULT, "sample_exported"));
  const auto distance = static_cast<const char*>(number(sample_hidden_address())) - exported;
  void* const library = dlopen(STRIPPED_SAMPLE, RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto* const hidden = static_cast<const char*>(dlsym(library, "sample_exported")) + distance;
  const auto found = function_at(hidden + 1);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "");
  EXPECT_EQ(found->module, STRIPPED_FILE_NAME);
  EXPECT_EQ(found->address, hidden);
  dlclose(library);
}

}  // namespace
}  // namespace libprobe
