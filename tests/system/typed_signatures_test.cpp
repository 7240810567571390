// Functions of every signature that C++ has: members with each mixture of qualifiers, and variadic ones.
#include <cstdarg>
#include <cstdio>
#include <libprobe/testing.hpp>
#include <string>

#include "support/probing.hpp"

// Not in an unnamed namespace: nothing else calls these, and the compiler would make other functions of them.
namespace libprobe::signatures {

// A member for each of const, volatile, & and &&, noexcept: what it is called, and how it is qualified.
#define MEMBERS(each)                                                                                   \
  each(plain, ) each(c, const) each(v, volatile) each(cv, const volatile) each(l, &) each(cl, const&)   \
      each(vl, volatile&) each(cvl, const volatile&) each(r, &&) each(cr, const&&) each(vr, volatile&&) \
          each(cvr, const volatile&&)

struct gadget {
  int own = 40;
#define DECLARE(name, qualifiers) \
  int name(int more) qualifiers;  \
  int name##_n(int more) qualifiers noexcept;
  MEMBERS(DECLARE)
#undef DECLARE
};
#define DEFINE(name, qualifiers)                                                 \
  [[gnu::noinline]] int gadget::name(int more) qualifiers { return own + more; } \
  [[gnu::noinline]] int gadget::name##_n(int more) qualifiers noexcept { return own + more; }
MEMBERS(DEFINE)
#undef DEFINE

/// As printf() does: "i" an int, "d" a double, "l" a long double; the weighted sum.
[[gnu::noinline]] double add_up(const char* kinds, ...) {
  std::va_list list;
  va_start(list, kinds);
  double sum = 0;
  for (int n = 1; *kinds != '\0'; ++kinds, ++n) {
    sum += n * (*kinds == 'i'   ? va_arg(list, int)
                : *kinds == 'd' ? va_arg(list, double)
                                : static_cast<double>(va_arg(list, long double)));
  }
  va_end(list);
  return sum;
}
[[gnu::noinline]] int count_up(int first, double second, ...) noexcept {
  std::va_list list;
  va_start(list, second);
  int sum = first + static_cast<int>(second);
  for (int next; (next = va_arg(list, int)) != 0;) sum += next;
  va_end(list);
  return sum;
}

}  // namespace libprobe::signatures

