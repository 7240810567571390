// A program that is no PIE: its text lies near address 0, so that half of what a jump could reach is not
// there.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/personality.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "os/maps.hpp"
#include "support/jumping.hpp"

namespace libprobe {
namespace {

/// The heap begins anywhere in the gigabyte above such a program, and libprobe leaves it room to grow: now
/// and then just where the only jump leads that fits at an entry. So the same layout each time.
[[gnu::constructor]] void stay_where_linked() {
  const int now = personality(0xffffffff);
  if (now == -1 || (now & ADDR_NO_RANDOMIZE) != 0) return;
  std::ifstream file{"/proc/self/cmdline"};
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  std::vector<char*> arguments;
  for (auto& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  if (personality(static_cast<unsigned>(now) | ADDR_NO_RANDOMIZE) != -1)
    execv("/proc/self/exe", arguments.data());
}

[[gnu::noinline]] unsigned mixed(const char* text, unsigned seed) {
  unsigned sum = seed;
  for (; *text != '\0'; ++text) {
    switch (*text & 7) {
      case 0:
        sum = sum * 31 + 7;
        break;
      case 1:
      case 5:
        sum ^= sum << 13 | sum >> 19;
        break;
      case 2:
        sum -= static_cast<unsigned>(*text);
        break;
      case 6:
        sum = ~sum;
        break;
      default:
        sum += static_cast<unsigned>(*text) << 3;
    }
  }
  return sum;
}

double weights[] = {0.5, 1.25, -3.0, 8.0};
[[gnu::noinline]] double weighted(const double* values, int count) {
  double sum = 0;
  for (int i = 0; i < count; ++i)
    sum += values[i] > 2 ? values[i] * weights[i % 4] : values[i] / weights[i % 4];
  return sum;
}

[[gnu::noinline]] int ackermann(int m, int n) {
  if (m == 0) return n + 1;
  return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

int ascending(const void* a, const void* b) {
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

/// A function, and a call of it whose result says whether all is right.
struct target {
  const char* name;
  const void* function;
  std::function<std::string()> call;
};

const target of_program[] = {
    {"mixed", test::code_of(&mixed), [] { return std::to_string(mixed("in the program's own text", 9)); }},
    {"weighted", test::code_of(&weighted),
     [] {
       const double values[] = {1, 2, 3, 4, 5};
       return std::to_string(weighted(values, 5));
     }},
    {"ackermann", test::code_of(&ackermann), [] { return std::to_string(ackermann(2, 3)); }},
};

/// Its name here stands for a stub in the program's own text.
const void* in_libc(const char* name) { return dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), name); }

const target of_libc[] = {
    {"a64l", in_libc("a64l"), [] { return std::to_string(a64l("libpro")); }},
    {"rand_r", in_libc("rand_r"),
     [] {
       unsigned seed = 5;
       return std::to_string(rand_r(&seed)) + ' ' + std::to_string(seed);
     }},
    {"qsort_r", in_libc("qsort_r"),
     [] {
       int values[50];
       std::iota(values, values + 50, 0);
       std::reverse(values, values + 50);
       qsort(values, 50, sizeof(int), ascending);
       return std::to_string(values[0]) + (std::is_sorted(values, values + 50) ? " sorted" : "");
     }},
};

/// Where the bytes of a jump lead to.
std::uintptr_t target_of_jump(const void* at) {
  const auto decoded = arch::decode(test::bytes_at(at, arch::longest_window));
  return decoded ? arch::flow_of(*decoded, reinterpret_cast<std::uintptr_t>(at)).branch.value_or(0) : 0;
}

struct tally {
  int probes = 0, jumps = 0;
};

/// One instruction after the other.
void probe_each_instruction(const target& of, tally& sum) {
  const test::whole_function whole{of.function};
  const auto original = whole.text();
  const auto right = of.call();
  for (const auto* at : whole.instructions) {
    SCOPED_TRACE(testing::Message() << of.name << '+' << at - whole.start);
    probe p{.at = static_cast<const void*>(at), .pre_handler = test::just_count};
    ASSERT_FALSE(register_probe(p)) << last_error_detail();
    const auto row = test::row_at(at);
    ++sum.probes;
    sum.jumps += row.jump ? 1 : 0;
    if (row.jump) {
      const auto led = os::mapping_at(target_of_jump(at));
      ASSERT_TRUE(led && led->executable && !led->writable) << row.tactic;
    }
    EXPECT_EQ(of.call(), right) << row.tactic;
    EXPECT_TRUE(hits(p) != 0 || at != whole.start);
    unregister_probe(p);
    ASSERT_EQ(whole.text(), original);
  }
}

TEST(NoPie, IsWhatThisProgramIs) {
  EXPECT_LT(reinterpret_cast<std::uintptr_t>(&mixed), std::uintptr_t{1} << 31);
}

TEST(NoPie, InstructionsOfItsTextAreReachedByJumps) {
  tally sum;
  for (const auto& of : of_program) probe_each_instruction(of, sum);
  std::cout << sum.jumps << " jumps at " << sum.probes << " instructions\n";
  EXPECT_GE(sum.jumps * 100, sum.probes * 90);  // few: what lies around decides about each
}

TEST(NoPie, SoAreThoseOfLibc) {
  tally sum;
  for (const auto& of : of_libc) probe_each_instruction(of, sum);
  std::cout << sum.jumps << " jumps at " << sum.probes << " instructions\n";
  EXPECT_GE(sum.jumps * 100, sum.probes * 95);
}

TEST(NoPie, FunctionEntriesAreReachedByJumpsAtOnce) {
  std::vector<const target*> all;
  for (const auto& of : of_program) all.push_back(&of);
  for (const auto& of : of_libc) all.push_back(&of);
  std::vector<std::string> right;
  for (const auto* of : all) right.push_back(of->call());
  std::vector<probe> probes(all.size());
  std::vector<probe*> pointers;
  for (std::size_t i = 0; i < all.size(); ++i) {
    probes[i].at = all[i]->function;
    probes[i].pre_handler = test::just_count;
    pointers.push_back(&probes[i]);
  }
  ASSERT_FALSE(register_probes(pointers)) << last_error_detail();
  const test::no_trap_survives no_trap;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto row = test::row_at(all[i]->function);
    EXPECT_TRUE(row.jump) << all[i]->name << ": " << row.reason;
    EXPECT_EQ(all[i]->call(), right[i]) << all[i]->name;
    EXPECT_GT(hits(probes[i]), 0U) << all[i]->name;
  }
  unregister_probes(pointers);
}

}  // namespace
}  // namespace libprobe
