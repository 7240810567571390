// Text writes: all or nothing over pages, refusals at any page, memory that is gone, bytes that are not ours.
#include "os/text.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <vector>

#include "os/maps.hpp"

namespace libprobe::os {
namespace {

constexpr std::size_t page = 4096;
constexpr std::uint8_t filler[] = {0x90};
constexpr std::uint8_t mark[] = {0xcc};

/// Some pages of text, all filler.
class Text : public testing::Test {
 protected:
  static constexpr std::size_t pages = 11;  // more than are written at once
  void SetUp() override {
    base_ = static_cast<std::uint8_t*>(
        mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(base_, MAP_FAILED);
    std::fill_n(base_, pages * page, filler[0]);
    ASSERT_EQ(mprotect(base_, pages * page, PROT_READ | PROT_EXEC), 0);
  }
  void TearDown() override {
    set_write_refusal(nullptr);
    munmap(base_, pages * page);
  }

  [[nodiscard]] std::uintptr_t at(std::size_t offset) const {
    return reinterpret_cast<std::uintptr_t>(base_) + offset;
  }
  [[nodiscard]] edit marking(std::size_t offset) const {
    return {at(offset), filler, mark, 1, edit::outcome::pending};
  }
  /// Three edits on each page.
  [[nodiscard]] std::vector<edit> everywhere() const {
    std::vector<edit> edits;
    for (std::size_t i = 0; i < pages; ++i) {
      for (const std::size_t offset : {0, 17, 4095}) edits.push_back(marking(i * page + offset));
    }
    return edits;
  }
  [[nodiscard]] std::ptrdiff_t marked() const { return std::count(base_, base_ + pages * page, mark[0]); }
  static std::ptrdiff_t with(const std::vector<edit>& edits, edit::outcome what) {
    return std::count_if(edits.begin(), edits.end(), [what](const edit& e) { return e.done == what; });
  }

  std::uint8_t* base_ = nullptr;
};

std::atomic<int> writes{0};
std::atomic<int> refuse_at{0};
bool refuse_nth(std::uintptr_t) { return ++writes == refuse_at; }
bool only_count(std::uintptr_t) { return ++writes < 0; }

TEST_F(Text, OneWritePerPage) {
  auto edits = everywhere();
  writes = 0;
  set_write_refusal(only_count);
  EXPECT_TRUE(write_text(edits, true));
  EXPECT_EQ(writes, static_cast<int>(pages));
  EXPECT_EQ(marked(), static_cast<std::ptrdiff_t>(edits.size()));
  EXPECT_EQ(with(edits, edit::outcome::written), static_cast<std::ptrdiff_t>(edits.size()));
}

TEST_F(Text, ARefusalAtAnyPageLeavesEveryByteAsItWas) {
  for (int nth = 1; nth <= static_cast<int>(pages); ++nth) {
    auto edits = everywhere();
    writes = 0;
    refuse_at = nth;
    set_write_refusal(refuse_nth);
    EXPECT_FALSE(write_text(edits, true)) << nth;
    EXPECT_EQ(marked(), 0) << nth;
    EXPECT_EQ(with(edits, edit::outcome::refused), 3) << nth;
  }
}

TEST_F(Text, WithoutAllOrNothingTheOthersAreWritten) {
  auto edits = everywhere();
  writes = 0;
  refuse_at = 2;
  set_write_refusal(refuse_nth);
  EXPECT_FALSE(write_text(edits, false));
  EXPECT_EQ(with(edits, edit::outcome::refused), 3);
  EXPECT_EQ(marked(), static_cast<std::ptrdiff_t>(edits.size()) - 3);
}

TEST_F(Text, OtherBytesAreLeftAlone) {
  std::vector<edit> first{marking(page + 8)};
  ASSERT_TRUE(write_text(first, true));
  auto edits = std::vector{marking(3), marking(page + 8), marking(page + 9), marking(2 * page)};
  EXPECT_FALSE(write_text(edits, false));
  EXPECT_EQ(edits[1].done, edit::outcome::differs);
  EXPECT_EQ(with(edits, edit::outcome::written), 3);

  auto again = std::vector{marking(5), marking(page + 8)};
  EXPECT_FALSE(write_text(again, true));
  EXPECT_EQ(again[1].done, edit::outcome::differs);
  EXPECT_EQ(base_[5], filler[0]);
}

TEST_F(Text, MemoryThatIsGoneIsTold) {
  ASSERT_EQ(munmap(base_ + 2 * page, page), 0);
  auto edits = everywhere();
  EXPECT_FALSE(write_text(edits, false));
  EXPECT_EQ(with(edits, edit::outcome::gone), 3);
  EXPECT_EQ(with(edits, edit::outcome::written), 30);
  EXPECT_EQ(base_[0], mark[0]);
  EXPECT_EQ(base_[pages * page - 1], mark[0]);
  ASSERT_EQ(mmap(base_ + 2 * page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            base_ + 2 * page);
}

/// A page in the middle is a file's, shared and opened for reading only: no way to write leads there.
TEST_F(Text, WhatTheKernelRefusesIsTold) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "their run-time libraries need memory themselves";
#endif
  const int file = memfd_create("text", 0);
  ASSERT_EQ(ftruncate(file, page), 0);
  ASSERT_EQ(pwrite(file, std::vector(page, filler[0]).data(), page, 0), static_cast<ssize_t>(page));
  const int read_only = open(("/proc/self/fd/" + std::to_string(file)).c_str(), O_RDONLY);
  ASSERT_EQ(mmap(base_ + 2 * page, page, PROT_READ, MAP_SHARED | MAP_FIXED, read_only, 0), base_ + 2 * page);
  for (const bool all_or_nothing : {true, false}) {
    auto edits = everywhere();
    // /proc/self/mem does not write to that page, and there is no memory for a copy to put in its place.
    rlimit before{};
    getrlimit(RLIMIT_AS, &before);
    const rlimit none{1, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_AS, &none), 0);
    const bool written = write_text(edits, all_or_nothing);
    setrlimit(RLIMIT_AS, &before);
    EXPECT_FALSE(written);
    EXPECT_EQ(with(edits, edit::outcome::refused), 3);
    EXPECT_EQ(marked(), all_or_nothing ? 0 : static_cast<std::ptrdiff_t>(edits.size()) - 3);
  }
  close(read_only);
  close(file);
}

TEST_F(Text, AnEditMayRunOverThePagesEnd) {
  constexpr std::array<std::uint8_t, 5> old{0x90, 0x90, 0x90, 0x90, 0x90};
  constexpr std::array<std::uint8_t, 5> jump{0xe9, 1, 2, 3, 4};
  std::vector<edit> edits{{at(page - 2), old.data(), jump.data(), 5, edit::outcome::pending}};
  ASSERT_TRUE(write_text(edits, true));
  EXPECT_TRUE(std::equal(jump.begin(), jump.end(), base_ + page - 2));
  EXPECT_EQ(base_[page - 3], filler[0]);
  EXPECT_EQ(base_[page + 3], filler[0]);
}

TEST_F(Text, WritingKeepsTheProtection) {
  auto edits = everywhere();
  ASSERT_TRUE(write_text(edits, true));
  const auto mapping = mapping_at(at(17));
  ASSERT_TRUE(mapping);
  EXPECT_TRUE(mapping->executable);
  EXPECT_FALSE(mapping->writable);
}

TEST_F(Text, ReadingWhatIsNotThereFails) {
  std::array<std::uint8_t, 16> bytes{};
  EXPECT_FALSE(read_memory(16, bytes));
  EXPECT_TRUE(read_memory(at(0), bytes));
}

}  // namespace
}  // namespace libprobe::os
