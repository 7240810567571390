// libc's functions with a probe on every instruction.
#include <gtest/gtest.h>
#include <regex.h>
#include <time.h>
#include <wchar.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "support/every_instruction.hpp"

namespace {

using every_instruction::check;
using every_instruction::output;

/// Numbers that look random and are always the same.
class numbers {
 public:
  unsigned next() { return state_ = state_ * 1664525U + 1013904223U; }

 private:
  unsigned state_ = 1;
};

void sort_and_search(output& text) {
  numbers random;
  int values[200];
  for (auto& v : values) v = static_cast<int>(random.next() >> 8);
  const auto order = [](const void* a, const void* b) {
    const int x = *static_cast<const int*>(a), y = *static_cast<const int*>(b);
    return x < y ? -1 : x > y ? 1 : 0;
  };
  const int key = values[77];
  qsort(values, std::size(values), sizeof(int), order);
  for (const int v : values) (text += v) += ' ';
  const auto* found = static_cast<int*>(bsearch(&key, values, std::size(values), sizeof(int), order));
  text += found - values;
}

void numbers_and_text(output& text) {
  char line[512];
  for (const char* number :
       {"0", "1", "-1.5", "3.14159265358979323846", "1e308", "4.9e-324", "0x1.8p3", "nan", "-inf",
        "123456789012345678901234567890", "2.2250738585072011e-308", "9007199254740993"}) {
    char* end = nullptr;
    const double value = strtod(number, &end);
    std::snprintf(line, sizeof line, "%.17g %a %e %10.3f %ld|", value, value, value,
                  value < 1e20 ? value : 0.0, static_cast<long>(end - number));
    text += line;
    text += strtol(number, nullptr, 0);
  }
  std::snprintf(line, sizeof line, "%d %5u %-8x|%08lX %+lld %c %s %.3s %p %% %zu %hhd", -7, 42U, 0xbeefU,
                0xdeadUL, -(1LL << 40), 'x', "string", "truncated", reinterpret_cast<void*>(0x1234),
                sizeof line, 'a');
  text += line;
  int a = 0, b = 0;
  char word[32] = {};
  double d = 0;
  text += std::sscanf("12 0x7f hello 2.5e3 rest", "%d %i %31s %lf", &a, &b, word, &d);
  text += word;
  text += a + b;
  text += static_cast<std::int64_t>(d);
}

void memory_and_strings(output& text) {
  // The IFUNC'ed ones, at sizes and alignments that take each of their paths.
  alignas(64) static char from[5000], to[5000];
  numbers random;
  for (auto& c : from) c = static_cast<char>('a' + (random.next() >> 16) % 26);
  for (const std::size_t size : {0,  1,  2,  3,   4,   7,   8,   15,  16,  17,  31,   32,   33,
                                 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 1024, 2049, 4100}) {
    for (const std::size_t offset : {0, 1, 13, 32}) {
      std::memset(to, '-', sizeof to);
      std::memcpy(to + offset, from + 3, size);
      std::memmove(to + offset + 1, to + offset, size);
      to[offset + size + 1] = '\0';
      text += static_cast<char>('0' + std::strlen(to) % 10);
      const void* found = std::memchr(to, '-', sizeof to);
      text += static_cast<char>('0' + (static_cast<const char*>(found) - to) % 10);
      text += std::memcmp(to, from, size) < 0 ? '<' : '>';
      text += std::strchr(to, 'q') != nullptr ? 'q' : '.';
      text += std::strrchr(to, 'z') != nullptr ? 'z' : '.';
    }
  }
  from[4999] = '\0';
  text += std::strstr(from, "zx") != nullptr ? "found" : "none";
  text += static_cast<std::int64_t>(std::strspn(from, "abcdefgh") + std::strcspn(from, "z"));
  text += static_cast<std::int64_t>(std::strcmp(from, "mnop") < 0) + (strncasecmp(from, "ABC", 3) < 0);
  char list[] = "a,list;of,words";
  char* state = nullptr;
  for (char* w = strtok_r(list, ",;", &state); w != nullptr; w = strtok_r(nullptr, ",;", &state)) text += w;
  const wchar_t* wide = L"wide characters";
  text += static_cast<std::int64_t>(wcslen(wide));
  text += wcschr(wide, L'c') - wide;
}

void regular_expressions(output& text) {
  for (const char* pattern :
       {"^([a-z]+)-([0-9]{2,4})(x|y)*$", "(a|b)*c|d+[^e]", "[[:alpha:]_][[:alnum:]_]*"}) {
    regex_t compiled;
    if (regcomp(&compiled, pattern, REG_EXTENDED) != 0) return;
    for (const char* subject : {"abc-123xyx", "ababac", "dddf", "_name9 = 3", "", "zz-1"}) {
      regmatch_t match[4];
      const int answer = regexec(&compiled, subject, 4, match, 0);
      text += answer;
      if (answer == 0) ((text += match[0].rm_so) += ',') += match[0].rm_eo;
    }
    regfree(&compiled);
  }
}

void dates(output& text) {
  for (const time_t when : {time_t{0}, time_t{951782400}, time_t{1709210096}, time_t{-86400 * 365}}) {
    tm parts{};
    gmtime_r(&when, &parts);
    char line[128];
    std::strftime(line, sizeof line, "%Y-%m-%d %H:%M:%S %j %a %B %U %G-%V %c", &parts);
    text += line;
    text += timegm(&parts);
    localtime_r(&when, &parts);
    text += mktime(&parts);
  }
}

void heap(output& text) {
  numbers random;
  void* blocks[64] = {};
  unsigned sum = 0;
  for (int i = 0; i < 900; ++i) {
    auto& block = blocks[random.next() >> 26];
    const std::size_t size = (random.next() >> 8) % (i % 50 == 0 ? 20000 : 2000);
    if (i % 3 == 0) {
      block = std::realloc(block, size + 1);
    } else {
      std::free(block);
      block = i % 3 == 1 ? std::malloc(size + 1) : std::calloc(1, size + 1);
    }
    *static_cast<unsigned char*>(block) = static_cast<unsigned char>(i);
    sum += *static_cast<unsigned char*>(block);
  }
  for (void* block : blocks) std::free(block);
  text += sum;
}

TEST(Libc, SortAndSearch) { check({"qsort, bsearch", "/libc.so", sort_and_search}); }
TEST(Libc, NumbersAndText) { check({"strtod, printf, scanf", "/libc.so", numbers_and_text, 0.998}); }
TEST(Libc, MemoryAndStrings) { check({"memory and strings", "/libc.so", memory_and_strings}); }
TEST(Libc, RegularExpressions) { check({"regcomp, regexec", "/libc.so", regular_expressions, 0.8}); }
TEST(Libc, Dates) { check({"strftime, mktime", "/libc.so", dates, 0.98}); }
TEST(Libc, Heap) { check({"malloc, free", "/libc.so", heap, 0.5}); }

}  // namespace
