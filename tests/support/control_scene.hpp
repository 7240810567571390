// Some text of the test's own, sites in it, and attachments that nobody hits.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "arch/arch.hpp"
#include "epoch/epoch.hpp"
#include "site/site.hpp"

namespace libprobe::test {

/// An attachment whose release is the test's to watch.
struct attachment : site::attachment {
  std::atomic<void*> handle{nullptr};
  std::atomic<std::uint64_t> all{0}, all_missed{0}, all_begun{0}, all_ended{0};
  bool busy = false;  // it cannot be freed yet
  int released = 0;

  attachment() {
    hits.begin(all, nullptr);
    begun.begin(all_begun, nullptr);
    ended.begin(all_ended, nullptr);
    missed = &all_missed;
    owner = this;
    part = [](site::attachment&) noexcept {};
    release = [](site::attachment& a) noexcept {
      auto& self = static_cast<attachment&>(a);
      if (!self.busy) ++self.released;
      return !self.busy;
    };
  }
};

class Scene : public testing::Test {
 protected:
  static constexpr std::size_t page = 4096, pages = 4;
  static constexpr std::uint8_t filler = 0x90;
  static constexpr std::uint8_t window = 5;

  void SetUp() override {
    epoch::prepare();
    base_ = static_cast<std::uint8_t*>(
        mmap(nullptr, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(base_, MAP_FAILED);
    std::fill_n(base_, pages * page, filler);
    ASSERT_EQ(mprotect(base_, pages * page, PROT_READ | PROT_EXEC), 0);
  }
  void TearDown() override {
    // Those that a test has put into the table, for whoever looks at all in the same process.
    for (const auto& one : sites_) {
      if (site::sites.find(one->address) == one.get()) site::sites.erase(one->address);
    }
    munmap(base_, pages * page);
  }

  [[nodiscard]] const std::uint8_t* bytes() const { return base_; }
  [[nodiscard]] std::uintptr_t address(std::size_t offset) const {
    return reinterpret_cast<std::uintptr_t>(base_) + offset;
  }
  [[nodiscard]] std::uint8_t byte(std::size_t offset) const {
    return *static_cast<const volatile std::uint8_t*>(base_ + offset);
  }
  void set_byte(std::size_t offset, std::uint8_t to) {
    ASSERT_EQ(mprotect(base_, pages * page, PROT_READ | PROT_WRITE), 0);
    base_[offset] = to;
    ASSERT_EQ(mprotect(base_, pages * page, PROT_READ | PROT_EXEC), 0);
  }

  /// A site at which a breakpoint can stand. It is in no table.
  site::site& make_site(std::size_t offset) {
    auto& at = *sites_.emplace_back(std::make_unique<site::site>());
    at.address = address(offset);
    at.plan.original[0] = base_[offset];
    return at;
  }
  /// One with a jump to somewhere, over instructions of which nobody comes back into the middle.
  site::site& make_jump(std::size_t offset) {
    auto& at = make_site(offset);
    at.jump = std::make_unique<site::jump_text>();
    at.jump->shape.window = window;
    std::copy_n(base_ + offset, window, at.jump->original.begin());
    at.jump->jump = {0xe9, 1, 2, 3, 0};
    return at;
  }
  static void publish(site::site& at) {
    site::sites.reserve(1);
    site::sites.insert(at.address, &at);
  }
  static void link(test::attachment& a, site::site& at) {
    auto& next = at.last != nullptr ? at.last->next : at.first;
    next.store(&a);
    at.last = &a;
    a.where = &at;
    a.handle = &a;
    a.site::attachment::handle = &a.handle;
  }

  std::vector<std::unique_ptr<site::site>> sites_;

 private:
  std::uint8_t* base_ = nullptr;
};

}  // namespace libprobe::test
