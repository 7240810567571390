// How a symbol_table is made: from the module's memory, its file, its debug file.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <tuple>

#include "os/maps.hpp"
#include "symbols/dynamic.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::symbols {
namespace {

// A file may have been replaced since it was loaded: its symbols would then be somewhere else.
bool is_file_of(const module& owner, const elf_file& file) {
  const auto build_id = file.build_id();
  if (!build_id.empty() && !owner.build_id.empty() && build_id != owner.build_id) return false;
  const auto headers = file.program_headers();
  bool same = false;
  while_loaded(owner, [&] {
    same = std::ranges::equal(headers, owner.headers, [](const GElf_Phdr& there, const ElfW(Phdr) & here) {
      return there.p_type == here.p_type && there.p_vaddr == here.p_vaddr && there.p_memsz == here.p_memsz;
    });
  });
  return same;
}

// The kernel knows whether the file that is mapped still has its name: another one may have it, with the same
// layout. (The device and the inode are not compared: overlay file systems show others in the maps.)
bool is_file_deleted(const module& owner) {
  if (owner.what != module::kind::library) return false;  // the program's is opened by the process itself
  const auto mapped = os::mapping_at(owner.segments.front().start);
  return mapped && mapped->path.ends_with(" (deleted)");
}

std::string debug_file_path(const std::vector<std::uint8_t>& build_id) {
  if (build_id.size() < 2) return {};
  std::string path = fmt::format("/usr/lib/debug/.build-id/{:02x}/", build_id.front());
  for (std::size_t at = 1; at < build_id.size(); ++at) path += fmt::format("{:02x}", build_id[at]);
  return path + ".debug";
}

bool is_dynamic_name(const GElf_Sym& entry) {
  const auto visibility = GELF_ST_VISIBILITY(entry.st_other);
  return GELF_ST_BIND(entry.st_info) != STB_LOCAL &&
         (visibility == STV_DEFAULT || visibility == STV_PROTECTED);
}

std::size_t leading_underscores(std::string_view name) {
  return std::min(name.find_first_not_of('_'), name.size());
}

/// Names that the linker or the assembler gives to ends, beginnings and stretches: not to code that begins.
bool is_marker(std::string_view name) {
  constexpr std::string_view whole[] = {
      "_etext", "__etext", "etext", "_end", "__executable_start", "__ehdr_start", "_GLOBAL_OFFSET_TABLE_"};
  if (std::ranges::find(whole, name) != std::end(whole)) return true;
  if (name.starts_with(".L") || name.starts_with("__start_") || name.starts_with("__stop_")) return true;
  // Mapping symbols: "$x" and "$d", perhaps with a number.
  return name.size() > 1 && name[0] == '$' && (name.size() == 2 || name[2] == '.');
}

// Aliases: the name that people know first.
bool is_better_known(const symbol& one, const symbol& other) {
  const auto rank = [](const symbol& which) {
    return std::tuple{!which.exported,   !which.global, which.hidden_version, leading_underscores(which.name),
                      which.name.size(), which.name,    which.version};
  };
  return rank(one) < rank(other);
}

}  // namespace

symbol_table::symbol_table(const module& owner) {
  while_loaded(owner, [&] { read_memory(owner); });
  read_file(owner);
  arrange();
}

void symbol_table::read_memory(const module& owner) {
  for (const segment& one : owner.segments) {
    if (one.executable) executable_.push_back({one.start, one.end});
  }
  const dynamic_view dynamic{owner.bias, owner.headers};
  const auto strings = dynamic.strings();
  dynamic_strings_.assign(strings.begin(), strings.end());
  const auto kept = [&](std::string_view text) {
    return text.empty()
               ? text
               : std::string_view{dynamic_strings_.data() + (text.data() - strings.data()), text.size()};
  };
  const auto entries = dynamic.symbols();
  for (std::size_t number = 0; number < entries.size(); ++number) {
    GElf_Sym entry;
    static_assert(sizeof entry == sizeof entries[number]);
    std::memcpy(&entry, &entries[number], sizeof entry);
    const auto version = dynamic.version_of(number);
    symbol one;
    one.name = kept(dynamic.string(entry.st_name));
    one.version = kept(version.name);
    one.hidden_version = version.hidden;
    one.exported = is_dynamic_name(entry);
    add(owner, entry, one);
  }
  dynamic.each_store([&](std::uintptr_t address, std::size_t size) {
    if (is_code(address)) data_.push_back({address, address + size, true});
  });
}

