// libprobe/testing.hpp in a program that knows no test framework.
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <libprobe/testing.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

[[gnu::noinline]] int parse(const char* text) {
  asm volatile("" : "+r"(text));
  return text[0] - '0';
}
int (*volatile call)(const char*) = parse;

int wrong = 0;
void want(bool good, const char* what) {
  if (!good) {
    std::printf("wrong: %s\n", what);
    ++wrong;
  }
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// What the statement throws as a failure; empty if nothing.
template <class Statement>
std::string failure_of(Statement statement) {
  try {
    statement();
  } catch (const libprobe::test_failure& failure) {
    return failure.what();
  }
  return "";
}

void verdicts_are_thrown() {
  const libprobe::spy s{&parse};
  call("7");
  const auto missing = failure_of([&] { libprobe::expect(s.was_called_with("8")); });
  want(contains(missing, "parse(char const*) was not called with (\"8\")"), "the complaint");
  want(contains(missing, ": (\"7\") -> 7"), "what was recorded");
  want(contains(missing, "main.cpp:"), "the line");
  want(failure_of([&] { libprobe::expect(s.was_called_with("7")); }).empty(), "a value");
  want(failure_of([&] { libprobe::expect(s.was_called_with(libprobe::anything)); }).empty(), "anything");
  const auto predicate = [](const libprobe::text& t) { return t.size() == 1; };
  want(failure_of([&] { libprobe::expect(s.was_called_with(predicate)); }).empty(), "a predicate");
  want(failure_of([&] { libprobe::expect(!s.was_called()); }) != "", "the opposite");
}

void stubs_and_faults() {
  {
    const libprobe::stub s{&parse, libprobe::returns(5), libprobe::this_thread};
    want(call("1") == 5, "the stub's value");
    int there = 0;
    std::thread{[&] { there = call("1"); }}.join();
    want(there == 1, "another thread");
  }
  const libprobe::fault f{&parse, libprobe::call_number(2), libprobe::fails_with(-1, EINVAL)};
  want(call("1") == 1 && call("1") == -1 && errno == EINVAL && call("1") == 1, "the second call fails");
}

void time_limits_are_thrown() {
  const libprobe::pause_point p{&parse, {.limit = std::chrono::milliseconds{5}}};
  const auto failure = failure_of([&] { p.wait_until_reached(); });
  want(contains(failure,
                "pause point (anonymous namespace)::parse(char const*): 0 of 1 threads came within 5 ms"),
       "nobody came");
}

std::vector<std::string>& kept() {
  static std::vector<std::string> messages;
  return messages;
}
void an_own_reporter() {
  const auto before =
      libprobe::set_failure_reporter([](const libprobe::failure& f) { kept().push_back(f.message); });
  {
    std::mutex a, b;
    libprobe::lock_order order;
    const libprobe::must_not_reach promise{&parse};
    call("1");
    a.lock(), b.lock(), a.unlock(), b.unlock();
    b.lock(), a.lock(), a.unlock(), b.unlock();
  }
  libprobe::set_failure_reporter(before);
  want(kept().size() == 2, "two promises broken");
  want(kept().size() == 2 && contains(kept()[0], "parse(char const*) was reached 1 time"), "a place");
  want(kept().size() == 2 && contains(kept()[1], "locks were taken in different orders"), "locks");
}

/// A promise that is broken in the end cannot be thrown: the process ends, and says why.
void in_destructors_the_process_ends() {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(ends[1], STDERR_FILENO);
    { const libprobe::must_reach promise{&parse}; }
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  char part[256];
  for (ssize_t n = 0; (n = read(ends[0], part, sizeof part)) > 0;)
    words.append(part, static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  want(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "abort");
  want(contains(words, "parse(char const*) was not reached"), "the last words");
}

}  // namespace

int main() {
  verdicts_are_thrown();
  stubs_and_faults();
  time_limits_are_thrown();
  an_own_reporter();
  in_destructors_the_process_ends();
  if (wrong == 0) std::puts("all as wanted");
  return wrong == 0 ? 0 : 1;
}
