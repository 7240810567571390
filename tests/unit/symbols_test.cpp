// Names, pointers and addresses of the running process: the test program, the C and C++ libraries, zlib,
// SQLite and a library with one of each kind of symbol.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "symbols/symbols.hpp"
#include "symbols_targets/sample.hpp"

extern "C" {
[[gnu::noinline, gnu::used]] static int static_of_this_test(int value) { return value * 2; }
}

namespace libprobe::symbols {
namespace {

using testing::HasSubstr;

std::uintptr_t at(const location& where) {
  std::string detail;
  const auto found = resolve(where, detail);
  EXPECT_TRUE(found) << where.name() << ": error " << static_cast<int>(found.error()) << ", " << detail;
  return found ? *found : 0;
}

errc refusal(const location& where, std::string* detail = nullptr) {
  std::string text;
  const auto found = resolve(where, text);
  EXPECT_FALSE(found) << where.name();
  EXPECT_FALSE(text.empty()) << where.name();
  if (detail != nullptr) *detail = text;
  return found.error();
}

std::uintptr_t number(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

template <class R, class... A>
std::uintptr_t number(R (*function)(A...)) {
  return reinterpret_cast<std::uintptr_t>(function);
}

std::uintptr_t by_loader(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_LAZY);
  EXPECT_NE(handle, nullptr) << dlerror();
  return number(dlsym(handle, name));
}

// Nothing here calls into these, so the linker may have left them out.
class RealLibraries : public testing::Environment {
  void SetUp() override {
    for (const char* name : {"libz.so.1", "libsqlite3.so.0"})
      ASSERT_NE(dlopen(name, RTLD_LAZY | RTLD_GLOBAL), nullptr);
  }
};
[[maybe_unused]] const auto* const real_libraries = testing::AddGlobalTestEnvironment(new RealLibraries);

TEST(Resolve, TakesAddressesAsTheyAre) {
  EXPECT_EQ(at(static_cast<const void*>("data")), number("data"));
  EXPECT_EQ(at("0x55aa+1"), 0x55abU);
}

TEST(Resolve, RefusesNothing) {
  EXPECT_EQ(refusal(location{}), errc::malformed_location);
  EXPECT_EQ(refusal(static_cast<const char*>(nullptr)), errc::malformed_location);
  EXPECT_EQ(refusal(static_cast<int (*)()>(nullptr)), errc::malformed_location);
  EXPECT_EQ(refusal(&std::exception::what), errc::malformed_location);
  EXPECT_EQ(refusal(""), errc::malformed_location);
  EXPECT_EQ(refusal("puts+x"), errc::malformed_location);
  EXPECT_EQ(refusal("puts+0xffffffffffffffff"), errc::malformed_location);
}

TEST(Resolve, FindsPlainFunctions) {
  EXPECT_EQ(at(&static_of_this_test), number(&static_of_this_test));
  EXPECT_EQ(at("static_of_this_test"), number(&static_of_this_test));
  EXPECT_EQ(at("static_of_this_test+0x2"), number(&static_of_this_test) + 2);
  EXPECT_EQ(at("unit_symbols:static_of_this_test"), number(&static_of_this_test));
  EXPECT_EQ(at("libc.so.6:puts"), by_loader("libc.so.6", "puts"));
  EXPECT_EQ(at("libz.so.1:deflate+4"), by_loader("libz.so.1", "deflate") + 4);
  EXPECT_EQ(at("sqlite3_open"), by_loader("libsqlite3.so.0", "sqlite3_open"));
  EXPECT_EQ(at("libsqlite3.so.0:sqlite3_open"), at("sqlite3_open"));
  EXPECT_EQ(at(&sample_exported), at("sample_exported"));
}

TEST(Resolve, KnowsModulesByEveryName) {
  EXPECT_EQ(at(SAMPLE_SONAME ":sample_exported"), at(&sample_exported));
  EXPECT_EQ(at(SAMPLE_FILE_NAME ":sample_exported"), at(&sample_exported));
  EXPECT_EQ(refusal("libnone.so.1:puts"), errc::module_not_found);
  EXPECT_EQ(refusal("libz.so.1:puts"), errc::symbol_not_found);
  EXPECT_EQ(refusal("no_such_function_anywhere"), errc::symbol_not_found);
}

TEST(Resolve, FindsLocalFunctionsOfLibraries) {
  EXPECT_EQ(at("sample_hidden"), sample_hidden_address());
  EXPECT_EQ(at(SAMPLE_SONAME ":sample_hidden"), sample_hidden_address());
  EXPECT_EQ(at("sample::unnamed"), sample::anonymous_address());
  EXPECT_EQ(at("sample::(anonymous namespace)::unnamed(int)"), sample::anonymous_address());
}

TEST(Resolve, ListsTwoLocalFunctionsOfOneName) {
  std::string detail;
  EXPECT_EQ(refusal("sample_twin", &detail), errc::ambiguous_symbol);
  for (const int which : {0, 1}) {
    char text[32];
    std::snprintf(text, sizeof text, "%#zx", sample_twin_address(which));
    EXPECT_THAT(detail, HasSubstr(text));
  }
  EXPECT_THAT(detail, HasSubstr(SAMPLE_SONAME));
}

TEST(Resolve, FindsCxxFunctions) {
  int (sample::widget::*draw)(int) = &sample::widget::draw;
  int (*overloaded)(double) = &sample::overloaded;
  EXPECT_EQ(at("sample::widget::shape"), at(&sample::widget::shape));
  EXPECT_EQ(at("sample::widget::shape() const"), at(&sample::widget::shape));
  EXPECT_EQ(at("sample::widget::shape()"), at(&sample::widget::shape));
  EXPECT_EQ(at("sample::widget::draw(int)"), at(draw));
  EXPECT_EQ(at("_ZN6sample6widget4drawEi"), at(draw));
  EXPECT_EQ(at("sample::overloaded(double)+4"), at(overloaded) + 4);
  EXPECT_EQ(at("sample::single"), at(&sample::single));
  EXPECT_EQ(at("sample::single(char const*,unsigned long)"), at(&sample::single));
  EXPECT_EQ(at("sample::widget::operator()"), at(&sample::widget::operator()));
  EXPECT_EQ(at("sample::widget::operator+"), at(&sample::widget::operator+));
  EXPECT_EQ(at("sample::widget::operator int"), at("_ZNK6sample6widgetcviEv"));
  EXPECT_EQ(at("sample::templated<long>"), at("_ZN6sample9templatedIlEEiT_"));
  EXPECT_EQ(at("std::terminate"), at(&std::terminate));
  EXPECT_EQ(at("operator new(unsigned long)"), at("_Znwm"));
}

TEST(Resolve, ListsOverloads) {
  std::string detail;
  EXPECT_EQ(refusal("sample::overloaded", &detail), errc::ambiguous_symbol);
  EXPECT_THAT(detail, HasSubstr("sample::overloaded(int)"));
  EXPECT_THAT(detail, HasSubstr("sample::overloaded(double)"));
  EXPECT_EQ(refusal(SAMPLE_SONAME ":sample::widget::draw", &detail), errc::ambiguous_symbol);
  EXPECT_THAT(detail, HasSubstr("sample::widget::draw(double)"));
  EXPECT_EQ(refusal("sample::templated"), errc::ambiguous_symbol);
  EXPECT_EQ(refusal("sample::overloaded(char)"), errc::symbol_not_found);
}

TEST(Resolve, TakesTheCompleteObjectsConstructor) {
  ASSERT_NE(at("_ZN6sample6widgetC1Ev"), at("_ZN6sample6widgetC2Ev"));
  EXPECT_EQ(at("sample::widget::widget"), at("_ZN6sample6widgetC1Ev"));
  EXPECT_EQ(at("sample::widget::~widget"), at("_ZN6sample6widgetD1Ev"));
  EXPECT_EQ(at("sample::base::base()"), at("_ZN6sample4baseC2Ev"));
}

TEST(Resolve, FindsClonesByTheirRawNameOnly) {
  EXPECT_NE(at("_ZN6sample6singleEPKcm.part.0"), at("sample::single"));
}

TEST(Resolve, FindsRustFunctionsWithoutTheirHash) {
  const auto write = at("_ZN4demo3fmt5write17h0123456789abcdefE");
  ASSERT_NE(write, 0U);
  EXPECT_EQ(at("demo::fmt::write"), write);
  EXPECT_EQ(at(SAMPLE_SONAME ":demo::fmt::write+0"), write);
  EXPECT_EQ(at("demo::fmt::write::h0123456789abcdef"), write);
  EXPECT_EQ(describe(write).symbol, "demo::fmt::write");
  EXPECT_EQ(describe(at("<demo::Widget as core::fmt::Debug>::fmt")).symbol,
            "<demo::Widget as core::fmt::Debug>::fmt");
  EXPECT_EQ(at("demo::one"), at("_ZN4demo3one17hfedcba9876543210E.llvm.4711"));
  EXPECT_EQ(describe(at("demo::call::{{closure}}")).symbol, "demo::call::{{closure}}");

  std::string detail;
  EXPECT_EQ(refusal("demo::twin", &detail), errc::ambiguous_symbol);
  EXPECT_THAT(detail, HasSubstr("h1111111111111111"));
  EXPECT_THAT(detail, HasSubstr("h2222222222222222"));
  EXPECT_EQ(at("demo::twin::h2222222222222222"), at("_ZN4demo4twin17h2222222222222222E"));
}

TEST(Resolve, FindsAssemblerLabelsLast) {
  EXPECT_EQ(at("sample_label"), at(&sample_after_unsized) + 1);
  EXPECT_EQ(at("sample_inner_label"), at(&sample_unsized) + 1);
}

TEST(Resolve, FollowsIfuncs) {
  EXPECT_EQ(at("libc.so.6:memcpy"), by_loader("libc.so.6", "memcpy"));
  EXPECT_EQ(at("libc.so.6:strlen"), by_loader("libc.so.6", "strlen"));
  EXPECT_EQ(at(static_cast<std::size_t (*)(const char*)>(&std::strlen)),
            number(dlsym(RTLD_DEFAULT, "strlen")));
  EXPECT_EQ(at("sample_choice"), sample_choice_address());
  EXPECT_EQ(at(&sample_choice), sample_choice_address());
}

TEST(Resolve, KnowsVersions) {
  EXPECT_EQ(at("memcpy@GLIBC_2.2.5"), number(dlvsym(RTLD_DEFAULT, "memcpy", "GLIBC_2.2.5")));
  EXPECT_EQ(at("memcpy@@GLIBC_2.14"), at("libc.so.6:memcpy"));
  EXPECT_EQ(at("sample_versioned"), number(dlvsym(RTLD_DEFAULT, "sample_versioned", "SAMPLE_2")));
  EXPECT_EQ(at("sample_versioned@SAMPLE_1"), number(dlvsym(RTLD_DEFAULT, "sample_versioned", "SAMPLE_1")));
  EXPECT_NE(at("sample_versioned@SAMPLE_1"), at("sample_versioned"));
  EXPECT_EQ(refusal("sample_versioned@SAMPLE_9"), errc::symbol_not_found);
}

TEST(Resolve, TakesTheDefinitionThatIsBound) {
  // Several modules may have these (the dynamic linker, a preloaded allocator): calls go where dlsym() says.
  for (const char* name :
       {"puts", "malloc", "free", "memcpy", "__tls_get_addr", "clock_gettime", "pthread_create"}) {
    EXPECT_EQ(at(name), number(dlsym(RTLD_DEFAULT, name))) << name;
  }
}

TEST(FunctionAt, KnowsSymbolsWithAndWithoutSize) {
  const std::uintptr_t hidden = sample_hidden_address();
  const auto whole = function_at(hidden);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->start, hidden);
  EXPECT_GT(whole->end, hidden);
  const auto again = function_at(whole->end - 1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->start, hidden);

