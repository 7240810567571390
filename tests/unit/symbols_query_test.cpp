// Location strings and C++ names, without looking at the process.
#include <gtest/gtest.h>

#include <random>

#include "symbols/cxx_name.hpp"
#include "symbols/query.hpp"

namespace libprobe::symbols {
namespace {

struct good_query {
  const char* text;
  const char* module;
  const char* symbol;
  const char* version;
  std::uintptr_t offset;
};

TEST(Query, TakesApart) {
  constexpr good_query table[] = {
      {"puts", "", "puts", "", 0},
      {"puts+4", "", "puts", "", 4},
      {"puts+010", "", "puts", "", 10},
      {"puts+0x10", "", "puts", "", 16},
      {"libfoo.so.1:symbol+4", "libfoo.so.1", "symbol", "", 4},
      {"libstdc++.so.6:puts", "libstdc++.so.6", "puts", "", 0},
      {"libstdc++.so.6:ns::f(int)+0xF", "libstdc++.so.6", "ns::f(int)", "", 15},
      {"ns::f", "", "ns::f", "", 0},
      {"::f", "", "f", "", 0},
      {"m:::f", "m", "f", "", 0},
      {"memcpy@GLIBC_2.2.5", "", "memcpy", "GLIBC_2.2.5", 0},
      {"memcpy@@GLIBC_2.14+2", "", "memcpy", "GLIBC_2.14", 2},
      {"ns::operator+", "", "ns::operator+", "", 0},
      {"ns::operator++", "", "ns::operator++", "", 0},
      {"ns::operator+=", "", "ns::operator+=", "", 0},
      {"ns::operator+(A, B)", "", "ns::operator+(A, B)", "", 0},
      {"ns::operator++(int)+3", "", "ns::operator++(int)", "", 3},
      {"ns::operator++3", "", "ns::operator+", "", 3},
      {"f<((1)+(2))>()", "", "f<((1)+(2))>()", "", 0},
      {"main::{lambda(auto:1)#1}::operator()<int>", "", "main::{lambda(auto:1)#1}::operator()<int>", "", 0},
      {"f[abi:cxx11](int)", "", "f[abi:cxx11](int)", "", 0},
      {"0x55aa", "", "", "", 0x55aa},
      {"0x10+0x10", "", "", "", 0x20},
      {"0xffffffffffffffff", "", "", "", ~std::uintptr_t{0}},
      {"f.part.0", "", "f.part.0", "", 0},
  };
  for (const good_query& one : table) {
    std::string detail;
    const auto parts = parse(one.text, detail);
    ASSERT_TRUE(parts) << one.text << ": " << detail;
    EXPECT_EQ(parts->module, one.module) << one.text;
    EXPECT_EQ(parts->symbol, one.symbol) << one.text;
    EXPECT_EQ(parts->version, one.version) << one.text;
    EXPECT_EQ(parts->offset, one.offset) << one.text;
  }
}

TEST(Query, RefusesWhatIsNoPlace) {
  using namespace std::string_view_literals;
  constexpr std::string_view table[] = {
      "",
      " ",
      "\t ",
      ":",
      "foo:",
      ":foo",
      "m:a:b",
      "+4",
      "m:+4",
      "foo+",
      "foo+0x",
      "foo+x",
      "foo+1z",
      "foo+-3",
      "foo+ 3",
      "foo+3 ",
      "foo+0x1g",
      "0x",
      "0xg",
      "0x5 ",
      "123",
      "9foo",
      "m:0x5",
      "0X55",
      "foo@",
      "foo@@",
      "a\nb",
      "a\0b"sv,
      "foo+3+",
      "::",
      "m:::",
      "0x1+",
      "m: ",
      "foo+99999999999999999999999",
      "0x99999999999999999",
      "0xffffffffffffffff+1",
  };
  for (const std::string_view text : table) {
    std::string detail;
    const auto parts = parse(text, detail);
    ASSERT_FALSE(parts) << '"' << text << '"';
    EXPECT_EQ(parts.error(), errc::malformed_location) << text;
    EXPECT_FALSE(detail.empty()) << text;
  }
}

TEST(Query, SurvivesNoise) {
  constexpr std::string_view alphabet = "aZ_09x+:@(<[{}]>)~ .-,&*\t\n\x7f\xff";
  std::mt19937 random{4711};
  for (int round = 0; round < 50'000; ++round) {
    std::string text(random() % 24, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    if (random() % 4 == 0) text += "operator";
    std::string detail;
    if (const auto parts = parse(text, detail)) {
      const cxx_query asked{parts->symbol};
      EXPECT_NE(asked.compare("_Z1fv", "f()"), cxx_query::match::exact) << text;
    } else {
      EXPECT_FALSE(detail.empty()) << text;
    }
  }
}

TEST(CxxName, TakesApart) {
  constexpr const char* table[][4] = {
      {"f(int)", "f", "(int)", ""},
      {"ns::f(char const*, unsigned long)", "ns::f", "(charconst*,unsignedlong)", ""},
      {"W::shape() const", "W::shape", "()", "const"},
      {"int ns::g<int>(int)", "ns::g<int>", "(int)", ""},
      {"std::vector<int, std::allocator<int> > g<int>()", "g<int>", "()", ""},
      {"ns::(anonymous namespace)::f(int)", "ns::(anonymous namespace)::f", "(int)", ""},
      {"W::operator()(int)", "W::operator()", "(int)", ""},
      {"W::operator()", "W::operator()", "", ""},
      {"W::operator unsigned long() const", "W::operator unsigned long", "()", "const"},
      {"operator new(unsigned long)", "operator new", "(unsignedlong)", ""},
      {"bool operator< <int>(A<int>, A<int>)", "operator< <int>", "(A<int>,A<int>)", ""},
      {"main::{lambda(int)#1}::operator()(int) const", "main::{lambda(int)#1}::operator()", "(int)", "const"},
      {"f(int)::local::g(char)", "f(int)::local::g", "(char)", ""},
      {"W::f() const::local::g()", "W::f() const::local::g", "()", ""},
      {"decltype(nullptr) g<int>(int)", "g<int>", "(int)", ""},
      {"main", "main", "", ""},
  };
  for (const auto& [text, name, parameters, suffix] : table) {
    const cxx_name parts = cxx_name::split(text);
    EXPECT_EQ(parts.name, name) << text;
    EXPECT_EQ(parts.parameters, parameters) << text;
    EXPECT_EQ(parts.suffix, suffix) << text;
  }
}

TEST(CxxName, Compares) {
  using enum cxx_query::match;
  struct row {
    const char* asked;
    const char* demangled;
    cxx_query::match expected;
  };
  constexpr row table[] = {
      {"f", "f(int)", exact},
      {"f", "ns::f(int)", none},
      {"ns::f(int)", "ns::f(int)", exact},
      {"ns::f( int )", "ns::f(int)", exact},
      {"ns::f(int)", "ns::f(long)", none},
      {"ns::f()", "ns::f(int)", none},
      {"f(char const *)", "f(char const*)", exact},
      {"W::shape", "W::shape() const", exact},
      {"W::shape()", "W::shape() const", loose},
      {"W::shape() const", "W::shape()", none},
      {"g", "int g<int>(int)", exact},
      {"g<int>", "int g<int>(int)", exact},
      {"g<long>", "int g<int>(int)", none},
      {"int g<int>(int)", "int g<int>(int)", exact},
      {"V::push", "V<int>::push(int)", exact},
      {"V<int>::push(int)", "V<int>::push(int)", exact},
      {"ns::f", "ns::(anonymous namespace)::f(int)", loose},
      {"f", "f[abi:cxx11](int)", loose},
      {"std::f", "std::__cxx11::f(int)", loose},
      {"operator<", "bool operator< <int>(A<int>, A<int>)", exact},
      {"operator<<", "bool operator< <int>(A<int>, A<int>)", none},
      {"W::~W", "W::~W()", exact},
  };
  for (const row& one : table) {
    EXPECT_EQ(cxx_query{one.asked}.compare("_Z", one.demangled), one.expected)
        << one.asked << " ? " << one.demangled;
  }
  EXPECT_EQ(cxx_query{"W::f"}.compare("_ZThn8_N1W1fEv", "non-virtual thunk to W::f()"), none);
}

TEST(CxxName, IsRustsWithoutTheHash) {
  EXPECT_EQ(demangled("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
  EXPECT_EQ(demangled("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123"), "core::fmt::write");
  EXPECT_EQ(demangled("_ZN39_$LT$$RF$T$u20$as$u20$a..B$LT$C$GT$$GT$3foo17h0123456789abcdefE"),
            "<&T as a::B<C>>::foo");
  // No hash: another compiler's.
  EXPECT_EQ(demangled("_ZN4core3fmt5write17h0123456789abcdegE"), "core::fmt::write::h0123456789abcdeg");
  EXPECT_EQ(demangled("_ZN4core17h0123456789abcdefEv"), "core::h0123456789abcdef()");
  EXPECT_EQ(demangled("_RNvC6_123foo3bar_not_known"), "_RNvC6_123foo3bar_not_known");
  EXPECT_FALSE(is_clone("_ZN9a..b..c..17h0123456789abcdefE"));
  EXPECT_FALSE(is_clone("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123"));
  EXPECT_TRUE(is_clone("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123.cold"));
  EXPECT_TRUE(is_clone("_ZN6sample6singleEPKcm.part.0"));
}

TEST(CxxName, KnowsWhatIsSpelledOut) {
  EXPECT_EQ(cxx_query{"ns::Widget::draw"}.identifier(), "draw");
  EXPECT_EQ(cxx_query{"ns::f<int>(std::string)"}.identifier(), "f");
  EXPECT_EQ(cxx_query{"W::~W"}.identifier(), "W");
  EXPECT_EQ(cxx_query{"W::operator()"}.identifier(), "W");
  EXPECT_EQ(cxx_query{"operator new"}.identifier(), "");
  EXPECT_EQ(cxx_query{"std::operator<<"}.identifier(), "");
  EXPECT_EQ(cxx_query{"std::string::string"}.identifier(), "");
}

}  // namespace
}  // namespace libprobe::symbols
