// Where code begins, as symbols with and without a type, branches, tables and pointers say; and where data
// lies.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <array>
#include <libprobe/testing.hpp>
#include <memory>

#include "support/jumping.hpp"

extern "C" {
int places_typed(int);
int places_untyped(int);
int places_untyped_again(int);
int places_sized(int);
int places_second(int);
int places_outer(int);
int places_inner(int);
int places_with_flags(int);
int places_flags(int);
int places_switch(int);
int places_front(int);
int places_object(int);
int places_hidden_data(int);
int places_pointed(int);
int places_maybe_locked(int);
void* places_pointer();
extern const char places_table[], places_table_end[], places_constant[];
}

namespace libprobe {
namespace {

using test::bytes_at;
using test::just_count;
using test::opaque;

using function = int (*)(int);

const char* text_of(const void* at) { return static_cast<const char*>(at); }

/// Each kind that wants an entry, at such a place; and what list_probes() calls it.
void expect_entry(const location& at, function code, const char* name, std::size_t offset = 0) {
  const int expected = opaque(code)(4);
  {
    int entered = 0, returned = 0;
    const scoped_probe entry = on_entry<int(int)>(at, [&](int x) { entered += x; });
    const scoped_probe back = on_return<int(int)>(at, [&](int result) { returned += result; });
    EXPECT_EQ(opaque(code)(4), expected) << name;
    EXPECT_EQ(entered, 4) << name;
    EXPECT_EQ(returned, expected) << name;
    const auto rows = test::rows_at(reinterpret_cast<const void*>(code));
    ASSERT_EQ(rows.size(), 2U) << name;
    EXPECT_EQ(rows[0].symbol, name);
    EXPECT_EQ(rows[0].offset, offset) << name;
  }
  const scoped_probe other = replace<int(int)>(at, [](auto original, int x) { return original(x) + 1; });
  EXPECT_EQ(opaque(code)(4), expected + 1) << name;
}

TEST(Places, SymbolsWithoutATypeAreEntries) {
  expect_entry("places_untyped", &places_untyped, "places_untyped");
  expect_entry(&places_untyped, &places_untyped, "places_untyped");
  expect_entry("places_untyped_again", &places_untyped_again, "places_untyped_again");
  expect_entry(&places_typed, &places_typed, "places_typed");
  expect_entry("places_front", &places_front, "places_front");
}

TEST(Places, SecondEntriesAreEntries) {
  expect_entry("places_second", &places_second, "places_second");
  expect_entry(&places_second, &places_second, "places_second");
  expect_entry(&places_sized, &places_sized, "places_sized");
  expect_entry("places_inner", &places_inner, "places_inner");
  expect_entry(&places_outer, &places_outer, "places_outer");
}

TEST(Places, WhatFallsIntoASecondEntryIsSeenThere) {
  probe p{.at = "places_second", .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(opaque(&places_sized)(1), 48);
  EXPECT_EQ(opaque(&places_second)(1), 18);
  EXPECT_EQ(hits(p), 2U);
  unregister_probe(p);
}

TEST(Places, CountersLeaveTheFlagsThatAreInUseThere) {
  counter c{.at = "places_flags"};
  ASSERT_FALSE(register_counter(c));
  // The first hit gives the thread a counter of its own, and the others are counted by code alone.
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(opaque(&places_with_flags)(7), 2);
    EXPECT_EQ(opaque(&places_with_flags)(8), 1);
  }
  EXPECT_EQ(hits(c), 20U);
  unregister_counter(c);
}

TEST(Places, ABranchBehindALockPrefixStaysRight) {
  const auto* const locked = text_of(test::code_of(&places_maybe_locked)) + 9;
  ASSERT_EQ(*locked, '\xf0');
  probe p{.at = static_cast<const void*>(locked), .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p)) << last_error_detail();
  const int before = opaque(&places_maybe_locked)(1);
  EXPECT_EQ(opaque(&places_maybe_locked)(0), before + 1);
  EXPECT_EQ(opaque(&places_maybe_locked)(1), before + 2);
  EXPECT_EQ(hits(p), 2U);
}

TEST(Places, NamesAreThoseOfTheNearestSymbol) {
  const auto name_at = [](function of, std::size_t offset) {
    return symbols::describe(reinterpret_cast<std::uintptr_t>(of) + offset);
  };
  EXPECT_EQ(name_at(&places_untyped, 3).symbol, "places_untyped");
  EXPECT_EQ(name_at(&places_untyped, 3).offset, 3U);
  EXPECT_EQ(name_at(&places_typed, 3).symbol, "places_typed");
  EXPECT_EQ(name_at(&places_second, 3).symbol, "places_second");
  EXPECT_EQ(name_at(&places_sized, 0).symbol, "places_sized");
  EXPECT_EQ(name_at(&places_inner, 1).symbol, "places_inner");
}

TEST(Places, ASecondEntrysBranchesAreTheWholeFunctions) {
  const auto number = [](function of) { return reinterpret_cast<std::uintptr_t>(of); };
  for (const auto& [outer, inner] :
       {std::pair{&places_outer, &places_inner}, {&places_sized, &places_second}}) {
    const auto whole = symbols::text_around(number(inner));
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->start, number(outer));
    EXPECT_GT(whole->end, number(inner));
  }
}

