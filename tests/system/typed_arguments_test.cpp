// What the typed layer's callables see and hand on: classes by value, references, members, overloads, names.
#include <gmock/gmock.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "support/probing.hpp"

namespace libprobe::typed_arguments {

// Not in an unnamed namespace: found by name below.
[[gnu::noinline]] int found_by_name(const char* text) {
  return static_cast<int>(std::strlen(test::opaque(text)));
}

}  // namespace libprobe::typed_arguments

namespace libprobe {
namespace {

using test::opaque;

/// Counts its objects: none may be destroyed twice, or never.
struct tracked {
  explicit tracked(int n) : number{n} { ++alive; }
  tracked(const tracked& other) : number{other.number} {
    ++alive;
    ++copies;
  }
  tracked(tracked&& other) noexcept : number{std::exchange(other.number, -1)} { ++alive; }
  ~tracked() { --alive; }
  int number;
  static inline int alive = 0;
  static inline int copies = 0;
};

[[gnu::noinline]] int by_value(tracked t, int n) { return opaque(t.number) + n; }
[[gnu::noinline]] std::size_t takes(std::unique_ptr<std::string> text) { return opaque(text.get())->size(); }
[[gnu::noinline]] int by_lvalue(tracked& t) { return ++opaque(&t)->number; }
[[gnu::noinline]] int by_rvalue(tracked&& t) {
  const tracked mine{std::move(*opaque(&t))};
  return mine.number;
}
[[gnu::noinline]] std::string in_memory(std::string a, const std::string& b, int n) {
  return opaque(&a)->append(b) + std::to_string(n);
}
[[gnu::noinline]] long many(int a, long b, char c, short d, long e, int f, long g, double h, int i,
                            std::string j, int k) {
  return opaque(a) + b + c + d + e + f + g + static_cast<long>(h) + i + static_cast<long>(j.size()) + k;
}

TEST(TypedArguments, ClassesByValueStayWhole) {
  int seen = 0;
  tracked::copies = 0;
  {
    const scoped_probe look = on_entry(&by_value, [&](const tracked& t, int n) { seen = 10 * t.number + n; });
    EXPECT_EQ(opaque(&by_value)(tracked{4}, 2), 6);
    EXPECT_EQ(seen, 42);
    EXPECT_EQ(tracked::copies, 0);
    const scoped_probe copy = on_entry(&by_value, [&](tracked t, int) { seen = std::exchange(t.number, 0); });
    EXPECT_EQ(opaque(&by_value)(tracked{5}, 2), 7);
    EXPECT_EQ(seen, 5);
    EXPECT_EQ(tracked::copies, 1);
    const scoped_probe other =
        replace(&by_value, [](auto original, tracked t, int n) { return original(std::move(t), n + 1); });
    EXPECT_EQ(opaque(&by_value)(tracked{6}, 2), 9);
    EXPECT_EQ(tracked::copies, 2);
  }
  EXPECT_EQ(tracked::alive, 0);
}

TEST(TypedArguments, MoveOnlyByValue) {
  std::string seen;
  const scoped_probe look = on_entry(&takes, [&](const std::unique_ptr<std::string>& text) { seen = *text; });
  EXPECT_EQ(opaque(&takes)(std::make_unique<std::string>("hello")), 5U);
  EXPECT_EQ(seen, "hello");
  const scoped_probe longer = replace(&takes, [](auto original, std::unique_ptr<std::string> text) {
    text->append(" world");
    return original(std::move(text));
  });
  EXPECT_EQ(opaque(&takes)(std::make_unique<std::string>("hello")), 11U);
}

TEST(TypedArguments, References) {
  {
    tracked mine{1};
    const tracked* seen = nullptr;
    const scoped_probe look = on_entry(&by_lvalue, [&](tracked& t) { seen = &t; });
    const scoped_probe twice =
        replace(&by_lvalue, [](auto original, tracked& t) { return original(t) + original(t); });
    EXPECT_EQ(opaque(&by_lvalue)(mine), 2 + 3);
    EXPECT_EQ(seen, &mine);
    int number = 0;
    const scoped_probe rvalue = on_entry(&by_rvalue, [&](const tracked& t) { number = t.number; });
    EXPECT_EQ(opaque(&by_rvalue)(tracked{8}), 8);
    EXPECT_EQ(number, 8);
    const scoped_probe on =
        replace(&by_rvalue, [](auto original, tracked&& t) { return original(std::move(t)) + 1; });
    EXPECT_EQ(opaque(&by_rvalue)(tracked{8}), 9);
  }
  EXPECT_EQ(tracked::alive, 0);
}

TEST(TypedArguments, BehindAResultInMemory) {
  std::string seen;
  const scoped_probe look = on_entry(&in_memory, [&](const std::string& a, const std::string& b, int n) {
    seen = a + "|" + b + "|" + std::to_string(n);
  });
  EXPECT_EQ(opaque(&in_memory)("a", "b", 3), "ab3");
  EXPECT_EQ(seen, "a|b|3");
  const scoped_probe other =
      replace(&in_memory, [](auto original, std::string a, const std::string& b, int n) {
        const auto first = original(a + a, b, n);
        return first + original(std::move(a), b, n + 1);
      });
  const std::string long_text(100, 'x');
  EXPECT_EQ(opaque(&in_memory)("a", long_text, 3), "aa" + long_text + "3" + "a" + long_text + "4");
}

TEST(TypedArguments, MoreThanSix) {
  long seen = 0;
  const scoped_probe look = on_entry(&many, [&](int a, long b, char c, short d, long e, int f, long g,
                                                double h, int i, const std::string& j, int k) {
    seen = a + b + c + d + e + f + g + static_cast<long>(h) + i + k + static_cast<long>(j.size());
  });
  const scoped_probe more =
      replace(&many, [](auto original, auto a, auto... rest) { return original(a + 1, rest...); });
  EXPECT_EQ(opaque(&many)(1, 2, 3, 4, 5, 6, 7, 8.0, 9, "0123456789", 11), 67);
  EXPECT_EQ(seen, 66);
}

// ---- members

struct widget {
  [[gnu::noinline]] int add(int n) { return opaque(total += n); }
  [[gnu::noinline]] int get() const { return opaque(total); }
  [[gnu::noinline]] int quick(int n) const noexcept { return opaque(total) * n; }
  [[gnu::noinline]] int only_lvalue() & { return opaque(total); }
  [[gnu::noinline]] std::string name(const char* prefix) const {
    return prefix + std::to_string(opaque(total));
  }
  [[gnu::noinline]] static int fixed(int n) { return opaque(n); }
  virtual int overridden() { return 1; }
  virtual ~widget() = default;
  int total = 0;
};

TEST(TypedArguments, MemberFunctions) {
  widget w;
  const widget* seen = nullptr;
  const scoped_probe add =
      replace(&widget::add, [](auto original, widget* self, int n) { return original(self, 2 * n); });
  const scoped_probe get = on_entry(&widget::get, [&](const widget* self) { seen = self; });
  const scoped_probe quick =
      replace(&widget::quick, [](auto original, const widget* self, int n) { return original(self, n) + 1; });
  const scoped_probe lvalue = on_entry(&widget::only_lvalue, [&](widget* self) { seen = self; });
  const scoped_probe name =
      on_entry(&widget::name, [&](const widget*, const char* prefix) { EXPECT_STREQ(prefix, "w"); });
  const scoped_probe fixed = replace(&widget::fixed, [](auto original, int n) { return original(n + 1); });
  EXPECT_EQ(w.add(3), 6);
  EXPECT_EQ(w.get(), 6);
  EXPECT_EQ(seen, &w);
  EXPECT_EQ(w.quick(2), 13);
  EXPECT_EQ(w.only_lvalue(), 6);
  EXPECT_EQ(w.name("w"), "w6");
  EXPECT_EQ(name.hits(), 1U);
  EXPECT_EQ(widget::fixed(1), 2);
  try {
    const scoped_probe refused = on_entry(&widget::overridden, [](widget*) {});
    FAIL() << "a virtual member was taken";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), errc::malformed_location);
  }
}

