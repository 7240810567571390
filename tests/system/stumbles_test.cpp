// Mistakes that are easily made, and refusals that do not explain themselves: what they are told.
#include <gmock/gmock.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>

#include "support/child.hpp"
#include "support/jumping.hpp"
#include "support/refusing.hpp"

asm(R"(
        .text
        .type   stumbles_code, @function
stumbles_code:                          # int (int): room for a jump
        mov     $4, %eax
        add     %edi, %eax
        ret
        .size   stumbles_code, .-stumbles_code
        .type   stumbles_printable, @function
stumbles_printable:                     # int (): "PX", and what no name has
        push    %rax
        pop     %rax
        ret
        .size   stumbles_printable, .-stumbles_printable
)");

extern "C" {
int stumbles_code(int);
int stumbles_printable();
}

namespace libprobe {

extern probe stumbles_late_probe;
extern retprobe stumbles_late_retprobe;
struct early_result {
  std::error_code why;
  std::string detail;
};
early_result stumbles_early[3];

/// Before the initialisation of this file's globals, since it says so.
[[gnu::constructor(101)]] void register_too_early() {
  static early_result results[3];
  results[0].why = register_probe(stumbles_late_probe);
  results[0].detail = last_error_detail();
  results[1].why = register_retprobe(stumbles_late_retprobe);
  results[1].detail = last_error_detail();
  batch all;
  all.add(stumbles_late_probe);
  results[2].why = all.commit();
  results[2].detail = last_error_detail();
  extern early_result* stumbles_results;
  stumbles_results = results;
}
constinit early_result* stumbles_results = nullptr;

/// Not known before the program runs.
const char* stumbles_name() { return getenv("PATH") != nullptr ? "stumbles_code" : "stumbles_code+0"; }
probe stumbles_late_probe{.at = stumbles_name(), .pre_handler = test::just_count};
retprobe stumbles_late_retprobe{.at = stumbles_name(), .handler = [](retprobe_instance&, registers&) {}};

namespace {

using test::just_count;
using test::opaque;
using testing::HasSubstr;

TEST(Stumbles, AnAddressThatIsCastToAName) {
  for (const void* code : {static_cast<const void*>(test::code_of(&stumbles_code)),
                           static_cast<const void*>(test::code_of(&stumbles_printable))}) {
    probe p{.at = static_cast<const char*>(code), .pre_handler = just_count};
    EXPECT_EQ(register_probe(p), errc::malformed_location);
    EXPECT_THAT(last_error_detail(), HasSubstr("const void*"));
    probe q{.at = code, .pre_handler = just_count};
    EXPECT_FALSE(register_probe(q)) << last_error_detail();
  }
  probe wrong{.at = "no_such_function_at_all", .pre_handler = just_count};
  EXPECT_EQ(register_probe(wrong), errc::symbol_not_found);  // a name that is one, only of nothing
}

TEST(Stumbles, AGlobalProbeBeforeItsInitialisation) {
  ASSERT_NE(stumbles_results, nullptr);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(stumbles_results[i].why, errc::malformed_location) << i;
    EXPECT_THAT(stumbles_results[i].detail, HasSubstr("not constructed yet")) << i;
  }
  ASSERT_FALSE(register_probe(stumbles_late_probe)) << last_error_detail();
  EXPECT_EQ(opaque(&stumbles_code)(1), 5);
  EXPECT_EQ(hits(stumbles_late_probe), 1U);
  unregister_probe(stumbles_late_probe);
}

bool jumps_are_off() { return getenv("LIBPROBE_NO_JUMPS") != nullptr; }

/// In a sandbox without ptrace(), with a thread that has SIGTRAP blocked and calls the function all the
/// while.
TEST(Stumbles, AThreadThatHasSigtrapBlocked) {
  test::in_child([]() -> test::flaw {
    std::atomic<int> id{0}, wrong{0};
    std::atomic<bool> stop{false};
    std::thread deaf{[&] {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
      pthread_setname_np(pthread_self(), "deaf-one");
      id = static_cast<int>(syscall(SYS_gettid));
      while (!stop) {
        if (opaque(&stumbles_code)(2) != 6) ++wrong;
      }
    }};
    while (id == 0) std::this_thread::yield();
    const auto end = [&](test::flaw found) {
      stop = true;
      deaf.join();
      return found != nullptr ? found : wrong != 0 ? "wrong results" : nullptr;
    };
    if (!test::refuse_system_calls({SYS_ptrace}, EPERM)) {
      end(nullptr);
      throw test::cannot{"no seccomp here"};
    }
    const auto names_it = [&] {
      const auto detail = last_error_detail();
      return detail.find(std::to_string(id)) != std::string::npos &&
             detail.find("deaf-one") != std::string::npos;
    };
    const auto before = test::bytes_at(test::code_of(&stumbles_code), 8);
    for (int round = 0; round < 20; ++round) {
      probe trap{.at = &stumbles_code, .pre_handler = just_count, .flags = probe_flags::no_jump};
      if (register_probe(trap) != errc::trap_blocked) return end("a breakpoint was placed");
      if (!names_it()) return end("the thread is not named");
      if (test::bytes_at(test::code_of(&stumbles_code), 8) != before) return end("text was written");
      probe jump{.at = &stumbles_code, .pre_handler = just_count};
      const auto why = register_probe(jump);
      if (jumps_are_off()) {
        if (why != errc::trap_blocked || !names_it()) return end("not refused");
        continue;
      }
      if (why) return end("a jump is refused");
      while (hits(jump) < 1000) std::this_thread::yield();
    }
    if (test::bytes_at(test::code_of(&stumbles_code), 8) != before) return end("text is not as it was");
    return end(nullptr);
  });
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Stumbles, AllMappingsInUse) {
  test::in_child([]() -> test::flaw {
    {
      probe first{.at = &getpid, .pre_handler = just_count};
      if (register_probe(first)) return "not even one";
    }
    std::size_t limit = 0;
    std::ifstream{"/proc/sys/vm/max_map_count"} >> limit;
    if (limit == 0 || limit > 300'000) throw test::cannot{"too many mappings are allowed"};
    // Each page unlike its neighbours.
    constexpr std::size_t page = 4096;
    auto* const many = static_cast<char*>(
        mmap(nullptr, limit * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    test::demand(many != MAP_FAILED, "mmap");
    std::size_t at = 0;
    while (at < limit && mprotect(many + at * page, page, PROT_READ) == 0) at += 2;
    if (errno != ENOMEM) return "there is no end of mappings";
    probe p{.at = &stumbles_code,
            .pre_handler = just_count,
            .post_handler = [](probe&, registers&) {},
            .flags = probe_flags::no_jump | probe_flags::single_step};
    std::vector<probe> copies(0);
    const auto why = register_probe(p);
    if (!why) throw test::cannot{"there was code memory left"};
    if (why != std::errc::not_enough_memory) return "another refusal";
    if (last_error_detail().find("max_map_count") == std::string::npos) return "not told of the limit";
    return nullptr;
  });
}
#endif

}  // namespace
}  // namespace libprobe
