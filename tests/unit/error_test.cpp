// Error codes: one enumerator per refusal, each with its kernel equivalent, and a text per thread.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <libprobe/libprobe.hpp>
#include <set>
#include <string>
#include <thread>

namespace libprobe {
namespace {

struct equivalence {
  errc ours;
  std::errc kernel;
};

// As the contract lists them; EINVAL, ENOENT and so on by their names in std::errc.
constexpr equivalence equivalences[] = {
    {errc::symbol_not_found, std::errc::no_such_file_or_directory},
    {errc::module_not_found, std::errc::no_such_file_or_directory},
    {errc::ambiguous_symbol, std::errc::address_not_available},
    {errc::malformed_location, std::errc::invalid_argument},
    {errc::not_executable, std::errc::invalid_argument},
    {errc::unknown_function, std::errc::illegal_byte_sequence},
    {errc::not_instruction_boundary, std::errc::illegal_byte_sequence},
    {errc::data_in_text, std::errc::illegal_byte_sequence},
    {errc::undecodable_instruction, std::errc::operation_not_supported},
    {errc::unsupported_instruction, std::errc::operation_not_supported},
    {errc::denied_address, std::errc::invalid_argument},
    {errc::not_function_entry, std::errc::invalid_argument},
    {errc::already_registered, std::errc::invalid_argument},
    {errc::not_registered, std::errc::invalid_argument},
    {errc::no_handler, std::errc::invalid_argument},
    {errc::out_of_code_memory, std::errc::not_enough_memory},
    {errc::out_of_memory, std::errc::not_enough_memory},
    {errc::text_not_writable, std::errc::permission_denied},
    {errc::text_changed, std::errc::device_or_resource_busy},
    {errc::signal_refused, std::errc::operation_not_supported},
    {errc::trap_blocked, std::errc::device_or_resource_busy},
    {errc::would_deadlock, std::errc::resource_deadlock_would_occur},
    {errc::unfollowable_function, std::errc::invalid_argument},
    {errc::another_copy, std::errc::device_or_resource_busy},
    {errc::unsupported_runtime, std::errc::operation_not_supported},
};

TEST(Error, ComparesWithTheKernelsAnswer) {
  for (const auto& [ours, kernel] : equivalences) {
    const std::error_code code = ours;
    EXPECT_TRUE(code) << static_cast<int>(ours);
    EXPECT_EQ(code, kernel) << code.message();
    EXPECT_NE(code, std::errc::interrupted) << code.message();
    EXPECT_EQ(code, ours);
  }
}

TEST(Error, EachHasItsOwnWords) {
  std::set<std::string> words;
  std::set<int> values;
  for (const auto& [ours, kernel] : equivalences) {
    words.insert(std::error_code{ours}.message());
    values.insert(static_cast<int>(ours));
  }
  EXPECT_EQ(words.size(), std::size(equivalences));
  EXPECT_EQ(values.size(), std::size(equivalences));
  EXPECT_FALSE(words.contains(""));
}

TEST(Error, CategoryIsOneAndNamed) {
  EXPECT_STREQ(error_category().name(), "libprobe");
  EXPECT_EQ(make_error_code(errc::denied_address).category(), error_category());
  EXPECT_EQ(&error_category(), &error_category());
}

TEST(Error, OkIsNoError) {
  EXPECT_FALSE(make_error_code(errc::ok));
  EXPECT_EQ(make_error_code(errc::ok).message(), "success");
}

TEST(Error, UnknownValuesAreSurvived) {
  const std::error_code odd{4711, error_category()};
  EXPECT_EQ(odd.message(), "unknown libprobe error");
  EXPECT_EQ(odd.default_error_condition().category(), error_category());
}

TEST(Error, DetailTellsTheNameAndBelongsToTheThread) {
  probe p{.at = "no_such_function_here", .pre_handler = [](probe&, registers&) { return 0; }};
  EXPECT_EQ(register_probe(p), errc::symbol_not_found);
  EXPECT_THAT(last_error_detail(), testing::HasSubstr("no_such_function_here"));
  std::thread{[] { EXPECT_EQ(last_error_detail(), ""); }}.join();
}

TEST(Flags, AreABitMask) {
  constexpr auto both = probe_flags::disabled | probe_flags::no_jump;
  static_assert((both & probe_flags::disabled) == probe_flags::disabled);
  static_assert((both ^ probe_flags::disabled) == probe_flags::no_jump);
  static_assert((both & ~probe_flags::no_jump) == probe_flags::disabled);
  static_assert(any(both) && !any(probe_flags::none));
  auto flags = probe_flags::none;
  flags |= probe_flags::single_step;
  EXPECT_EQ(flags, probe_flags::single_step);
}

}  // namespace
}  // namespace libprobe
