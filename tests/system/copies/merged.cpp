// A program that exports its symbols, and a plugin with a copy of its own: the loader binds the plugin's
// calls to the program's copy, so there is one that works for both, in forked children too.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <libprobe/libprobe.hpp>

#include "plugin.hpp"

namespace {

int failures = 0;

void check(bool holds, const char* what) {
  if (holds) return;
  ++failures;
  std::printf("%s; last refusal: %s\n", what, libprobe::last_error_detail().c_str());
}

[[gnu::noipa]] int ours(int x) { return x + 1; }
[[gnu::noipa]] int plugins(int x) { return x + 2; }

const void* address_of(int (*function)(int)) { return reinterpret_cast<const void*>(function); }

void use(const copies::api& plugin, libprobe::probe& mine) {
  check(!register_probe(mine), "the program's probe");
  check(plugin.place(address_of(plugins)) == 0, "the plugin's probe");
  const auto before = hits(mine), plugins_before = plugin.hits();
  for (int i = 0; i < 100; ++i) check(ours(i) == i + 1 && plugins(i) == i + 2, "results");
  check(hits(mine) == before + 100 && plugin.hits() == plugins_before + 100, "hits");
  check(libprobe::list_probes().size() == 2 && plugin.listed() == 2, "one list");
  plugin.remove();
  unregister_probe(mine);
}

}  // namespace

int main(int /*argc*/, char** argv) {
  void* const library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::puts(dlerror());
    return 1;
  }
  const auto& plugin = *reinterpret_cast<copies::get_api*>(dlsym(library, "copies_api"))();
  libprobe::probe mine{.at = &ours, .pre_handler = [](libprobe::probe&, libprobe::registers&) { return 0; }};
  use(plugin, mine);
  const pid_t child = fork();
  if (child == 0) alarm(60);
  use(plugin, mine);
  if (child == 0) _exit(failures);
  int status = -1;
  check(waitpid(child, &status, 0) == child && status == 0, "the child");
  std::printf("%d failures\n", failures);
  return failures;
}
