// For a debugger that stops in it: probed functions that call each other, with handlers of all kinds.
// usage: stops [again]: registers a second time, after all has been removed
#include <cstdio>
#include <libprobe/libprobe.hpp>

namespace {

volatile int sum = 0;

[[gnu::noinline]] int probed_inner(int x) {
  sum = sum + x;
  return x + 1;
}
[[gnu::noinline]] int probed_middle(int x) {
  const int more = probed_inner(x);
  return more + 1;
}
[[gnu::noinline]] int probed_outer(int x) {
  const int more = probed_middle(x);
  return more + 1;
}

int entered = 0, returned = 0;

[[gnu::noinline]] void note_entry() { ++entered; }
[[gnu::noinline]] void note_return() { ++returned; }
[[gnu::noinline]] void note_between() { std::printf("between\n"); }

int on_entry(libprobe::probe&, libprobe::registers&) {
  note_entry();
  return 0;
}
void on_return(libprobe::retprobe_instance&, libprobe::registers&) { note_return(); }

int round_of_calls() {
  libprobe::probe entry{.at = &probed_middle, .pre_handler = on_entry};
  libprobe::retprobe followed{.at = &probed_inner, .handler = on_return};
  if (const auto why = libprobe::register_probe(entry)) {
    std::printf("refused: %s: %s\n", why.message().c_str(), libprobe::last_error_detail().c_str());
    return 0;
  }
  if (libprobe::register_retprobe(followed)) return 0;
  int result = 0;
  for (int i = 0; i < 3; ++i) result += probed_outer(i);
  if (const auto why = libprobe::commit_probes()) std::printf("commit: %s\n", why.message().c_str());
  return result;
}

}  // namespace

int main(int argc, char**) {
  std::setbuf(stdout, nullptr);
  int result = round_of_calls();
  note_between();
  if (argc > 1) result += round_of_calls();
  std::printf("%d calls seen at entry, %d at return, the result is %d; %zu left\n", entered, returned, result,
              libprobe::list_probes().size());
  return 0;
}