void symbol_table::read_file(const module& owner) {
  const bool deleted = is_file_deleted(owner);
  auto file = elf_file::open(owner.path);
  if (deleted && file && !owner.build_id.empty() && file->build_id() == owner.build_id) {
    // The same again: installed anew.
  } else if (deleted || (file && !is_file_of(owner, *file))) {
    file_is_gone_ = true;
    return;
  }
  if (!file || !is_file_of(owner, *file)) return;
  if (!file->sections().empty()) read_sections(owner, *file);
  if (read_symbols(owner, *file)) {
    files_.push_back(std::move(*file));
    return;
  }
  auto debug = elf_file::open(debug_file_path(owner.build_id));
  if (!debug || debug->build_id() != owner.build_id) return;
  if (read_symbols(owner, *debug)) files_.push_back(std::move(*debug));
}

void symbol_table::read_sections(const module& owner, const elf_file& file) {
  sections_known_ = true;
  executable_.clear();
  for (const auto& section : file.sections()) {
    const range where{owner.bias + section.address, owner.bias + section.address + section.size};
    if ((section.flags & SHF_EXECINSTR) != 0) executable_.push_back(where);
    if (section.name.starts_with(".plt") || section.name.starts_with(".iplt")) linkage_.push_back(where);
    if (section.name == "__rseq_cs") while_loaded(owner, [&] { read_restartable(owner, where); });
  }
}

bool symbol_table::read_symbols(const module& owner, const elf_file& file) {
  return file.each_symbol([&](const GElf_Sym& entry, std::string_view name) {
    symbol one;
    one.name = name;
    // The static linker writes the version of an exported symbol into its name.
    if (const std::size_t at = name.find('@'); at != std::string_view::npos && at != 0) {
      one.name = name.substr(0, at);
      one.hidden_version = !name.substr(at).starts_with("@@");
      one.version = name.substr(at + (one.hidden_version ? 1 : 2));
    }
    add(owner, entry, one);
  });
}

void symbol_table::add(const module& owner, const GElf_Sym& entry, symbol one) {
  switch (GELF_ST_TYPE(entry.st_info)) {
    case STT_FUNC:
      one.what = symbol::kind::function;
      break;
    case STT_GNU_IFUNC:
      one.what = symbol::kind::indirect;
      break;
    case STT_NOTYPE:
      if (is_marker(one.name)) return;
      one.what = symbol::kind::label;
      break;
    case STT_OBJECT:
      if (const auto start = owner.bias + entry.st_value; entry.st_size != 0 && is_code(start))
        data_.push_back({start, start + entry.st_size, false});
      return;
    default:
      return;
  }
  if (one.name.empty() || entry.st_shndx == SHN_UNDEF || entry.st_shndx == SHN_ABS) return;
  one.start = owner.bias + entry.st_value;
  one.size = entry.st_size;
  one.global = GELF_ST_BIND(entry.st_info) != STB_LOCAL && is_dynamic_name(entry);
  if (is_code(one.start)) symbols_.push_back(one);
}

bool symbol_table::is_code(std::uintptr_t address) const noexcept {
  return std::ranges::any_of(executable_, [&](const range& one) { return one.holds(address); });
}

void symbol_table::arrange() {
  std::ranges::sort(symbols_, [](const symbol& one, const symbol& other) {
    return std::tuple{one.start, one.name, !one.exported} <
           std::tuple{other.start, other.name, !other.exported};
  });
  const auto repeated = [](const symbol& first, const symbol& again) {
    return first.start == again.start && first.name == again.name && !again.exported;
  };
  symbols_.erase(std::unique(symbols_.begin(), symbols_.end(), repeated), symbols_.end());
  std::ranges::sort(symbols_, [](const symbol& one, const symbol& other) {
    const std::tuple mine{one.start, one.size == 0, one.size};
    const std::tuple its{other.start, other.size == 0, other.size};
    return mine != its ? mine < its : is_better_known(one, other);
  });
  symbols_.shrink_to_fit();
  std::erase_if(data_, [&](const data& one) { return !is_code(one.start); });  // sections are known now
  std::ranges::sort(data_, {}, &data::start);
  furthest_.reserve(symbols_.size());
  std::uintptr_t furthest = 0;
  for (const symbol& one : symbols_) furthest_.push_back(furthest = std::max(furthest, one.start + one.size));
}

void symbol_table::read_restartable(const module& owner, range section) {
  // linux/rseq.h; read here and not from there, because the header's presence differs between systems.
  struct critical_section {
    std::uint32_t version;
    std::uint32_t flags;
    std::uint64_t start;
    std::uint64_t length;
    std::uint64_t abort;
  };
  const segment* inside = owner.segment_at(section.start);
  if (inside == nullptr || !inside->readable || section.end > inside->end) return;
  for (auto at = section.start; at + sizeof(critical_section) <= section.end;
       at += sizeof(critical_section)) {
    critical_section one;
    std::memcpy(&one, reinterpret_cast<const void*>(at), sizeof one);
    if (one.length != 0) restartable_.push_back({one.start, one.start + one.length});
  }
}

}  // namespace libprobe::symbols