  // A label inside does not end a function that has no size; the next function does.
  const auto unsized = function_at(at(&sample_unsized) + 2);
  ASSERT_TRUE(unsized);
  EXPECT_EQ(unsized->start, at(&sample_unsized));
  EXPECT_EQ(unsized->end, at(&sample_after_unsized));
  const auto label = function_at(at("sample_label") + 1);
  ASSERT_TRUE(label);
  EXPECT_EQ(label->start, at("sample_label"));
  EXPECT_EQ(label->end, at("sample_next_label"));
  EXPECT_FALSE(function_at(number("data")));
  EXPECT_FALSE(function_at(0));
}

TEST(FunctionAt, TakesNoMarkerForCode) {
  const std::uintptr_t start = at("sample_marked");
  for (std::uintptr_t offset = 0; offset < 5; ++offset) {
    EXPECT_EQ(describe(start + offset).symbol, "sample_marked");
    EXPECT_EQ(describe(start + offset).offset, offset);
  }
  const auto whole = text_around(start + 4);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->start, start);
  EXPECT_EQ(whole->end, start + 5);
  const auto starts = starts_in(*whole);
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].address, start);
  EXPECT_TRUE(starts[0].typed);
}

TEST(FunctionAt, KnowsLabelsOneBehindTheOther) {
  // Each has its own extent, and all of them are looked at for branches.
  const auto whole = text_around(at("sample_next_label"));
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->start, at("sample_label"));
  const auto starts = starts_in({whole->start, whole->start + 4});
  ASSERT_EQ(starts.size(), 2U);
  EXPECT_FALSE(starts[1].typed);
  EXPECT_EQ(starts[1].address, at("sample_next_label"));
}

