// Every kind of probe times every operation: what one kind can do, all can.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <tuple>

#include "epoch/epoch.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;

// A handler of each kind that has any; it changes nothing.
void give_handler(probe& p) { p.pre_handler = test::just_count; }
void give_handler(jprobe& p) {
  p.entry = reinterpret_cast<void*>(+[](int) {});
}
void give_handler(retprobe& p) {
  p.handler = [](retprobe_instance&, registers&) {};
}
void give_handler(replacement& p) {
  p.entry = reinterpret_cast<void*>(
      +[](int x) { return reinterpret_cast<int (*)(int)>(original(*current_replacement()))(x); });
}
void give_handler(counter&) {}
void give_handler(latency&) {}

/// The functions of a kind, which all have names of their own.
template <class Probe>
struct operations;
#define KIND(name, names)                                                                          \
  template <>                                                                                      \
  struct operations<name> {                                                                        \
    static constexpr const char* called = #name;                                                   \
    static std::error_code place(name& p) { return register_##name(p); }                           \
    static std::error_code place_all(std::span<name* const> all) { return register_##names(all); } \
    static void remove(name& p) { unregister_##name(p); }                                          \
    static void remove_all(std::span<name* const> all) { unregister_##names(all); }                \
    static void remove_fast(name& p) { unregister_##name##_fast(p); }                              \
    static std::error_code enable(name& p) { return enable_##name(p); }                            \
    static std::error_code disable(name& p) { return disable_##name(p); }                          \
  };
KIND(probe, probes)
KIND(jprobe, jprobes)
KIND(retprobe, retprobes)
KIND(replacement, replacements)
KIND(counter, counters)
KIND(latency, latencies)
using all_kinds = testing::Types<probe, jprobe, retprobe, replacement, counter, latency>;

[[gnu::noinline]] int first(int x) { return opaque(x) + 1; }
[[gnu::noinline]] int second(int x) { return opaque(x) + 2; }

template <class Probe>
struct Kinds : testing::Test, operations<Probe> {
  std::vector<std::uint8_t> untouched = test::bytes_at(test::code_of(&first), 16);
  std::vector<std::uint8_t> untouched_second = test::bytes_at(test::code_of(&second), 16);
  Probe a{.at = &first}, b{.at = &second};

  Kinds() {
    give_handler(a);
    give_handler(b);
  }

  /// Calls both functions; how often the two probes saw it.
  auto seen() {
    const auto before_a = hits(a), before_b = hits(b);
    EXPECT_EQ(opaque(&first)(1), 2);
    EXPECT_EQ(opaque(&second)(1), 3);
    return std::pair{hits(a) - before_a, hits(b) - before_b};
  }
  [[nodiscard]] bool is_untouched() const {
    return test::bytes_at(test::code_of(&first), 16) == untouched &&
           test::bytes_at(test::code_of(&second), 16) == untouched_second;
  }
};
using both = std::pair<std::uint64_t, std::uint64_t>;

struct name_of_kind {
  template <class Probe>
  static std::string GetName(int) {
    return operations<Probe>::called;
  }
};
TYPED_TEST_SUITE(Kinds, all_kinds, name_of_kind);

TYPED_TEST(Kinds, Register) {
  EXPECT_EQ(address_of(this->a), nullptr);
  ASSERT_FALSE(this->place(this->a)) << last_error_detail();
  EXPECT_EQ(this->place(this->a), errc::already_registered);
  EXPECT_EQ(address_of(this->a), test::code_of(&first));
  EXPECT_EQ(this->seen(), both(1, 0));
  EXPECT_EQ(hits(this->a), 1U);
  EXPECT_EQ(nmissed(this->a), 0U);
  EXPECT_FALSE(this->is_untouched());
}

TYPED_TEST(Kinds, Unregister) {
  this->remove(this->a);  // not registered: nothing happens
  ASSERT_FALSE(this->place(this->a));
  EXPECT_EQ(this->seen(), both(1, 0));
  this->remove(this->a);
  EXPECT_TRUE(this->is_untouched());
  EXPECT_TRUE(list_probes().empty());
  EXPECT_EQ(this->seen(), both(0, 0));
  EXPECT_EQ(hits(this->a), 1U) << "readable afterwards";
  this->remove(this->a);
  ASSERT_FALSE(this->place(this->a));
  EXPECT_EQ(hits(this->a), 0U) << "reset by registration";
  EXPECT_EQ(this->seen(), both(1, 0));
}

TYPED_TEST(Kinds, Arrays) {
  TypeParam bad{.at = "no_such_function_here"};
  give_handler(bad);
  TypeParam* const some[] = {&this->a, &this->b};
  TypeParam* const too_many[] = {&this->a, &bad, &this->b};
  TypeParam* const twice[] = {&this->a, &this->b, &this->a};
  EXPECT_EQ(this->place_all(too_many), errc::symbol_not_found);
  EXPECT_EQ(this->place_all(twice), errc::already_registered);
  EXPECT_TRUE(list_probes().empty()) << "all or nothing";
  EXPECT_TRUE(this->is_untouched());
  ASSERT_FALSE(this->place_all(some));
  EXPECT_EQ(this->seen(), both(1, 1));
  const auto before = epoch::grace_periods();
  this->remove_all(some);
  EXPECT_EQ(epoch::grace_periods(), before + 1) << "one for all";
  EXPECT_TRUE(this->is_untouched());
  EXPECT_EQ(this->seen(), both(0, 0));
}

TYPED_TEST(Kinds, UnregisterFast) {
  TypeParam* const some[] = {&this->a, &this->b};
  ASSERT_FALSE(this->place_all(some));
  this->remove_fast(this->a);
  EXPECT_EQ(this->seen(), both(0, 1));
  EXPECT_EQ(list_probes().size(), 1U);
  ASSERT_FALSE(this->place(this->a)) << "before the commit: it ends registered";
  EXPECT_EQ(this->seen(), both(1, 1));
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(this->seen(), both(1, 1));
  this->remove_fast(this->a);
  this->remove_fast(this->b);
  this->remove_fast(this->b);
  const auto before = epoch::grace_periods();
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  EXPECT_TRUE(this->is_untouched());
}

TYPED_TEST(Kinds, EnableAndDisable) {
  EXPECT_EQ(this->enable(this->a), errc::not_registered);
  EXPECT_EQ(this->disable(this->a), errc::not_registered);
  ASSERT_FALSE(this->place(this->a));
  ASSERT_FALSE(this->place(this->b));
  for (int round = 0; round < 3; ++round) {
    EXPECT_FALSE(this->disable(this->a));
    EXPECT_FALSE(this->disable(this->a));
    EXPECT_EQ(this->seen(), both(0, 1));
    EXPECT_EQ(test::bytes_at(test::code_of(&first), 16), this->untouched);
    EXPECT_TRUE(test::rows_at(address_of(this->a)).at(0).disabled);
    EXPECT_FALSE(this->enable(this->a));
    EXPECT_FALSE(this->enable(this->a));
    EXPECT_EQ(this->seen(), both(1, 1));
    EXPECT_FALSE(test::rows_at(address_of(this->a)).at(0).disabled);
  }
  EXPECT_EQ(nmissed(this->a), 0U) << "what comes while it rests is no miss";
  EXPECT_FALSE(this->disable(this->a));
  this->remove_fast(this->a);
  EXPECT_EQ(this->enable(this->a), errc::not_registered) << "it is queued";
  EXPECT_EQ(this->seen(), both(0, 1));
}

TYPED_TEST(Kinds, RegisterDisabled) {
  this->a.flags = probe_flags::disabled;
  ASSERT_FALSE(this->place(this->a));
  EXPECT_EQ(this->seen(), both(0, 0));
  EXPECT_TRUE(this->is_untouched());
  ASSERT_FALSE(this->enable(this->a));
  EXPECT_EQ(this->seen(), both(1, 0));
  ASSERT_FALSE(this->disable(this->a));
  this->remove(this->a);
  EXPECT_TRUE(this->is_untouched());
}

// The place stays armed for the other one.
TYPED_TEST(Kinds, DisableOneOfTwoAtAPlace) {
  TypeParam other{.at = &first};
  give_handler(other);
  ASSERT_FALSE(this->place(this->a));
  ASSERT_FALSE(this->place(other));
  ASSERT_FALSE(this->disable(this->a));
  EXPECT_EQ(this->seen(), both(0, 0));
  EXPECT_EQ(hits(other), 1U);
  ASSERT_FALSE(this->enable(this->a));
  ASSERT_FALSE(this->disable(other));
  EXPECT_EQ(this->seen(), both(1, 0));
  EXPECT_EQ(hits(other), 1U);
}

TYPED_TEST(Kinds, Batch) {
  batch changes;
  ASSERT_FALSE(changes.add(this->a).commit());
  EXPECT_EQ(this->seen(), both(1, 0));
  ASSERT_FALSE(changes.remove(this->a).add(this->b).commit());
  EXPECT_EQ(this->seen(), both(0, 1));
  ASSERT_FALSE(changes.remove(this->b).add(this->b).add(this->a).commit());
  EXPECT_EQ(this->seen(), both(1, 1));
  EXPECT_EQ(changes.add(this->a).commit(), errc::already_registered);
  const auto before = epoch::grace_periods();
  ASSERT_FALSE(changes.remove(this->a).remove(this->b).commit());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  EXPECT_TRUE(this->is_untouched());
}

// Objects with more in them go where their kind does.
TYPED_TEST(Kinds, ADerivedObject) {
  struct more : TypeParam {
    int own = 7;
  };
  more mine{{.at = &first}};
  give_handler(mine);
  ASSERT_FALSE(this->place(mine));
  EXPECT_EQ(opaque(&first)(1), 2);
  EXPECT_EQ(hits(mine), 1U);
  batch changes;
  ASSERT_FALSE(changes.remove(mine).commit());
  ASSERT_FALSE(changes.add(mine).commit());
  EXPECT_EQ(this->seen(), both(0, 0));
  EXPECT_EQ(hits(mine), 1U);
  EXPECT_EQ(mine.own, 7);
}

TYPED_TEST(Kinds, TheDestructorUnregisters) {
  for (const bool queued : {false, true}) {
    auto passing = std::unique_ptr<TypeParam>{new TypeParam{.at = &first}};
    give_handler(*passing);
    ASSERT_FALSE(this->place(*passing));
    if (queued) this->remove_fast(*passing);
    passing.reset();
    EXPECT_TRUE(this->is_untouched());
    EXPECT_TRUE(list_probes().empty());
  }
}

TYPED_TEST(Kinds, FromAHandler) {
  static Kinds<TypeParam>* current = nullptr;
  static std::error_code answers[6];
  current = this;
  probe outer{.at = &second, .pre_handler = [](probe&, registers&) {
                answers[0] = current->place(current->a);
                answers[1] = current->disable(current->a);
                answers[2] = current->enable(current->a);
                answers[3] = commit_probes();
                current->remove(current->a);  // queued
                answers[4] = current->disable(current->a);
                answers[5] = current->place(current->a);
                return 0;
              }};
  ASSERT_FALSE(register_probe(outer));
  EXPECT_EQ(opaque(&second)(1), 3);
  EXPECT_FALSE(answers[0]);
  EXPECT_FALSE(answers[1]);
  EXPECT_FALSE(answers[2]);
  EXPECT_EQ(answers[3], errc::would_deadlock);
  EXPECT_EQ(answers[4], errc::not_registered);
  EXPECT_FALSE(answers[5]);
  unregister_probe(outer);
  EXPECT_EQ(this->seen(), both(1, 0));
}

TYPED_TEST(Kinds, Pending) {
  const auto nowhere = "libnothing_at_all.so.1:function";
  TypeParam waits{.at = nowhere};
  give_handler(waits);
  EXPECT_EQ(this->place(waits), errc::module_not_found);
  waits.flags = probe_flags::pending;
  ASSERT_FALSE(this->place(waits));
  const auto rows = list_probes();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_TRUE(rows[0].pending);
  EXPECT_EQ(rows[0].symbol, nowhere);
  EXPECT_EQ(address_of(waits), nullptr);
  EXPECT_FALSE(this->disable(waits));
  EXPECT_TRUE(list_probes().at(0).disabled);
  EXPECT_FALSE(this->enable(waits));
  EXPECT_EQ(this->place(waits), errc::already_registered);
  this->remove(waits);
  EXPECT_TRUE(list_probes().empty());
}

TYPED_TEST(Kinds, WithoutAHandler) {
  TypeParam bare{.at = &first};
  constexpr bool needs_none = std::is_same_v<TypeParam, counter> || std::is_same_v<TypeParam, latency>;
  EXPECT_EQ(this->place(bare), needs_none ? std::error_code{} : errc::no_handler);
}

// ---- Listing

template <class Probe>
char letter() {
  Probe p{.at = &first};
  give_handler(p);
  EXPECT_FALSE(operations<Probe>::place(p));
  const auto row = test::rows_at(address_of(p)).at(0);
  EXPECT_THAT(to_string(row), testing::HasSubstr(std::string{"  "} + row.kind + "  "));
  return row.kind;
}
template <class... Probes>
std::map<std::string, char> letters(testing::Types<Probes...>) {
  return {{operations<Probes>::called, letter<Probes>()}...};
}

TEST(KindsInTheList, EachHasItsOwnLetter) {
  const auto found = letters(all_kinds{});
  std::set<char> different;
  for (const auto& [name, letter] : found) different.insert(letter);
  EXPECT_EQ(different.size(), found.size()) << testing::PrintToString(found);
}

// <libprobe/kinds.hpp> tells people the letters. What it names is tested here.
TEST(KindsInTheList, TheHeaderTellsTheLetters) {
  std::ifstream header{LIBPROBE_KINDS_HEADER};
  std::map<std::string, char> told;
  for (std::string line; std::getline(header, line);) {
    const std::string_view start = "#include <libprobe/";
    if (!line.starts_with(start)) continue;
    const auto comment = line.find("// ");
    ASSERT_NE(comment, std::string::npos) << line;
    EXPECT_EQ(line.at(comment + 4), ':') << line;
    told[line.substr(start.size(), line.find(".hpp") - start.size())] = line[comment + 3];
  }
  EXPECT_EQ(told, letters(all_kinds{}));
}

// All at one place, in one batch: each has a row of its own.
TEST(KindsInTheList, TogetherAtAPlace) {
  std::tuple<probe, jprobe, retprobe, replacement, counter, latency> all;
  batch changes;
  std::apply([&changes](auto&... each) { ((each.at = &first, give_handler(each), changes.add(each)), ...); },
             all);
  ASSERT_FALSE(changes.commit());
  EXPECT_EQ(opaque(&first)(1), 2);
  std::string shown;
  for (const auto& row : test::rows_at(test::code_of(&first))) {
    EXPECT_EQ(row.hits, 1U) << row.kind;
    shown += row.kind;
  }
  EXPECT_EQ(shown, "kjrscl") << "in order of registration";
  std::apply([&changes](auto&... each) { (changes.remove(each), ...); }, all);
  const auto before = epoch::grace_periods();
  ASSERT_FALSE(changes.commit());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  EXPECT_TRUE(list_probes().empty());
}

}  // namespace
}  // namespace libprobe
