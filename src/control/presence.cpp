#include "control/presence.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <span>

#include "epoch/backoff.hpp"
#include "os/process.hpp"
#include "symbols/modules.hpp"
#include "symbols/notes.hpp"

// A copy's state, to be found by its note, and that of its process, in the upper half, where it is not yet
// decided: a forked child may have the word of a claim that nobody will finish.
extern "C" {
[[gnu::visibility("hidden")]] constinit std::atomic<std::uint64_t> libprobe_presence{0};
[[gnu::visibility("hidden")]] extern const std::uint8_t libprobe_presence_note[];
}

namespace libprobe::control {

namespace {

constexpr std::uint64_t idle = 0, claiming = 1, at_work = 2;

std::uint64_t claim_of_this_process() noexcept {
  return claiming | std::uint64_t{static_cast<std::uint32_t>(os::home_process())} << 32;
}

/// The word that a note leads to, if it is one of ours and whole.
std::atomic<std::uint64_t>* word_of(const symbols::note& note, const dl_phdr_info& owner) noexcept {
  constexpr std::uint32_t presence = 1;
  constexpr std::size_t offset_at = 8;
  std::uint64_t offset = 0;
  if (note.owner != "libprobe" || note.type != presence || note.content.size() < offset_at + sizeof offset)
    return nullptr;
  std::memcpy(&offset, &note.content[offset_at], sizeof offset);
  const auto address = reinterpret_cast<std::uintptr_t>(&note.content[offset_at]) + offset;
  const std::span headers{owner.dlpi_phdr, owner.dlpi_phnum};
  const bool is_data = std::any_of(headers.begin(), headers.end(), [&](const ElfW(Phdr) & one) {
    return one.p_type == PT_LOAD && (one.p_flags & PF_W) != 0 &&
           address - (owner.dlpi_addr + one.p_vaddr) < one.p_memsz;
  });
  const bool whole = is_data && address % sizeof(std::uint64_t) == 0;
  return whole ? reinterpret_cast<std::atomic<std::uint64_t>*>(address) : nullptr;
}

struct others {
  const std::uint8_t* at_work = nullptr;  // the note's content
  bool first = false;                     // one that claims just now, and goes first
  bool last = false;                      // or comes after this one
};

/// What the other copies are doing. Under the loader's lock, as dl_iterate_phdr() has it, so that none is
/// unloaded meanwhile.
others look_around() noexcept {
  struct {
    others found;
    std::uint64_t claim;
  } seen{{}, claim_of_this_process()};
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t /*size*/, void* context) {
        auto& all = *static_cast<decltype(seen)*>(context);
        symbols::each_note(info->dlpi_addr, {info->dlpi_phdr, info->dlpi_phnum}, [&](const auto& note) {
          const auto* const word = word_of(note, *info);
          if (word == nullptr || word == &libprobe_presence) return false;
          // Pairs with the stores in claim_process(): of two that claim, one at least sees the other.
          const auto state = word->load(std::memory_order_seq_cst);
          if (state == at_work) all.found.at_work = note.content.data();
          if (state == all.claim)
            (std::less<>{}(word, &libprobe_presence) ? all.found.first : all.found.last) = true;
          return all.found.at_work != nullptr;
        });
        return all.found.at_work != nullptr ? 1 : 0;
      },
      &seen);
  return seen.found;
}

std::string place_of(const std::uint8_t* content) {
  const auto modules = symbols::current_modules();
  const auto* const owner = modules->find(reinterpret_cast<std::uintptr_t>(content));
  if (owner == nullptr) return "a module that has been unloaded";
  return owner->real_path.empty() ? owner->path : owner->real_path;
}

}  // namespace

errc claim_process(std::string& detail) {
  // Not by the loader's lock alone: a program may have a dl_iterate_phdr() of its own, without any. And never
  // waiting with it: the one that is waited for wants it, too.
  epoch::backoff pause;
  for (;;) {
    libprobe_presence.store(claim_of_this_process(), std::memory_order_seq_cst);  // pairs with look_around()
    auto seen = look_around();
    if (seen.at_work != nullptr) {
      libprobe_presence.store(idle, std::memory_order_seq_cst);
      detail = fmt::format("the copy of libprobe in {} is at work", place_of(seen.at_work));
      return errc::another_copy;
    }
    if (!seen.first && !seen.last) {
      libprobe_presence.store(at_work, std::memory_order_seq_cst);
      return errc::ok;
    }
    // The first by address goes on claiming until the others have made way.
    if (!seen.first) {
      pause.wait();
      continue;
    }
    libprobe_presence.store(idle, std::memory_order_seq_cst);
    do {
      pause.wait();
      seen = look_around();
    } while (seen.first && seen.at_work == nullptr);
  }
}

void give_process_up() noexcept { libprobe_presence.store(idle, std::memory_order_seq_cst); }

void stay_loaded() noexcept {
  static constinit std::atomic<bool> asked{false};
  if (libprobe_presence.load(std::memory_order_relaxed) != at_work || asked.exchange(true)) return;
  Dl_info here;
  const auto modules = symbols::current_modules();
  const auto* const owner = modules->find(reinterpret_cast<std::uintptr_t>(&libprobe_presence));
  if (owner == nullptr || owner->what == symbols::module::kind::program) return;
  if (::dladdr(libprobe_presence_note, &here) == 0) return;
  void* const kept = ::dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  if (kept != nullptr) ::dlclose(kept);
}

}  // namespace libprobe::control
