// Fault injection: fopen fails for one file, so that the program's error path can be tested.
#include <cstdio>
#include <cstring>
#include <libprobe/libprobe.hpp>

namespace {

int fail_for_one_file(libprobe::probe& /*unused*/, libprobe::registers& regs) {
  if (std::strcmp(regs.argument<const char*>(0), "/dev/null") != 0) return 0;
  libprobe::override_return<std::FILE*>(regs, nullptr);
  return 1;  // the instruction pointer is set: fopen does not run at all
}

bool load(const char* name) {
  std::FILE* file = std::fopen(name, "r");
  if (file == nullptr) return false;
  std::fclose(file);
  return true;
}

}  // namespace

int main() {
  const bool before = load("/dev/null");
  libprobe::probe injected{.at = "libc.so.6:fopen", .pre_handler = fail_for_one_file};
  if (const auto error = libprobe::register_probe(injected)) {
    std::printf("refused: %s: %s\n", error.message().c_str(), libprobe::last_error_detail().c_str());
    return 1;
  }
  const bool during = load("/dev/null");
  const bool other = load("/dev/zero");
  libprobe::unregister_probe(injected);
  const bool after = load("/dev/null");

  const auto word = [](bool opened) { return opened ? "opened" : "failed"; };
  std::printf("before: %s; during: %s, another file %s; after: %s\n", word(before), word(during), word(other),
              word(after));
  return before && !during && other && after ? 0 : 1;
}