TEST(Places, AFunctionPointerIsTheUsersWordForAnEntry) {
  const auto inside = reinterpret_cast<function>(opaque(&places_pointer)());
  expect_entry(inside, inside, "places_pointed", 3);
  // An address or a name with an offset is none.
  retprobe p{.at = reinterpret_cast<const void*>(inside), .handler = [](retprobe_instance&, registers&) {}};
  EXPECT_EQ(register_retprobe(p), errc::not_function_entry);
  // And no pointer makes an instruction of another's middle.
  const auto middle = reinterpret_cast<function>(reinterpret_cast<std::uintptr_t>(inside) + 1);
  retprobe q{.at = middle, .handler = [](retprobe_instance&, registers&) {}};
  EXPECT_TRUE(register_retprobe(q));
}

/// A probe on each instruction at once; the function's results are as ever.
void probe_everything(function code, std::initializer_list<int> arguments) {
  std::vector<int> expected;
  for (const int x : arguments) expected.push_back(opaque(code)(x));
  const auto whole = symbols::text_around(reinterpret_cast<std::uintptr_t>(code));
  ASSERT_TRUE(whole);
  const auto* const from = reinterpret_cast<const void*>(whole->start);
  const auto before = bytes_at(from, whole->end - whole->start);
  for (const std::size_t step : {1U, 2U, 3U}) {
    std::vector<std::unique_ptr<probe>> probes;
    std::size_t number = 0;
    for (auto at = whole->start; at < whole->end; ++at) {
      auto p = std::make_unique<probe>();
      p->at = reinterpret_cast<const void*>(at);
      p->pre_handler = just_count;
      // Each step-th instruction: with room for a longer jump between.
      if (register_probe(*p)) continue;
      if (number++ % step == 0) probes.push_back(std::move(p));
    }
    EXPECT_GE(probes.size(), 1U);
    auto wanted = expected.begin();
    for (const int x : arguments) EXPECT_EQ(opaque(code)(x), *wanted++) << x << ", each " << step;
  }
  EXPECT_EQ(bytes_at(from, before.size()), before);
}

/// One address's whole is that of each address in it: else what is data in one would be code in the other.
TEST(Places, EachByteBelongsToOneWhole) {
  const auto from = reinterpret_cast<std::uintptr_t>(text_of(test::code_of(&places_typed)));
  const auto to = reinterpret_cast<std::uintptr_t>(places_table_end) + 100;
  for (auto at = from; at < to; ++at) {
    const auto whole = symbols::text_around(at);
    if (!whole) continue;
    EXPECT_TRUE(whole->start <= at && at < whole->end) << at - from;
    for (const auto other : {whole->start, whole->end - 1}) {
      const auto again = symbols::text_around(other);
      ASSERT_TRUE(again) << at - from;
      EXPECT_EQ(again->start - from, whole->start - from) << at - from;
      EXPECT_EQ(again->end - from, whole->end - from) << at - from;
    }
  }
}

TEST(Places, BranchesBetweenEntriesStayRight) {
  probe_everything(&places_outer, {-5, 0, 5});
  probe_everything(&places_inner, {-5, 0, 5});
  probe_everything(&places_untyped_again, {1, 2});
  probe_everything(&places_with_flags, {7, 8});
  probe_everything(&places_switch, {0, 1, 2, 3, 4, -1});
  probe_everything(&places_front, {0, 1});
  probe_everything(&places_object, {0, 1});
}

/// No byte of it takes a probe, and all stays as it was.
void expect_data(const void* from, std::size_t size) {
  const auto before = bytes_at(from, size);
  for (std::size_t at = 0; at < size; ++at) {
    probe p{.at = static_cast<const void*>(text_of(from) + at), .pre_handler = just_count};
    EXPECT_EQ(register_probe(p), errc::data_in_text) << at << ": " << last_error_detail();
    EXPECT_THAT(last_error_detail(), testing::HasSubstr("data"));
    EXPECT_EQ(bytes_at(from, size), before);
  }
}

TEST(Places, TablesAmongCodeAreData) {
  expect_data(places_table, static_cast<std::size_t>(places_table_end - places_table));
  expect_data(opaque(text_of(test::code_of(&places_front))) - 8, 8);
  expect_data(places_constant, 8);
  retprobe p{.at = "places_table", .handler = [](retprobe_instance&, registers&) {}};
  EXPECT_EQ(register_retprobe(p), errc::data_in_text);
}

