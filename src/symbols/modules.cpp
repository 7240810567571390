#include "symbols/modules.hpp"

#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <utility>

#include "os/maps.hpp"
#include "os/raw.hpp"
#include "symbols/dynamic.hpp"
#include "symbols/notes.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::symbols {
namespace {

/// To open the program's own file by. Without /proc the name by which it was started, which may have become
/// another file's: whoever reads it compares build ids.
const char* own_executable() {
  static const bool known = ::access("/proc/self/exe", R_OK) == 0;
  const auto* const started_as = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
  return known || started_as == nullptr ? "/proc/self/exe" : started_as;
}

std::string without_folders(std::string_view path) {
  return std::string{path.substr(path.find_last_of('/') + 1)};  // npos + 1 is 0
}

std::string follow_links(const std::string& path) {
  char target[PATH_MAX];
  return ::realpath(path.c_str(), target) != nullptr ? target : path;
}

std::string program_path() {
  char target[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", target, sizeof target);
  if (length <= 0) return follow_links(own_executable());
  std::string_view path{target, static_cast<std::size_t>(length)};
  constexpr std::string_view deleted = " (deleted)";
  if (path.ends_with(deleted)) path.remove_suffix(deleted.size());
  return std::string{path};
}

file_identity identify(const std::string& path) {
  struct stat status {};
  if (path.empty() || ::stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size,
          std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::vector<std::uint8_t> build_id_of(std::uintptr_t bias, std::span<const ElfW(Phdr)> headers) {
  std::vector<std::uint8_t> id;
  each_note(bias, headers, [&id](const note& one) {
    if (one.type != NT_GNU_BUILD_ID || one.owner != "GNU") return false;
    id.assign(one.content.begin(), one.content.end());
    return true;
  });
  return id;
}

bool has_go_note(std::uintptr_t bias, std::span<const ElfW(Phdr)> headers) {
  constexpr std::uint32_t go_build_id = 4;
  bool found = false;
  each_note(bias, headers,
            [&found](const note& one) { return found = one.type == go_build_id && one.owner == "Go"; });
  return found;
}

std::vector<segment> segments_of(std::uintptr_t bias, std::span<const ElfW(Phdr)> headers) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  std::vector<segment> segments;
  for (const ElfW(Phdr) & header : headers) {
    if (header.p_type != PT_LOAD || header.p_memsz == 0) continue;
    const std::uintptr_t start = bias + header.p_vaddr;
    segments.push_back({start & ~(page - 1), (start + header.p_memsz + page - 1) & ~(page - 1),
                        (header.p_flags & PF_R) != 0, (header.p_flags & PF_X) != 0});
  }
  return segments;
}

struct listing {
  load_counts counts;
  std::vector<std::shared_ptr<module>> modules;
};

load_counts counts_in(const dl_phdr_info& info) { return {info.dlpi_adds, info.dlpi_subs}; }

// dl_iterate_phdr() is C: an exception that left its callback would end the process.
template <class Visit>
int for_each_loaded(const Visit& visit) {
  struct {
    const Visit& visit;
    std::exception_ptr failure;
  } call{visit, nullptr};
  const int answer = ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t /*size*/, void* context) {
        auto& self = *static_cast<decltype(call)*>(context);
        try {
          return self.visit(*info);
        } catch (...) {
          self.failure = std::current_exception();
          return -1;
        }
      },
      &call);
  if (call.failure) std::rethrow_exception(call.failure);
  return answer;
}

// What must be read from the modules' memory is read here, under the loader's lock; files wait until after
// it.
int list_module(const dl_phdr_info& info, listing& list) {
  list.counts = counts_in(info);
  auto one = std::make_shared<module>();
  one->bias = info.dlpi_addr;
  one->headers = {info.dlpi_phdr, info.dlpi_phnum};
  one->segments = segments_of(one->bias, one->headers);
  if (one->segments.empty()) return 0;
  one->build_id = build_id_of(one->bias, one->headers);
  one->has_go_code = has_go_note(one->bias, one->headers);
  one->soname = dynamic_view{one->bias, one->headers}.soname();
  const std::uintptr_t vdso = ::getauxval(AT_SYSINFO_EHDR);
  if (vdso != 0 && one->segment_at(vdso) != nullptr) {
    one->what = module::kind::vdso;
    one->file_name = one->soname;
  } else if (list.modules.empty()) {
    one->what = module::kind::program;
    one->path = own_executable();
  } else {
    one->path = info.dlpi_name != nullptr ? info.dlpi_name : "";
    one->file_name = without_folders(one->path);
  }
  list.modules.push_back(std::move(one));
  return 0;
}

// A library loaded by a relative path cannot be opened by it once the program has changed its folder.
void make_path_absolute(module& one) {
  if (one.what != module::kind::library || one.path.starts_with('/')) return;
  if (const auto mapped = os::mapping_at(one.segments.front().start)) one.path = mapped->path;
}

void name_file(module& one) {
  if (one.what == module::kind::vdso) return;
  one.real_path = one.what == module::kind::program ? program_path() : follow_links(one.path);
  if (one.file_name.empty()) one.file_name = without_folders(one.real_path);
}

bool is_same(const module& before, const module& now, bool nothing_removed) {
  if (before.bias != now.bias || before.headers.data() != now.headers.data() || before.path != now.path ||
      before.segments != now.segments || before.build_id != now.build_id) {
    return false;
  }
  // Loaded again in the same place: the same code if it has the same build id, or comes from an unchanged
  // file.
  return nothing_removed || !now.build_id.empty() || before.file == now.file;
}

std::shared_ptr<const snapshot> take_snapshot(const snapshot* before) {
  listing list;
  for_each_loaded([&list](const dl_phdr_info& info) { return list_module(info, list); });
  auto now = std::make_shared<snapshot>();
  now->counts = list.counts;
  const bool nothing_removed = before != nullptr && before->counts.removed == now->counts.removed;
  for (auto& one : list.modules) {
    make_path_absolute(*one);
    one->file = identify(one->path);
    std::shared_ptr<const module> kept = one;
    if (before != nullptr) {
      const auto old = std::ranges::find_if(
          before->modules, [&](const auto& known) { return is_same(*known, *one, nothing_removed); });
      if (old != before->modules.end()) kept = *old;
    }
    if (kept == one) name_file(*one);
    for (const segment& part : kept->segments) now->by_address.push_back({part, kept.get()});
    now->modules.push_back(std::move(kept));
  }
  std::ranges::sort(now->by_address, {}, [](const snapshot::place& one) { return one.where.start; });
  return now;
}

struct cache {
  std::mutex mutex;
  std::shared_ptr<const snapshot> latest;
};

// Never destroyed: destructors of the program's static objects still remove probes.
cache& the_cache() {
  static cache& only = *new cache;
  return only;
}

}  // namespace

