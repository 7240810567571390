// What libc does with all signals blocked: children in the program's own memory (posix_spawn, and what stands
// on it), whose signal handlers it resets too; and the ends of threads.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "support/every_kind.hpp"

extern char** environ;

namespace libprobe {
namespace {

using test::just_count;

/// What the child of posix_spawn() runs, between clone and exec.
constexpr const char* in_the_child[] = {
    "dup2",    "open",    "close", "sigaction",   "execve",       "sigprocmask", "setpgid", "setsid",
    "seteuid", "setegid", "fcntl", "posix_spawn", "posix_spawnp", "waitpid",     "getpid",  "chdir"};

class Spawned : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto* name : in_the_child) {
      const auto at = std::string{"libc.so.6:"} + name;
      probes_.emplace_back(new probe{.at = at.c_str(), .pre_handler = just_count});
      retprobes_.emplace_back(
          new retprobe{.at = at.c_str(), .handler = [](retprobe_instance&, registers&) {}});
      ASSERT_FALSE(register_probe(*probes_.back())) << name << ": " << last_error_detail();
      ASSERT_FALSE(register_retprobe(*retprobes_.back())) << name << ": " << last_error_detail();
    }
  }
  void TearDown() override {
    batch gone;
    for (auto& p : probes_) gone.remove(*p);
    for (auto& r : retprobes_) gone.remove(*r);
    EXPECT_FALSE(gone.commit());
    probes_.clear();
    retprobes_.clear();
    EXPECT_FALSE(commit_probes()) << "this thread is in no handler";
  }
  [[nodiscard]] std::uint64_t hits_of(const std::string& name) const {
    for (std::size_t i = 0; i < probes_.size(); ++i) {
      if (name == in_the_child[i]) return hits(*probes_[i]);
    }
    return 0;
  }
  std::vector<std::unique_ptr<probe>> probes_;
  std::vector<std::unique_ptr<retprobe>> retprobes_;
};

TEST_F(Spawned, WithFileActionsAndAttributes) {
  const auto file = testing::TempDir() + "libprobe_spawned_" + std::to_string(getpid());
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_addclose(&actions, 0);
  posix_spawn_file_actions_addchdir_np(&actions, "/");
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  for (int round = 1; round <= 20; ++round) {
    const char* const words[] = {"sh", "-c", "pwd; exit 7", nullptr};
    pid_t child = 0;
    ASSERT_EQ(posix_spawn(&child, "/bin/sh", &actions, &attributes, const_cast<char**>(words), environ), 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_EQ(test::told(status), test::exited_with(7));
    std::string said;
    std::getline(std::ifstream{file}, said);
    EXPECT_EQ(said, "/");
    EXPECT_EQ(hits_of("posix_spawn"), static_cast<std::uint64_t>(round));
    EXPECT_GE(hits_of("execve") + hits_of("dup2"), static_cast<std::uint64_t>(round)) << "hit in the child";
  }
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  std::remove(file.c_str());
}

TEST_F(Spawned, AProgramThatIsNotThere) {
  const char* const words[] = {"no", nullptr};
  pid_t child = 0;
  for (int round = 0; round < 20; ++round)
    EXPECT_EQ(posix_spawn(&child, "/no/such/program", nullptr, nullptr, const_cast<char**>(words), environ),
              ENOENT);
}

TEST_F(Spawned, BySystemAndPopen) {
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(test::told(std::system("exit 3")), test::exited_with(3));
    FILE* const pipe = popen("echo hello", "r");
    ASSERT_NE(pipe, nullptr);
    std::array<char, 32> line{};
    EXPECT_NE(std::fgets(line.data(), line.size(), pipe), nullptr);
    EXPECT_EQ(std::string{line.data()}, "hello\n");
    EXPECT_EQ(pclose(pipe), 0);
  }
}

TEST(Threads, MadeAndEndedUnderProbesOnWhatLibcCallsForThem) {
  std::vector<std::unique_ptr<probe>> probes;
  for (const auto* name :
       {"mmap", "munmap", "mprotect", "madvise", "free", "malloc", "calloc", "memset", "pthread_create"}) {
    const auto at = std::string{"libc.so.6:"} + name;
    probes.emplace_back(new probe{.at = at.c_str(), .pre_handler = just_count});
    ASSERT_FALSE(register_probe(*probes.back())) << name << ": " << last_error_detail();
  }
  for (int round = 0; round < 200; ++round)
    std::thread{[] { std::free(test::opaque(std::malloc(10))); }}.join();
  EXPECT_GE(hits(*probes.back()), 200U);
}

}  // namespace
}  // namespace libprobe
