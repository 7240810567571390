// Every instruction of a library function gets a probe, all in one pass; all go in one grace period.
#include <zlib.h>

#include <cstdio>
#include <deque>
#include <libprobe/libprobe.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace {
int only_count(libprobe::probe& /*unused*/, libprobe::registers& /*unused*/) { return 0; }
}  // namespace

int main() {
  constexpr std::string_view text = "a probe at every instruction";
  const auto* bytes = reinterpret_cast<const Bytef*>(text.data());
  const auto size = static_cast<uInt>(text.size());
  const auto expected = adler32(1, bytes, size);

  // Which offsets are instructions? Those that are accepted; a disabled probe changes no byte.
  std::deque<libprobe::probe> probes;
  for (unsigned offset = 0; offset < 1024; ++offset) {
    libprobe::probe trial{.at = "libz.so.1:adler32_z+" + std::to_string(offset),
                          .pre_handler = only_count,
                          .flags = libprobe::probe_flags::disabled};
    if (libprobe::register_probe(trial)) continue;
    auto& p = probes.emplace_back();
    p.at = trial.at;
    p.pre_handler = only_count;
  }

  libprobe::batch all;
  for (auto& p : probes) all.add(p);
  if (const auto error = all.commit()) {
    std::printf("refused: %s: %s\n", error.message().c_str(), libprobe::last_error_detail().c_str());
    return 1;
  }
  const auto probed = adler32(1, bytes, size);

  std::vector<libprobe::probe*> pointers;
  std::uint64_t hits = 0;
  for (auto& p : probes) {
    pointers.push_back(&p);
    hits += libprobe::hits(p);
  }
  libprobe::unregister_probes(pointers);
  std::printf("%zu probes, %llu hits, the checksum is %s\n", probes.size(),
              static_cast<unsigned long long>(hits), probed == expected ? "the same" : "WRONG");
  return probes.size() > 50 && hits > 10 && probed == expected && libprobe::list_probes().empty() ? 0 : 1;
}