TEST(Places, CodeBehindTablesIsCode) {
  const auto from = [](const char* at) { return location{static_cast<const void*>(at)}; };
  constexpr std::size_t one_case = 6;
  for (int i = 0; i < 3; ++i) {
    probe p{.at = from(places_table_end + one_case * static_cast<std::size_t>(i)), .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p)) << i << ": " << last_error_detail();
    for (int x = -1; x < 5; ++x) EXPECT_EQ(opaque(&places_switch)(x), x < 0 || x > 3 ? -1 : 100 + x);
    EXPECT_EQ(hits(p), 1U) << i;
  }
  probe behind{.at = from(text_of(test::code_of(&places_hidden_data)) + 4), .pre_handler = just_count};
  ASSERT_FALSE(register_probe(behind)) << last_error_detail();
  EXPECT_EQ(opaque(&places_hidden_data)(1), 8);
  EXPECT_EQ(hits(behind), 1U);
}

TEST(Places, BytesThatNothingLeadsToAreRefused) {
  probe p{.at = static_cast<const void*>(test::code_of(&places_hidden_data) + 2), .pre_handler = just_count};
  EXPECT_EQ(register_probe(p), errc::undecodable_instruction);
  EXPECT_THAT(last_error_detail(), testing::HasSubstr("leads to"));
}

#ifdef PLACES_FIXED
extern "C" {
int places_addresses(int);
extern const char places_address_table[];
}
TEST(Places, TablesOfAddressesAreData) {
  expect_data(places_address_table, 16);
  probe_everything(&places_addresses, {0, 1});
}
#else
TEST(Places, WhatTheLoaderWritesIsData) {
  void* const library = dlopen(PLACES_RELOCATED, RTLD_NOW);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto get = [library](const char* name) { return reinterpret_cast<function>(dlsym(library, name)); };
  expect_data(dlsym(library, "places_address_table"), 16);
  probe_everything(get("places_addresses"), {0, 1});
  const auto place = reinterpret_cast<const void* (*)()>(dlsym(library, "places_relocated_place"));
  expect_data(place(), 8);
  probe_everything(get("places_quad"), {0, 1});

  // But for operands.
  const auto operand = reinterpret_cast<void* (*)()>(dlsym(library, "places_operand"));
  probe p{.at = operand, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p)) << last_error_detail();
  EXPECT_EQ(operand(), reinterpret_cast<void*>(operand));
  EXPECT_EQ(hits(p), 1U);
  unregister_probe(p);
  dlclose(library);
}
#endif

/// As another patcher does it.
void write_code(std::uint8_t* at, const std::vector<std::uint8_t>& bytes) {
  auto* const page = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(at) & ~std::uintptr_t{4095});
  ASSERT_EQ(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
  std::memcpy(at, bytes.data(), bytes.size());
  ASSERT_EQ(mprotect(page, 8192, PROT_READ | PROT_EXEC), 0);
}

TEST(Places, WhatAnotherPatcherHasWrittenIsDecodedAnew) {
  auto* const code = const_cast<std::uint8_t*>(test::code_of(&places_pointed));
  const auto before = bytes_at(code, 7);
  const std::vector<std::uint8_t> other{0xb8, 0x2a, 0, 0, 0, 0xc3, 0x90};  // mov $42, %eax; ret; nop
  {
    probe p{.at = &places_pointed, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(opaque(&places_pointed)(1), 5);
    write_code(code, other);
  }  // met at the removal, and left alone
  ASSERT_EQ(bytes_at(code, 7), other);
  {
    probe p{.at = &places_pointed, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p)) << last_error_detail();
    EXPECT_EQ(opaque(&places_pointed)(1), 42);
    EXPECT_EQ(hits(p), 1U);
    probe q{.at = static_cast<const void*>(code + 5), .pre_handler = just_count};
    ASSERT_FALSE(register_probe(q)) << last_error_detail();
    EXPECT_EQ(opaque(&places_pointed)(1), 42);
    EXPECT_EQ(hits(q), 1U);
  }
  probe p{.at = &places_pointed, .pre_handler = just_count, .flags = probe_flags::disabled};
  ASSERT_FALSE(register_probe(p));
  write_code(code, before);
  EXPECT_EQ(enable_probe(p), errc::text_changed);
  unregister_probe(p);
  p.flags = probe_flags::none;
  ASSERT_FALSE(register_probe(p)) << last_error_detail();
  EXPECT_EQ(opaque(&places_pointed)(1), 5);
  unregister_probe(p);
  // With none of ours there nobody notices, until a registration meets it: the next one is right.
  write_code(code, other);
  EXPECT_EQ(register_probe(p), errc::text_changed);
  ASSERT_FALSE(register_probe(p)) << last_error_detail();
  EXPECT_EQ(opaque(&places_pointed)(1), 42);
  unregister_probe(p);
  write_code(code, before);
}

}  // namespace
}  // namespace libprobe
