// What depends on no CPU, linked with a port that refuses everything: registration says why, and nothing
// happens.
#include <gtest/gtest.h>

#include <libprobe/libprobe.hpp>

namespace libprobe {
namespace {

[[gnu::noipa]] long subject(long x) {
  asm volatile("" : "+r"(x));
  return x + 1;
}
long other(long x) { return x; }

void expect_refused(const std::error_code& answer) {
  EXPECT_EQ(answer, make_error_code(errc::undecodable_instruction)) << answer.message();
  EXPECT_EQ(subject(1), 2);
  EXPECT_TRUE(list_probes().empty());
}

TEST(NullPort, RefusesEachKind) {
  probe p{.at = &subject, .pre_handler = [](probe&, registers&) { return 0; }};
  expect_refused(register_probe(p));
  EXPECT_NE(last_error_detail(), "");
  retprobe r{.at = &subject, .handler = [](retprobe_instance&, registers&) {}};
  expect_refused(register_retprobe(r));
  jprobe j{.at = &subject, .entry = reinterpret_cast<void*>(&other)};
  expect_refused(register_jprobe(j));
  replacement instead{.at = &subject, .entry = reinterpret_cast<void*>(&other)};
  expect_refused(register_replacement(instead));
  counter c{.at = &subject};
  expect_refused(register_counter(c));
  latency l{.at = &subject};
  expect_refused(register_latency(l));
  EXPECT_FALSE(commit_probes());
}

TEST(NullPort, StillTellsWhatANameMeans) {
  probe p{.at = "libc.so.6:no_such_function_anywhere", .pre_handler = [](probe&, registers&) { return 0; }};
  EXPECT_EQ(register_probe(p), make_error_code(errc::symbol_not_found));
}

}  // namespace
}  // namespace libprobe
