// Frozen clocks and fixed random numbers.
#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <libprobe/testing.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using std::chrono::hours;
using std::chrono::steady_clock;
using std::chrono::system_clock;
using test::opaque;

constexpr time_t moon_landing = -14182916;  // before 1970
constexpr time_t billennium = 1000000000;   // 2001-09-09 01:46:40 UTC

system_clock::time_point at(time_t seconds) { return system_clock::from_time_t(seconds); }

std::string sql_now() {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(":memory:", &db), SQLITE_OK);
  std::string now;
  EXPECT_EQ(sqlite3_exec(
                db, "select datetime('now')",
                [](void* to, int, char** values, char**) {
                  *static_cast<std::string*>(to) = values[0];
                  return 0;
                },
                &now, nullptr),
            SQLITE_OK);
  sqlite3_close(db);
  return now;
}

TEST(FrozenClock, EveryWayToAskForTheTime) {
  const frozen_clock clock{at(billennium)};
  timespec precise{1, 1};
  EXPECT_EQ(clock_gettime(CLOCK_REALTIME, &precise), 0);
  EXPECT_EQ(precise.tv_sec, billennium);
  EXPECT_EQ(precise.tv_nsec, 0);
  EXPECT_EQ(time(nullptr), billennium);
  time_t out = 0;
  EXPECT_EQ(time(&out), out);
  timeval old{1, 1};
  EXPECT_EQ(gettimeofday(&old, nullptr), 0);
  EXPECT_EQ(old.tv_sec, billennium);
  EXPECT_EQ(old.tv_usec, 0);
  EXPECT_EQ(timespec_get(&precise, TIME_UTC), TIME_UTC);
  EXPECT_EQ(precise.tv_sec, billennium);
  EXPECT_EQ(system_clock::now(), at(billennium));
  EXPECT_EQ(sql_now(), "2001-09-09 01:46:40");
}

TEST(FrozenClock, StandsUntilItIsAdvanced) {
  frozen_clock clock{at(billennium)};
  const auto begun = steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds{2});  // the kernel's time
  EXPECT_EQ(steady_clock::now(), begun);
  clock.advance(hours{1});
  EXPECT_EQ(steady_clock::now() - begun, hours{1});
  EXPECT_EQ(system_clock::now(), at(billennium + 3600));
  EXPECT_EQ(sql_now(), "2001-09-09 02:46:40");
  clock.set(at(moon_landing));
  EXPECT_EQ(time(nullptr), moon_landing);
  EXPECT_EQ(steady_clock::now() - begun, hours{1});
  clock.set(clock.now() - std::chrono::nanoseconds{1});
  timespec precise{};
  clock_gettime(CLOCK_REALTIME, &precise);
  EXPECT_EQ(precise.tv_sec, moon_landing - 1);
  EXPECT_EQ(precise.tv_nsec, 999999999);
}

TEST(FrozenClock, GoesWithItsScope) {
  const auto real = time(nullptr);
  const auto steady = steady_clock::now();
  { const frozen_clock clock{at(billennium)}; }
  EXPECT_GE(time(nullptr), real);
  timeval old{};
  gettimeofday(&old, nullptr);
  EXPECT_GE(old.tv_sec, real);
  EXPECT_GE(steady_clock::now(), steady);
}

TEST(FrozenClock, ClocksOfCpuTimeGoOn) {
  const frozen_clock clock{at(billennium)};
  timespec before{};
  timespec after{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  while (after.tv_sec == before.tv_sec && after.tv_nsec == before.tv_nsec);
  EXPECT_GE(after.tv_sec, before.tv_sec);
}

TEST(FrozenClock, ForThisThreadAlone) {
  const frozen_clock clock{at(billennium), this_thread};
  time_t there = 0;
  timeval old{};
  std::thread{[&] {
    there = time(nullptr);
    gettimeofday(&old, nullptr);
  }}.join();
  EXPECT_GT(there, billennium + 86400);
  EXPECT_GT(old.tv_sec, billennium + 86400);
  EXPECT_EQ(time(nullptr), billennium);
}

// Two tests at once, each with a time of its own, again and again.
TEST(FrozenClock, TestsThatRunAtOnceHaveTheirOwn) {
  std::atomic<int> wrong{0};
  const auto a_test = [&](time_t when) {
    for (int i = 0; i < 100; ++i) {
      const frozen_clock clock{at(when + i), this_thread};
      wrong += time(nullptr) != when + i;
      wrong += system_clock::now() != at(when + i);
    }
  };
  std::thread other{a_test, 1000};
  a_test(2000);
  other.join();
  EXPECT_EQ(wrong, 0);
}

TEST(FrozenClock, TheNewestCounts) {
  const frozen_clock outer{at(1000)};
  {
    const frozen_clock inner{at(2000)};
    EXPECT_EQ(time(nullptr), 2000);
  }
  EXPECT_EQ(time(nullptr), 1000);
}

std::vector<std::uint64_t> draws() {
  std::vector<std::uint64_t> all;
  std::uint64_t word = 0;
  EXPECT_EQ(getrandom(&word, sizeof word, 0), static_cast<ssize_t>(sizeof word));
  all.push_back(word);
  unsigned char bytes[13] = {};
  EXPECT_EQ(getentropy(bytes, sizeof bytes), 0);
  for (const auto b : bytes) all.push_back(b);
  all.push_back(static_cast<std::uint64_t>(std::rand()));
  all.push_back(static_cast<std::uint64_t>(random()));
  all.push_back(static_cast<std::uint64_t>(lrand48()));
  all.push_back(static_cast<std::uint64_t>(drand48() * 1e9));
  std::random_device device;
  all.push_back(device());
  all.push_back(std::uniform_int_distribution<unsigned>{0, 1000000}(device));
#if __GLIBC_PREREQ(2, 36)
  all.push_back(arc4random());
  all.push_back(arc4random_uniform(1000000));
  arc4random_buf(&word, sizeof word);
  all.push_back(word);
#endif
  return all;
}

TEST(FixedRandom, DependsOnTheSeedAlone) {
  std::vector<std::uint64_t> first, second, other;
  {
    const fixed_random numbers{7};
    first = draws();
  }
  {
    const fixed_random numbers{7};
    second = draws();
  }
  {
    const fixed_random numbers{8};
    other = draws();
  }
  const auto free_running = draws();
  EXPECT_EQ(first, second);
  // Each single source, but bytes, of which some may well be the same.
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (i >= 1 && i <= 13) continue;
    EXPECT_NE(first[i], other[i]) << i;
    EXPECT_NE(first[i], free_running[i]) << i;
  }
}

TEST(FixedRandom, KeepsTheirRanges) {
  const fixed_random numbers;
  for (int i = 0; i < 500; ++i) {
    const int r = std::rand();
    EXPECT_TRUE(r >= 0 && r <= RAND_MAX);
    const double d = drand48();
    EXPECT_TRUE(d >= 0 && d < 1);
  }
  unsigned char many[257];
  EXPECT_EQ(getentropy(many, sizeof many), -1);
  EXPECT_EQ(errno, EIO);
}

TEST(FixedRandom, ForThisThreadAlone) {
  std::vector<std::uint64_t> mine, there;
  {
    const fixed_random numbers{7, this_thread};
    std::thread{[&] { there = draws(); }}.join();
    mine = draws();
  }
  const fixed_random numbers{7};
  EXPECT_EQ(mine, draws());
  EXPECT_NE(mine, there);
}

}  // namespace
}  // namespace libprobe