TEST(FunctionAt, AgreesWithSymbolsWhereTheyAreStripped) {
  void* stripped = dlopen(STRIPPED_SAMPLE, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(stripped, nullptr) << dlerror();
  const auto ask = reinterpret_cast<std::uintptr_t (*)()>(dlsym(stripped, "sample_hidden_address"));
  const std::uintptr_t hidden = ask();
  ASSERT_NE(hidden, sample_hidden_address());
  const auto with_symbols = function_at(sample_hidden_address());
  const auto without = function_at(hidden + 1);
  ASSERT_TRUE(with_symbols && without);
  EXPECT_EQ(without->start, hidden);
  EXPECT_EQ(without->end - without->start, with_symbols->end - with_symbols->start);
  EXPECT_EQ(describe(hidden).symbol, "");
  EXPECT_EQ(describe(hidden).module, STRIPPED_FILE_NAME);
  EXPECT_EQ(refusal(STRIPPED_FILE_NAME ":sample_hidden"), errc::symbol_not_found);
  dlclose(stripped);
}

TEST(FunctionAt, CoversMostOfStrippedSystemLibraries) {
  for (const char* name : {"deflate", "sqlite3_open", "qsort", "_Znwm"}) {
    const std::uintptr_t start = at(name);
    const auto whole = function_at(start + 1);
    ASSERT_TRUE(whole) << name;
    EXPECT_EQ(whole->start, start) << name;
  }
  const std::uintptr_t text = at("sqlite3_open");
  int known = 0;
  for (std::uintptr_t offset = 0; offset < 1000 * 64; offset += 64)
    known += function_at(text + offset) ? 1 : 0;
  EXPECT_GT(known, 950);
}

TEST(Describe, GoesThereAndBack) {
  for (const char* name :
       {"puts", "deflate", "sqlite3_open", "static_of_this_test", "sample_hidden",
        "sample::widget::draw(int)", "sample::overloaded(double)", "int sample::templated<long>(long)",
        "sample::(anonymous namespace)::unnamed(int)"}) {
    const std::uintptr_t address = at(name);
    const description text = describe(address + 1);
    EXPECT_EQ(text.symbol, name);
    EXPECT_EQ(text.offset, 1U) << name;
    EXPECT_EQ(at(text.module + ":" + text.symbol), address) << text.module;
  }
  EXPECT_EQ(describe(at(&sample_exported)).module, SAMPLE_SONAME);
  EXPECT_EQ(describe(sample_hidden_address()).symbol, "sample_hidden");
  EXPECT_EQ(describe(at("sample_label") + 1).symbol, "sample_label");
}

TEST(Describe, HasLittleToSayElsewhere) {
  const std::uintptr_t stack = number(static_cast<const void*>(&stack));
  EXPECT_EQ(describe(stack).symbol, "");
  EXPECT_EQ(describe(0x10).module, "");
  EXPECT_FALSE(in_module(stack));
  EXPECT_TRUE(in_module(at("puts")));
}

TEST(Symbols, ServeManyThreads) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  const std::uintptr_t expected = at("sqlite3_open");
  for (int number = 0; number < 4; ++number) {
    threads.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        std::string detail;
        const auto found = resolve(round % 2 == 0 ? "sqlite3_open" : "libsqlite3.so.0:sqlite3_open", detail);
        if (!found || *found != expected || !function_at(*found) || probeable(*found) != errc::ok) ++wrong;
        if (void* handle = dlopen(STRIPPED_SAMPLE, RTLD_NOW)) {
          if (resolve(STRIPPED_FILE_NAME ":sample_hidden", detail)) ++wrong;
          dlclose(handle);
        }
      }
    });
  }
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace libprobe::symbols
