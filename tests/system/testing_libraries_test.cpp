// Real libraries whose N-th allocation fails, for N from 1 until nothing fails any more: each failure must be
// told, nothing may crash, and all that was allocated must be freed.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sqlite3.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <libprobe/testing.hpp>
#include <map>
#include <memory>
#include <new>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;
using ::testing::_;
using ::testing::Each;
using ::testing::Gt;
using ::testing::SizeIs;

/// Allocations of this thread that have not been freed.
class heap_balance {
 public:
  [[nodiscard]] long value() const noexcept { return value_; }

 private:
  long value_ = 0;
  stub<void*(std::size_t)> malloc_{
      "libc.so.6:malloc", [this](auto original, std::size_t n) { return count(original(n)); }, this_thread};
  stub<void*(std::size_t, std::size_t)> calloc_{
      "libc.so.6:calloc",
      [this](auto original, std::size_t n, std::size_t size) { return count(original(n, size)); },
      this_thread};
  stub<void*(void*, std::size_t)> realloc_{"libc.so.6:realloc",
                                           [this](auto original, void* old, std::size_t n) {
                                             void* const made = original(old, n);
                                             if (old == nullptr) count(made);
                                             return made;
                                           },
                                           this_thread};
  stub<int(void**, std::size_t, std::size_t)> aligned_{
      "libc.so.6:posix_memalign",
      [this](auto original, void** to, std::size_t alignment, std::size_t n) {
        const int result = original(to, alignment, n);
        if (result == 0) count(*to);
        return result;
      },
      this_thread};
  stub<void(void*)> free_{"libc.so.6:free",
                          [this](auto original, void* block) {
                            value_ -= block != nullptr;
                            original(block);
                          },
                          this_thread};

  void* count(void* made) noexcept {
    value_ += made != nullptr;
    return made;
  }
};

/// What a workload says of itself.
enum class outcome { right, refused, wrong };

/// Runs the work with the N-th call of the allocator failing, N = 1, 2, ... until it is not called so often.
/// Gives how many runs failed.
template <class Fault, class Work>
std::size_t fail_each(Fault make_fault, Work work) {
  EXPECT_EQ(work(), outcome::right);  // fills the caches that stay
  for (std::size_t n = 1; n < 5000; ++n) {
    long lost = 0;
    std::size_t failed = 0;
    outcome what{};
    {
      const heap_balance heap;
      {
        const auto failing = make_fault(call_number(n));
        const long before = heap.value();
        what = work();
        lost = heap.value() - before;
        failed = failing->failed();
      }
    }
    EXPECT_EQ(lost, 0) << "allocations lost when number " << n << " fails";
    if (failed == 0) {
      EXPECT_EQ(what, outcome::right);
      return n - 1;
    }
    EXPECT_NE(what, outcome::wrong) << "number " << n;
    if (::testing::Test::HasFailure()) return n;
  }
  ADD_FAILURE() << "it goes on and on";
  return 0;
}

auto failing_malloc() {
  return [](which_calls n) {
    return std::make_unique<fault<void*(std::size_t)>>("libc.so.6:malloc", n,
                                                       fails_with<void*>(nullptr, ENOMEM), this_thread);
  };
}
auto failing_realloc() {
  return [](which_calls n) {
    return std::make_unique<fault<void*(void*, std::size_t)>>(
        "libc.so.6:realloc", n, fails_with<void*>(nullptr, ENOMEM), this_thread);
  };
}

// SQLite, from sqlite3_initialize() to sqlite3_shutdown().

/// Text that needs no heap: the test's own is not what is looked at.
struct row_text {
  char text[1000] = {};
  std::size_t length = 0;
  void add(const char* more) noexcept {
    const auto n = std::min(std::strlen(more), sizeof text - 1 - length);
    std::memcpy(text + length, more, n);
    length += n;
  }
};

int append_row(void* to, int count, char** values, char** /*names*/) {
  for (int i = 0; i < count; ++i) static_cast<row_text*>(to)->add(values[i] == nullptr ? "-" : values[i]);
  static_cast<row_text*>(to)->add(";");
  return 0;
}

