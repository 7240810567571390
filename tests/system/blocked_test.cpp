// Threads that block for long in a probed call: nobody waits for them, and they go on unharmed whatever was
// removed meanwhile.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "support/jumping.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::just_count;
using test::opaque;

/// A pipe, and a thread that reads a byte from it by libc's read().
class reader {
 public:
  reader() {
    EXPECT_EQ(pipe(ends_.data()), 0);
    thread_ = std::thread{[this] {
      id_ = static_cast<pid_t>(syscall(SYS_gettid));
      char byte = 0;
      result_ = ::read(ends_[0], &byte, 1);
      byte_ = byte;
    }};
    while (id_ == 0) std::this_thread::yield();
    while (!sleeps()) std::this_thread::yield();
  }
  ~reader() {
    for (const int end : ends_) close(end);
  }
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;
  void wake() {
    EXPECT_EQ(::write(ends_[1], "x", 1), 1);
    thread_.join();
    EXPECT_EQ(result_, 1);
    EXPECT_EQ(byte_, 'x');
  }

 private:
  /// In the system call, and there for long.
  [[nodiscard]] bool sleeps() const {
    std::ifstream file{"/proc/self/task/" + std::to_string(id_) + "/syscall"};
    int number = -1;
    return file >> number && number == SYS_read;
  }
  std::array<int, 2> ends_{};
  std::atomic<pid_t> id_{0};
  ssize_t result_ = -1;
  char byte_ = 0;
  std::thread thread_;
};

/// Removes it in a thread of its own; false if that takes too long.
template <class Removal>
bool ends_in_time(Removal remove) {
  std::atomic<bool> removed{false};
  std::thread committer{[&] {
    remove();
    removed = true;
  }};
  for (int i = 0; i < 2000 && !removed; ++i) usleep(5000);
  const bool in_time = removed;
  if (in_time)
    committer.join();
  else
    committer.detach();
  return in_time;
}

constexpr const char* read_at = "libc.so.6:read";
std::vector<probe_row> rows_at_read() { return test::rows_at(dlsym(RTLD_DEFAULT, "read")); }

TEST(BlockedInRead, ProbesOnEachOfItsInstructions) {
  // The copied system call among them: the thread sleeps in a slot.
  const auto instructions = test::whole_function{dlsym(RTLD_DEFAULT, "read")}.instructions;
  ASSERT_GT(instructions.size(), 5U);
  {
    probe first{.at = &getpid, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(first));
  }  // guards stay
  // A guard stands at the system call, as a jump or, once others were there, as a breakpoint.
  const std::size_t before_the_call = 9;
  const auto text = test::bytes_at(instructions.front(), before_the_call);
  for (const bool post : {false, true}) {
    std::vector<std::unique_ptr<probe>> probes;
    std::vector<probe*> all;
    for (const auto* at : instructions) {
      probes.emplace_back(new probe{.at = static_cast<const void*>(at), .pre_handler = just_count});
      if (post) probes.back()->post_handler = [](probe&, registers&) {};
      all.push_back(probes.back().get());
    }
    ASSERT_FALSE(register_probes(all));
    reader blocked;
    ASSERT_TRUE(ends_in_time([&] { unregister_probes(all); }));
    EXPECT_EQ(test::bytes_at(instructions.front(), before_the_call), text);
    EXPECT_TRUE(rows_at_read().empty());
    const auto before = hits(*probes.front());
    probes.clear();  // freed
    blocked.wake();
    EXPECT_GE(before, 1U);
  }
}

TEST(BlockedInRead, ARetprobeOnIt) {
  std::atomic<int> returned{0};
  for (const bool again : {false, true}) {
    retprobe p{.at = read_at,
               .handler = [](retprobe_instance& i,
                             registers&) { ++*static_cast<std::atomic<int>*>(i.probe().context); },
               .context = &returned};
    ASSERT_FALSE(register_retprobe(p));
    reader blocked;
    ASSERT_TRUE(ends_in_time([&] { unregister_retprobe(p); }));
    if (again) {
      ASSERT_FALSE(register_retprobe(p));
    }
    returned = 0;
    blocked.wake();
    EXPECT_EQ(returned, 0) << "the call was followed for a probe that is gone";
  }
}

