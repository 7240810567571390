// A program in which every registration must be refused as a whole, with a reason, and which then goes on.
// usage: refused REASON
#include <cstring>

#include "support/whole_cycle.hpp"

namespace {

using namespace libprobe;
using test::flaw;

flaw all_is_refused(const char* reason) {
  using namespace test::cycle;
  const auto before = bytes_of(text_of(&sum));
  probe p{.at = &sum, .pre_handler = [](probe&, registers&) { return 0; }};
  retprobe r{.at = &sum, .handler = [](retprobe_instance&, registers&) {}};
  std::string said;
  for (int round = 0; round < 2; ++round) {
    const auto why = register_probe(p);
    HOLDS(why == errc::unsupported_environment && why == std::errc::operation_not_supported);
    said = last_error_detail();
    HOLDS(said.find(reason) != std::string::npos);
    HOLDS(register_retprobe(r) == errc::unsupported_environment);
    HOLDS(!commit_probes() && list_probes().empty());
    HOLDS(bytes_of(text_of(&sum)) == before && sum(1, 2) == 3);
  }
  std::puts(("refused: " + said).c_str());
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) { return argc == 2 ? test::reported(all_is_refused(argv[1])) : 2; }