// ---- which function

[[gnu::noinline]] int overloaded(int x) { return opaque(x) + 1; }
[[gnu::noinline]] double overloaded(double x) { return opaque(x) + 2; }
[[gnu::noinline]] int never_throws(int x) noexcept { return opaque(x) + 3; }

TEST(TypedArguments, OverloadsByCastAndNoexcept) {
  const scoped_probe p = replace(static_cast<double (*)(double)>(&overloaded),
                                 [](auto original, double x) { return 2 * original(x); });
  EXPECT_EQ(opaque(static_cast<int (*)(int)>(&overloaded))(1), 2);
  EXPECT_EQ(opaque(static_cast<double (*)(double)>(&overloaded))(1), 6.0);
  const scoped_probe q = replace(&never_throws, [](auto original, int x) { return original(x) * 10; });
  EXPECT_EQ(opaque(&never_throws)(1), 40);
}

TEST(TypedArguments, ByNameWithASignature) {
  std::string seen;
  const scoped_probe p = on_entry<int(const char*)>("libprobe::typed_arguments::found_by_name",
                                                    [&](const char* text) { seen = text; });
  int length = 0;
  const scoped_probe q = on_return<int(const char*)>("libprobe::typed_arguments::found_by_name(char const*)",
                                                     [&](int result) { length = result; });
  EXPECT_EQ(opaque(&typed_arguments::found_by_name)("four"), 4);
  EXPECT_EQ(seen, "four");
  EXPECT_EQ(length, 4);
  EXPECT_EQ(p.address(), reinterpret_cast<void*>(&typed_arguments::found_by_name));
}

