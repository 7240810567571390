// What tests of probes need again and again: text as bytes, children, probes with a counter behind them.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <libprobe/libprobe.hpp>
#include <string>
#include <vector>

namespace libprobe::test {

inline std::vector<std::uint8_t> bytes_at(const void* from, std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  std::memcpy(bytes.data(), from, count);
  return bytes;
}

template <class R, class... A>
const std::uint8_t* code_of(R (*function)(A...)) {
  return reinterpret_cast<const std::uint8_t*>(reinterpret_cast<std::uintptr_t>(function));
}

/// Keeps the compiler from looking through a call: what is probed must really be called.
template <class T>
T opaque(T value) {
  asm volatile("" : "+r"(value)::"memory");
  return value;
}

/// A pre_handler that leaves all work to hits().
inline int just_count(probe&, registers&) { return 0; }

/// Runs `body` in a forked child, which exits with what it returns; gives the status as waitpid() does. The
/// child that should have ended long ago ends by SIGALRM.
template <class Body>
int status_of_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(60);
    _exit(body());
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

inline std::string told(int status) {
  if (WIFSIGNALED(status)) return "killed by " + std::to_string(WTERMSIG(status));
  return "exited with " + std::to_string(WEXITSTATUS(status));
}
inline std::string exited_with(int code) { return "exited with " + std::to_string(code); }
inline std::string killed_by(int signo) { return "killed by " + std::to_string(signo); }

/// What list_probes() shows of one address.
inline std::vector<probe_row> rows_at(const void* address) {
  std::vector<probe_row> rows;
  for (auto& row : list_probes()) {
    if (row.address == reinterpret_cast<std::uintptr_t>(address)) rows.push_back(row);
  }
  return rows;
}

}  // namespace libprobe::test