outcome sqlite_work() {
  static constexpr const char* script =
      "create table words(id integer primary key, word text unique, length int);"
      "create index by_length on words(length);"
      "begin;"
      "with recursive n(i) as (values(1) union all select i + 1 from n where i < 40)"
      " insert into words(word, length) select printf('word %d', i), i % 7 from n;"
      "commit;"
      "update words set word = upper(word) where length = 3;"
      "delete from words where length = 4;"
      "select count(*), '/', sum(length), '/', max(word) from words group by length"
      " having count(*) > 1 order by length desc;";
  static constexpr const char* expected =
      "5/30/word 6;6/30/word 5;6/18/WORD 38;6/12/word 9;6/6/word 8;5/0/word 7;";
  row_text rows;
  int result = SQLITE_NOMEM;
  sqlite3* db = nullptr;
  if (sqlite3_initialize() == SQLITE_OK && sqlite3_open(":memory:", &db) == SQLITE_OK)
    result = sqlite3_exec(db, script, append_row, &rows, nullptr);
  sqlite3_close(db);
  const bool all_freed = sqlite3_memory_used() == 0;
  sqlite3_shutdown();
  if (!all_freed) return outcome::wrong;
  if (result == SQLITE_NOMEM) return outcome::refused;
  return result == SQLITE_OK && std::strcmp(rows.text, expected) == 0 ? outcome::right : outcome::wrong;
}

TEST(SQLite, EachMallocFails) {
  const auto failed = fail_each(failing_malloc(), sqlite_work);
  EXPECT_GT(failed, 50U);
  RecordProperty("failed_mallocs", static_cast<int>(failed));
}
TEST(SQLite, EachReallocFails) { EXPECT_GT(fail_each(failing_realloc(), sqlite_work), 5U); }

TEST(SQLite, ItsOwnFunctionsCanBeSpiedOn) {
  const spy<int(sqlite3*, const char*, int (*)(void*, int, char**, char**), void*, char**)> s{
      "libsqlite3.so.0:sqlite3_exec", this_thread};
  const spy<int(sqlite3_stmt*)> steps{"libsqlite3.so.0:sqlite3_step", this_thread};
  ASSERT_EQ(sqlite_work(), outcome::right);
  EXPECT_TRUE(s.was_called_with(_, ::testing::StartsWith("create table words"), &append_row, _, nullptr));
  EXPECT_THAT(s.results(), Each(SQLITE_OK));
  EXPECT_GT(steps.count(), 10U);
  EXPECT_THAT(steps.results(), Each(::testing::AnyOf(SQLITE_ROW, SQLITE_DONE)));
}

// zlib

outcome zlib_work() {
  static unsigned char original[20000], packed[21000], again[20000];
  for (std::size_t i = 0; i < sizeof original; ++i) original[i] = static_cast<unsigned char>(i * i / 100);
  uLongf packed_size = sizeof packed;
  const int deflated = compress2(packed, &packed_size, original, sizeof original, 9);
  if (deflated == Z_MEM_ERROR) return outcome::refused;
  uLongf size = sizeof again;
  const int inflated = uncompress(again, &size, packed, packed_size);
  if (inflated == Z_MEM_ERROR) return outcome::refused;
  return deflated == Z_OK && inflated == Z_OK && std::memcmp(original, again, size) == 0 ? outcome::right
                                                                                         : outcome::wrong;
}

TEST(Zlib, EachMallocFails) { EXPECT_GT(fail_each(failing_malloc(), zlib_work), 5U); }

TEST(Zlib, WhatItsFunctionsAreAskedFor) {
  const spy<int(z_streamp, int)> deflates{"libz.so.1:deflate"};
  const fault<int(z_streamp, int)> broken{"libz.so.1:inflate", every_call(), fails_with(Z_DATA_ERROR)};
  EXPECT_EQ(zlib_work(), outcome::wrong);
  EXPECT_TRUE(deflates.was_called_with(_, Z_FINISH));
  EXPECT_EQ(deflates.results().back(), Z_STREAM_END);
  EXPECT_TRUE(broken.was_met());
}

TEST(Zlib, CrcAllocatesNothing) {
  const no_allocation promise{"libz.so.1:crc32"};
  const std::string text(1000, 'x');
  EXPECT_NE(opaque(&crc32)(0, reinterpret_cast<const Bytef*>(text.data()), 1000), 0U);
}

// libstdc++

