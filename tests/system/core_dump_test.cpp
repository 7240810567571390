// A program that dies by a displaced instruction leaves a core file that shows the original one.
#include <fcntl.h>
#include <gelf.h>
#include <sys/prctl.h>
#include <sys/procfs.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "system/fault_targets.hpp"

extern "C" {
// The sanitizers' own fault handlers would stand where the tests want the default action, and they forbid
// core files.
const char* __asan_default_options() {
  return "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:disable_coredump=0";
}
const char* __tsan_default_options() {
  return "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:disable_coredump=0";
}
}

namespace libprobe {
namespace {

namespace fs = std::filesystem;
using test::at;
using test::bad_cases;
using test::just_count;

/// The kernel's word for where core files go.
std::string core_pattern() {
  std::ifstream file{"/proc/sys/kernel/core_pattern"};
  std::string line;
  std::getline(file, line);
  return line;
}

/// What the core file says of the thread that died.
struct death {
  int signo;
  std::uintptr_t ip;
};
std::optional<death> read_core(const fs::path& file) {
  elf_version(EV_CURRENT);
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  Elf* const elf = elf_begin(fd, ELF_C_READ_MMAP, nullptr);
  std::optional<death> found;
  std::size_t count = 0;
  if (elf != nullptr) elf_getphdrnum(elf, &count);
  for (std::size_t i = 0; i < count && !found; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) == nullptr || segment.p_type != PT_NOTE) continue;
    Elf_Data* const notes =
        elf_getdata_rawchunk(elf, static_cast<off_t>(segment.p_offset), segment.p_filesz, ELF_T_NHDR);
    GElf_Nhdr note;
    std::size_t name = 0, words = 0;
    for (std::size_t next = 0;
         notes != nullptr && (next = gelf_getnote(notes, next, &note, &name, &words)) > 0;) {
      if (note.n_type != NT_PRSTATUS || note.n_descsz != sizeof(elf_prstatus)) continue;
      elf_prstatus status;  // the first is of the thread that died
      std::memcpy(&status, static_cast<const char*>(notes->d_buf) + words, sizeof status);
      found = death{status.pr_cursig, status.pr_reg[16]};  // rip in user_regs_struct
      break;
    }
  }
  elf_end(elf);
  close(fd);
  return found;
}

class CoreFile : public testing::Test {
 protected:
  void SetUp() override {
    const auto pattern = core_pattern();
    if (pattern.empty() || pattern.front() == '|')
      GTEST_SKIP() << "not tested here: core files go to a program, \"" << pattern << '"';
    rlimit limit{};
    getrlimit(RLIMIT_CORE, &limit);
    if (limit.rlim_max < 64 << 20)
      GTEST_SKIP() << "not tested here: the hard limit of core files is " << limit.rlim_max;
    own_ = fs::temp_directory_path() / ("libprobe-core-" + std::to_string(getpid()));
    fs::create_directory(own_);
    folder_ =
        pattern.front() == '/' ? fs::path{pattern}.parent_path() : own_ / fs::path{pattern}.parent_path();
    fs::create_directories(folder_);
  }
  void TearDown() override {
    if (!own_.empty()) fs::remove_all(own_);
  }
  /// Of a child that runs body() and dies by it.
  template <class Body>
  std::optional<death> core_of(Body&& body, int signo) {
    const auto before = files();
    const pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_DUMPABLE, 1);
      rlimit all{};
      getrlimit(RLIMIT_CORE, &all);
      all.rlim_cur = all.rlim_max;
      setrlimit(RLIMIT_CORE, &all);
      std::ofstream{"/proc/self/coredump_filter"} << "0";  // registers are enough
      fs::current_path(own_);
      alarm(60);
      body();
      _exit(1);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(test::told(status), test::killed_by(signo));
    EXPECT_TRUE(WCOREDUMP(status));
    for (const auto& file : files()) {
      if (std::ranges::find(before, file) != before.end()) continue;
      const auto found = read_core(file);
      fs::remove(file);
      return found;
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] std::vector<fs::path> files() const {
    std::vector<fs::path> all;
    for (const auto& entry : fs::directory_iterator{folder_}) all.push_back(entry.path());
    return all;
  }
  fs::path own_, folder_;
};

TEST_F(CoreFile, ShowsTheOriginalInstruction) {
  for (const auto& one : bad_cases) {
    SCOPED_TRACE(one.name);
    const auto plain = core_of([&] { one.run(); }, one.signo);
    ASSERT_TRUE(plain) << "no core file";
    ASSERT_EQ(plain->ip, reinterpret_cast<std::uintptr_t>(one.probed));
    for (const auto flags : {probe_flags::none, probe_flags::no_jump, probe_flags::single_step}) {
      for (const bool post : {false, true}) {
        SCOPED_TRACE(testing::Message() << "flags " << static_cast<unsigned>(flags) << ", post " << post);
        const auto probed = core_of(
            [&] {
              static probe p{.at = at(one.probed), .pre_handler = just_count};
              p.flags = flags;
              if (post) p.post_handler = [](probe&, registers&) {};
              if (!register_probe(p)) one.run();
            },
            one.signo);
        ASSERT_TRUE(probed) << "no core file";
        EXPECT_EQ(probed->ip, plain->ip) << std::hex << probed->ip << " instead of " << plain->ip;
        EXPECT_EQ(probed->signo, plain->signo);
      }
    }
  }
}

/// A fault handler that looks and does not mend; the program's own that puts the default action back, as
/// many crash reporters do.
TEST_F(CoreFile, AlsoAfterHandlersThatLook) {
  for (const auto& one : bad_cases) {
    SCOPED_TRACE(one.name);
    const auto probed = core_of(
        [&] {
          static const int signo = one.signo;
          struct sigaction action {};
          action.sa_handler = [](int) { signal(signo, SIG_DFL); };
          sigaction(signo, &action, nullptr);
          static probe p{.at = at(one.probed),
                         .pre_handler = just_count,
                         .fault_handler = [](probe&, registers&, int) { return false; }};
          if (!register_probe(p)) one.run();
        },
        one.signo);
    ASSERT_TRUE(probed) << "no core file";
    EXPECT_EQ(probed->ip, reinterpret_cast<std::uintptr_t>(one.probed));
    EXPECT_EQ(probed->signo, one.signo);
  }
}

}  // namespace
}  // namespace libprobe