TEST(TypedArguments, ARefusalThrowsAndSaysWhy) {
  try {
    const scoped_probe p = replace<int(int)>("no_such_function_anywhere", [](auto, int x) { return x; });
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), errc::symbol_not_found);
    EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
    EXPECT_THAT(error.what(), testing::HasSubstr("no_such_function_anywhere"));
  }
}

// ---- original, exceptions, recursion

[[gnu::noinline]] bool is_odd(int n);
[[gnu::noinline]] bool is_even(int n) { return n == 0 || opaque(&is_odd)(n - 1); }
bool is_odd(int n) { return n != 0 && opaque(&is_even)(n - 1); }
[[gnu::noinline]] long factorial(long n) { return n < 2 ? 1 : n * opaque(&factorial)(n - 1); }
[[gnu::noinline]] int may_throw(int x) {
  if (opaque(x) < 0) throw std::invalid_argument{"negative"};
  return x;
}

TEST(TypedArguments, TheOriginalsOwnCallsComeAgain) {
  int calls = 0;
  {
    const scoped_probe p = replace(&factorial, [&](auto original, long n) {
      ++calls;
      return original(n);
    });
    EXPECT_EQ(opaque(&factorial)(10), 3628800);
    EXPECT_EQ(calls, 10);
  }
  calls = 0;
  const auto counting = [&](auto original, int n) {
    ++calls;
    return original(n);
  };
  const scoped_probe even = replace(&is_even, counting);
  const scoped_probe odd = replace(&is_odd, counting);
  EXPECT_TRUE(opaque(&is_even)(100));
  EXPECT_EQ(calls, 101);
}

TEST(TypedArguments, ExceptionsGoThrough) {
  int caught = 0;
  {
    const scoped_probe p = replace(&may_throw, [&](auto original, int x) {
      if (x == 77) throw std::runtime_error{"from the callable"};
      try {
        return original(x);
      } catch (const std::invalid_argument&) {
        ++caught;
        throw;
      }
    });
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(opaque(&may_throw)(5), 5);
      EXPECT_THROW(opaque(&may_throw)(-1), std::invalid_argument);
      EXPECT_THROW(opaque(&may_throw)(77), std::runtime_error);
    }
    EXPECT_EQ(current_replacement(), nullptr);
  }  // waits for those inside: nobody
  EXPECT_EQ(caught, 100);
  EXPECT_EQ(opaque(&may_throw)(77), 77);
}

TEST(TypedArguments, AnOverriddenReturn) {
  int returned = 0;
  const scoped_probe after = on_return(&may_throw, [&](int result) { returned = result; });
  probe p{.at = &may_throw, .pre_handler = [](probe&, registers& regs) {
            override_return(regs, 5);
            return 1;
          }};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(opaque(&may_throw)(-1), 5);
  EXPECT_EQ(returned, 5);
  unregister_probe(p);
}

}  // namespace
}  // namespace libprobe