outcome standard_library_work() {
  try {
    std::map<std::string, std::vector<std::string>> words;
    std::istringstream text{
        "the quick brown fox jumps over the lazy dog, which does not mind the quick fox at all"};
    for (std::string word; text >> word;) words[word + " (a word that is in no way short)"].push_back(word);
    std::ostringstream out;
    for (const auto& [word, all] : words) out << word << all.size();
    const std::function<std::size_t(std::size_t)> add = [copy = out.str()](std::size_t n) {
      return n + copy.size();
    };
    const std::regex pattern{"(qu)([a-z]+)k"};
    std::smatch match;
    const std::string line = "the quick";
    const bool found = std::regex_search(line, match, pattern) && match[2] == "ic";
    const auto shared = std::make_shared<std::vector<std::string>>(10, line);
    return found && words.size() == 14 && add(1) > 500 && shared->at(9) == line ? outcome::right
                                                                                : outcome::wrong;
  } catch (const std::bad_alloc&) {
    return outcome::refused;
  } catch (const std::ios_base::failure&) {
    return outcome::refused;
  }
}

/// Streams swallow the exception and set badbit, which shows as a result that is not right.
outcome standard_library_work_or_less() {
  const auto what = standard_library_work();
  return what == outcome::wrong ? outcome::refused : what;
}

TEST(Libstdcxx, EachMallocFails) {
  EXPECT_GT(fail_each(failing_malloc(), standard_library_work_or_less), 50U);
}

TEST(Libstdcxx, EachOperatorNewThrows) {
  // By its address: a search by name, a thousand times, with every malloc watched, takes its time.
  void* (*const operator_new)(std::size_t) = &operator new;
  const auto throwing_new = [&](which_calls n) {
    return std::make_unique<fault<void*(std::size_t)>>(operator_new, n, fails_throwing(std::bad_alloc{}),
                                                       this_thread);
  };
  EXPECT_GT(fail_each(throwing_new, standard_library_work_or_less), 50U);
}

// libcrypto

outcome crypto_work() {
  static const unsigned char key[32] = {1, 2, 3}, nonce[12] = {4, 5, 6}, text[] = "a text to be encrypted";
  unsigned char digest[EVP_MAX_MD_SIZE], secret[sizeof text], tag[16];
  unsigned int digest_size = 0;
  int size = 0;
  bool good = EVP_Digest(text, sizeof text, digest, &digest_size, EVP_sha256(), nullptr) == 1;
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  good = good && context != nullptr &&
         EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nullptr, key, nonce) == 1 &&
         EVP_EncryptUpdate(context, secret, &size, text, sizeof text) == 1 &&
         EVP_EncryptFinal_ex(context, secret + size, &size) == 1 &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, sizeof tag, tag) == 1;
  EVP_CIPHER_CTX_free(context);
  ERR_clear_error();
  OPENSSL_thread_stop();  // what the library keeps for the thread
  if (!good) return outcome::refused;
  // As `openssl dgst -sha256` and an independent AES-GCM have it.
  return digest_size == 32 && digest[0] == 0xcf && tag[0] == 0xa9 ? outcome::right : outcome::wrong;
}

TEST(Libcrypto, EachMallocFails) { EXPECT_GT(fail_each(failing_malloc(), crypto_work), 5U); }

TEST(Libcrypto, ItsRandomBytesCanBeChosen) {
  unsigned char bytes[4] = {};
  {
    const stub<int(unsigned char*, int)> s{"libcrypto.so.3:RAND_bytes", [](auto, unsigned char* to, int n) {
                                             std::memset(to, 42, static_cast<std::size_t>(n));
                                             return 1;
                                           }};
    EXPECT_EQ(RAND_bytes(bytes, sizeof bytes), 1);
    EXPECT_THAT(bytes, Each(42));
  }
  const fault<int(unsigned char*, int)> f{"libcrypto.so.3:RAND_bytes", every_call(), fails_with(0)};
  EXPECT_EQ(RAND_bytes(bytes, sizeof bytes), 0);
}

// The check itself would find a loss.
outcome loses_when_refused() {
  void* const first = opaque(std::malloc(10));
  void* const second = opaque(std::malloc(20));
  if (second == nullptr) return outcome::refused;  // and `first` is lost
  std::free(first);
  std::free(second);
  return first != nullptr ? outcome::right : outcome::refused;
}

TEST(FailEach, FindsALoss) {
  ::testing::TestPartResultArray results;
  {
    ::testing::ScopedFakeTestPartResultReporter caught{
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &results};
    fail_each(failing_malloc(), loses_when_refused);
  }
  ASSERT_GE(results.size(), 1);
  EXPECT_THAT(results.GetTestPartResult(0).message(),
              ::testing::HasSubstr("allocations lost when number 2 fails"));
}

}  // namespace
}  // namespace libprobe