namespace libprobe {
namespace {

using namespace signatures;

/// The object as such a member has it.
template <class Gadget>
struct as {
#define DECLARE(name, qualifiers) using name = Gadget qualifiers;
  MEMBERS(DECLARE)
#undef DECLARE
};

/// By the typed layer and the fixtures; `call` calls it with 2.
template <class Member, class Call>
void expect_all(Member member, Call call, const char* name) {
  ASSERT_EQ(call(), 42) << name;
  int seen = 0, returned = 0;
  const volatile void* object = nullptr;
  {
    const scoped_probe a = on_entry(member, [&](auto* it, int more) {
      object = it;
      seen += more;
    });
    const scoped_probe b = on_return(member, [&](int result) { returned = result; });
    EXPECT_EQ(call(), 42) << name;
  }
  EXPECT_NE(object, nullptr) << name;
  EXPECT_EQ(seen, 2) << name;
  EXPECT_EQ(returned, 42) << name;
  {
    const scoped_probe c =
        replace(member, [](auto original, auto* it, int more) { return original(it, more) + it->own; });
    EXPECT_EQ(call(), 82) << name;
  }
  {
    const spy s{member};
    EXPECT_EQ(call(), 42) << name;
    EXPECT_TRUE(s.was_called(1)) << name;
    EXPECT_EQ(s.template arguments<1>(), std::vector<int>{2}) << name;
    EXPECT_EQ(s.results(), std::vector<int>{42}) << name;
  }
  {
    const stub t{member, returns(7)};
    EXPECT_EQ(call(), 7) << name;
  }
  EXPECT_EQ(call(), 42) << name;
}

TEST(Signatures, MembersWithEachQualifier) {
  gadget g;
#define EXPECT_MEMBER(name, qualifiers)                                                  \
  expect_all(                                                                            \
      &gadget::name, [&] { return static_cast<as<gadget>::name&&>(g).name(2); }, #name); \
  expect_all(                                                                            \
      &gadget::name##_n, [&] { return static_cast<as<gadget>::name&&>(g).name##_n(2); }, #name "_n");
  MEMBERS(EXPECT_MEMBER)
#undef EXPECT_MEMBER
}

constexpr const char* many = "ididididididididididlid";
double call_many() {
  return test::opaque(&add_up)(many, 1, 2.5, 3, 4.5, 5, 6.5, 7, 8.5, 9, 10.5, 11, 12.5, 13, 14.5, 15, 16.5,
                               17, 18.5, 19, 20.5, 21.25L, 22, 23.5);
}
double natively() {
  double sum = 0;
  const double values[] = {1,  2.5,  3,  4.5,  5,  6.5,  7,  8.5,  9,     10.5, 11,  12.5,
                           13, 14.5, 15, 16.5, 17, 18.5, 19, 20.5, 21.25, 22,   23.5};
  int n = 0;
  for (const double value : values) sum += ++n * value;
  return sum;
}

TEST(Signatures, VariadicFunctionsShowTheirFixedArguments) {
  ASSERT_EQ(call_many(), natively());
  std::string seen;
  double returned = 0;
  const scoped_probe a = on_entry(&add_up, [&](const char* kinds) { seen = kinds; });
  const scoped_probe b = on_return(&add_up, [&](double result) { returned = result; });
  EXPECT_EQ(call_many(), natively());
  EXPECT_EQ(seen, many);
  EXPECT_EQ(returned, natively());
  int first = 0;
  const scoped_probe c = on_entry(&count_up, [&](int x, double y) { first = x + static_cast<int>(y); });
  EXPECT_EQ(test::opaque(&count_up)(1, 2.0, 3, 4, 0), 10);
  EXPECT_EQ(first, 3);
}

TEST(Signatures, TheOriginalOfAVariadicFunctionGetsWhatItsCallerGave) {
  {
    const scoped_probe p =
        replace(&add_up, [](auto original, const char* kinds) { return original(kinds) + 1; });
    EXPECT_EQ(call_many(), natively() + 1);
    EXPECT_EQ(test::opaque(&add_up)(""), 1);
    EXPECT_EQ(test::opaque(&add_up)("d", 2.5), 3.5);
  }
  {  // or other ones
    const scoped_probe p =
        replace(&add_up, [](auto original, const char*) { return original("did", 0.5, 4, 1.5); });
    EXPECT_EQ(call_many(), 0.5 + 8 + 4.5);
  }
  {
    const scoped_probe p = replace(
        &add_up, [](double (*original)(const char*, ...), const char*) { return original("i", 21) * 2; });
    EXPECT_EQ(call_many(), 42);
  }
  const scoped_probe p = replace<int(int, double, ...)>(
      &count_up, [](auto original, int x, double y) { return original(x + 1, y + 1); });
  EXPECT_EQ(test::opaque(&count_up)(1, 2.0, 3, 4, 5, 6, 7, 8, 9, 10, 0), 57);
}

TEST(Signatures, FixturesLetVariadicArgumentsPass) {
  {
    const spy s{&add_up};
    EXPECT_EQ(call_many(), natively());
    EXPECT_EQ(s.results(), std::vector<double>{natively()});
    EXPECT_TRUE(s.was_called_with(std::string{many}));
    const spy again{&add_up};  // one behind the other
    EXPECT_EQ(call_many(), natively());
    EXPECT_TRUE(again.was_called(1));
    EXPECT_TRUE(s.was_called(2));
  }
  {
    const stub t{&add_up, [](auto original, const char* kinds) { return -original(kinds); }};
    EXPECT_EQ(call_many(), -natively());
  }
  const fault f{&add_up, call_number(2), fails_with(-1.0)};
  EXPECT_EQ(call_many(), natively());
  EXPECT_EQ(call_many(), -1);
  EXPECT_EQ(call_many(), natively());
}

TEST(Signatures, SpiesOnPrintfChangeNothing) {
  char text[100];
  const auto format = test::opaque(&std::snprintf);
  const spy s{&std::snprintf};
  format(text, sizeof text, "%.3f %d %s %g", 2.5, 7, "seven", 0.25);
  EXPECT_STREQ(text, "2.500 7 seven 0.25");
  EXPECT_TRUE(s.was_called(1));
}

}  // namespace
}  // namespace libprobe