module::module() = default;
module::~module() = default;

const segment* module::segment_at(std::uintptr_t address) const noexcept {
  const auto found = std::ranges::find_if(segments, [&](const segment& one) { return one.holds(address); });
  return found == segments.end() ? nullptr : &*found;
}

bool module::is_called(std::string_view name) const noexcept {
  if (name.empty()) return false;
  return name == soname || name == file_name || name == path || name == real_path ||
         name == without_folders(real_path);
}

const symbol_table& module::symbols() const {
  std::call_once(read_, [&] { symbols_ = std::make_unique<const symbol_table>(*this); });
  return *symbols_;
}

const module* snapshot::find(std::uintptr_t address) const noexcept {
  auto above =
      std::ranges::upper_bound(by_address, address, {}, [](const place& one) { return one.where.start; });
  if (above == by_address.begin()) return nullptr;
  const place& below = *std::prev(above);
  return below.where.holds(address) ? below.owner : nullptr;
}

load_counts current_counts() noexcept {
  load_counts counts;
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* context) {
        *static_cast<load_counts*>(context) = counts_in(*info);
        return 1;
      },
      &counts);
  return counts;
}

std::shared_ptr<const snapshot> current_modules() {
  // The loader is never asked under our own lock: a constructor run by dlopen() may call us with the loader's
  // held.
  cache& known = the_cache();
  for (;;) {
    const load_counts counts = current_counts();
    std::shared_ptr<const snapshot> before;
    {
      const std::lock_guard lock{known.mutex};
      before = known.latest;
    }
    if (before != nullptr && before->counts == counts) return before;
    auto now = take_snapshot(before.get());
    const std::lock_guard lock{known.mutex};
    // Each is made from the one before it, so that a module that stays is one object in all of them.
    if (known.latest != before) continue;
    return known.latest = std::move(now);
  }
}

bool while_none_leaves(unsigned long long removed, void (*action)(void*), void* context) {
  return for_each_loaded([&](const dl_phdr_info& info) {
           if (info.dlpi_subs != removed) return -1;
           action(context);
           return 1;
         }) == 1;
}

bool while_loaded(const module& which, const std::function<void()>& action) {
  return for_each_loaded([&](const dl_phdr_info& info) {
           if (info.dlpi_addr != which.bias || info.dlpi_phdr != which.headers.data()) return 0;
           action();
           return 1;
         }) == 1;
}

bool read_from_file(std::uintptr_t address, std::span<std::uint8_t> to) {
  const auto modules = current_modules();
  const module* const owner = modules->find(address);
  if (owner == nullptr || owner->path.empty()) return false;
  std::uint64_t offset = 0;
  bool found = false;
  while_loaded(*owner, [&] {
    for (const auto& header : owner->headers) {
      const auto start = owner->bias + header.p_vaddr;
      if (header.p_type != PT_LOAD || address < start || address + to.size() > start + header.p_filesz)
        continue;
      offset = address - start + header.p_offset;
      found = true;
    }
  });
  if (!found) return false;
  const os::raw::file file{owner->path.c_str(), O_RDONLY};
  return file.read_at(offset, to) == os::raw::word(to.size());
}

}  // namespace libprobe::symbols