TEST(BlockedInRead, AJprobeOnIt) {
  jprobe p{.at = read_at, .entry = reinterpret_cast<void*>(+[](int, void*, std::size_t) {})};
  ASSERT_FALSE(register_jprobe(p));
  reader blocked;
  EXPECT_GE(hits(p), 1U);
  ASSERT_TRUE(ends_in_time([&] { unregister_jprobe(p); }));
  blocked.wake();
}

ssize_t read_instead(int file, void* to, std::size_t size) {
  const auto* self = current_replacement();
  return reinterpret_cast<ssize_t (*)(int, void*, std::size_t)>(original(*self))(file, to, size);
}

TEST(BlockedInRead, AReplacementOnItHoldsUpItsOwnRemovalAndNoOther) {
  // It is the program's own code, with a frame on the stack, and its object may be freed once it is removed.
  auto* r = new replacement{.at = read_at, .entry = reinterpret_cast<void*>(&read_instead)};
  ASSERT_FALSE(register_replacement(*r));
  reader blocked;
  std::atomic<bool> removed{false};
  std::thread remover{[&] {
    delete r;
    removed = true;
  }};
  while (!rows_at_read().empty()) std::this_thread::yield();
  for (int round = 0; round < 20; ++round) {
    probe other{.at = read_at, .pre_handler = just_count},
        more{.at = "libc.so.6:atoi", .pre_handler = just_count};
    replacement again{.at = read_at, .entry = reinterpret_cast<void*>(&read_instead)};
    ASSERT_FALSE(register_probe(other));
    ASSERT_FALSE(register_probe(more));
    ASSERT_FALSE(register_replacement(again));
    ASSERT_TRUE(ends_in_time([&] {
      unregister_replacement(again);
      unregister_probe(other);
      batch rest;
      rest.remove(more);
      rest.commit();
    }));
  }
  EXPECT_FALSE(removed);
  blocked.wake();
  remover.join();
}

[[gnu::noipa]] int subject(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + 1;
}
std::atomic<bool> inside{false}, go_on{false};
int waits_first(int x) {
  const auto* self = current_replacement();
  inside = true;
  while (!go_on) std::this_thread::yield();
  return 10 * reinterpret_cast<int (*)(int)>(original(*self))(x);
}

TEST(BlockedInAReplacement, TheOriginalIsThereToTheEnd) {
  inside = go_on = false;
  auto* r = new replacement{.at = &subject, .entry = reinterpret_cast<void*>(&waits_first)};
  ASSERT_FALSE(register_replacement(*r));
  std::thread blocked{[] { EXPECT_EQ(subject(1), 20); }};
  while (!inside) std::this_thread::yield();
  std::thread remover{[r] { delete r; }};
  while (!test::rows_at(test::code_of(&subject)).empty()) std::this_thread::yield();
  // What stood at its place is freed by others' commits, and built again.
  for (int round = 0; round < 20; ++round) {
    probe p{.at = &subject, .pre_handler = just_count};
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(subject(1), 2);
    unregister_probe(p);
  }
  go_on = true;
  blocked.join();
  remover.join();
}

TEST(BlockedInRead, EverythingAtOnceOnIt) {
  probe before{.at = read_at, .pre_handler = just_count},
      after{.at = read_at, .post_handler = [](probe&, registers&) {}};
  jprobe entry{.at = read_at, .entry = reinterpret_cast<void*>(+[](int, void*, std::size_t) {})};
  retprobe whole{.at = read_at, .handler = [](retprobe_instance&, registers&) {}};
  counter counts{.at = read_at};
  latency times{.at = read_at};
  batch all;
  all.add(before).add(after).add(entry).add(whole).add(counts).add(times);
  ASSERT_FALSE(all.commit());
  reader one, two;
  ASSERT_TRUE(ends_in_time([&] {
    batch gone;
    gone.remove(before).remove(after).remove(entry).remove(whole).remove(counts).remove(times);
    gone.commit();
  }));
  EXPECT_GE(hits(counts), 2U);
  one.wake();
  two.wake();
  EXPECT_TRUE(list_probes().empty());
}

}  // namespace
}  // namespace libprobe
