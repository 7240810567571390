// zlib, SQLite and libm, as the distribution built them, with a probe on every instruction of every function
// that is run.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "support/every_instruction.hpp"

namespace {

using every_instruction::check;
using every_instruction::output;

template <class F>
F* symbol(void* library, const char* name) {
  void* const found = dlsym(library, name);
  EXPECT_NE(found, nullptr) << name;
  return reinterpret_cast<F*>(found);
}

TEST(Zlib, DeflateAndInflate) {
  void* const library = dlopen("libz.so.1", RTLD_NOW);
  if (library == nullptr) GTEST_SKIP() << "no libz.so.1";
  using checksum = unsigned long(unsigned long, const unsigned char*, unsigned);
  auto* const compress2 =
      symbol<int(unsigned char*, unsigned long*, const unsigned char*, unsigned long, int)>(library,
                                                                                            "compress2");
  auto* const uncompress =
      symbol<int(unsigned char*, unsigned long*, const unsigned char*, unsigned long)>(library, "uncompress");
  auto* const crc32 = symbol<checksum>(library, "crc32");
  auto* const adler32 = symbol<checksum>(library, "adler32");
  static unsigned char plain[2000], packed[3000], again[2000];
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < sizeof plain; ++i) {
    state = state * 1664525U + 1013904223U;
    plain[i] = static_cast<unsigned char>("the quick brown fox "[(i + (state >> 30)) % 20] ^
                                          (state >> 24 > 250 ? 1 : 0));
  }
  const auto run = [&](output& text) {
    text += crc32(0, plain, sizeof plain);
    text += ' ';
    text += adler32(1, plain, sizeof plain);
    for (const int level : {1, 6, 0}) {
      unsigned long size = sizeof packed, restored = sizeof again;
      text += compress2(packed, &size, plain, sizeof plain, level);
      text += ' ';
      text += size;
      text += ' ';
      text += crc32(0, packed, static_cast<unsigned>(size));
      std::memset(again, 0, sizeof again);
      text += uncompress(again, &restored, packed, size);
      text += std::memcmp(again, plain, sizeof plain) == 0 ? " same;" : " differs;";
    }
  };
  check({"zlib", "/libz.so", run});
}

TEST(Sqlite, Statements) {
  void* const library = dlopen("libsqlite3.so.0", RTLD_NOW);
  if (library == nullptr) GTEST_SKIP() << "no libsqlite3.so.0";
  struct sqlite3;
  using row_callback = int(void*, int, char**, char**);
  auto* const open = symbol<int(const char*, sqlite3**)>(library, "sqlite3_open");
  auto* const close = symbol<int(sqlite3*)>(library, "sqlite3_close");
  auto* const exec =
      symbol<int(sqlite3*, const char*, row_callback*, void*, char**)>(library, "sqlite3_exec");
  const auto run = [&](output& text) {
    sqlite3* db = nullptr;
    text += open(":memory:", &db);
    constexpr const char* statements[] = {
        "create table t(id integer primary key, name text, value real, data blob)",
        "create index by_name on t(name)",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 15) "
        "insert into t select i, printf('name %d', (i * 37) % 41), i * 1.25, hex(i * 255) from n",
        "select count(*), sum(value), min(name), max(name), group_concat(data, ':') from t where id % 3 = 1",
        "select a.name, count(*) from t a join t b on a.name = b.name group by a.name having count(*) > 1 "
        "order by 2 desc, 1",
        "update t set value = value * 2, name = upper(name) where name like 'name 1%'",
        "begin; delete from t where id > 10; select changes(); rollback",
        "select name, value from t where name between 'NAME 1' and 'name 2' order by value desc limit 7",
        "select json_extract('{\"a\": [1, 2, {\"b\": 3.5}]}', '$.a[2].b'), date('2024-02-29', '+1 year'), "
        "substr('probes', 2, 3), round(2.567, 2), instr('hello', 'l'), replace('aXbX', 'X', '-')",
        "select sum(value) over (order by id rows 2 preceding) from t limit 5",
        "select nothing from nowhere"};
    const auto row = [](void* to, int columns, char** values, char**) {
      for (int i = 0; i < columns; ++i)
        (*static_cast<output*>(to) += values[i] != nullptr ? values[i] : "null") += '|';
      return 0;
    };
    for (const char* statement : statements) text += exec(db, statement, row, &text, nullptr);
    text += close(db);
  };
  check({"sqlite", "/libsqlite3.so", run, 0.98});
}

TEST(Math, Functions) {
  const auto run = [](output& text) {
    volatile double sum = 0;
    for (double x = -3.0; x < 30; x += 0.77) {
      sum = sum + std::sin(x) + std::cos(x * 1000) + std::exp(x / 9) + std::log(x + 4) +
            std::pow(x + 4, 1.3) + std::atan2(x, 2) + std::tanh(x) + std::cbrt(x) +
            std::tgamma(x / 5 + 1.01) + std::fmod(x, 0.3) + std::erf(x);
    }
    text += static_cast<std::int64_t>(sum * 1e9);
    volatile float single = 0;
    for (float x = 0.1F; x < 9; x += 0.7F)
      single = single + std::sin(x) + std::exp(x) + std::log(x) + std::pow(x, x);
    text += static_cast<std::int64_t>(single * 1e3F);
    volatile long double wide = 0;
    for (long double x = 0.1L; x < 9; x += 0.7L)
      wide = wide + std::sin(x) + std::exp(x) + std::log(x) + std::sqrt(x);
    text += static_cast<std::int64_t>(wide * 1e9L);
  };
  check({"libm", "/libm.so", run});
}

}  // namespace
