#include "symbols/dynamic.hpp"
#include "arch/machine.hpp"

#include <algorithm>
#include <cstring>

namespace libprobe::symbols {
namespace {

// The GNU hash table does not say how many symbols there are: the last chain's end does.
std::size_t count_by_gnu_hash(const std::uint32_t* table) {
  const std::uint32_t buckets = table[0];
  const std::uint32_t first = table[1];
  const std::uint32_t* bucket = table + 4 + table[2] * (sizeof(ElfW(Addr)) / sizeof(std::uint32_t));
  const std::uint32_t* chain = bucket + buckets;
  std::uint32_t last = buckets == 0 ? 0 : *std::max_element(bucket, bucket + buckets);
  if (last < first) return first;
  while ((chain[last - first] & 1) == 0) ++last;
  return std::size_t{last} + 1;
}

template <class Record>
const Record* record_at(const std::byte* place) {
  return reinterpret_cast<const Record*>(place);
}

}  // namespace

dynamic_view::dynamic_view(std::uintptr_t bias, std::span<const ElfW(Phdr)> headers) : bias_{bias} {
  const auto dynamic =
      std::ranges::find_if(headers, [](const ElfW(Phdr) & header) { return header.p_type == PT_DYNAMIC; });
  if (dynamic == headers.end()) return;

  // glibc adds the bias to these pointers in place; the vDSO's and those of other loaders are left as they
  // were.
  const auto pointer = [&](ElfW(Addr) value) {
    const bool absolute = std::ranges::any_of(headers, [&](const ElfW(Phdr) & header) {
      return header.p_type == PT_LOAD && value - (bias + header.p_vaddr) < header.p_memsz;
    });
    return reinterpret_cast<const std::byte*>(absolute ? value : bias + value);
  };

  const std::byte* relocations[2] = {};
  std::size_t relocation_sizes[2] = {};
  const std::byte* definitions = nullptr;
  const std::byte* needs = nullptr;
  std::size_t definition_count = 0;
  std::size_t need_count = 0;
  const std::uint32_t* gnu_hash = nullptr;
  const std::uint32_t* sysv_hash = nullptr;
  for (const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(bias + dynamic->p_vaddr);
       entry->d_tag != DT_NULL; ++entry) {
    const ElfW(Addr) value = entry->d_un.d_val;
    switch (entry->d_tag) {
      case DT_SYMTAB:
        symbols_ = record_at<ElfW(Sym)>(pointer(value));
        break;
      case DT_STRTAB:
        strings_ = reinterpret_cast<const char*>(pointer(value));
        break;
      case DT_STRSZ:
        strings_size_ = value;
        break;
      case DT_SONAME:
        soname_ = value;
        break;
      case DT_VERSYM:
        versions_ = record_at<ElfW(Half)>(pointer(value));
        break;
      case DT_VERDEF:
        definitions = pointer(value);
        break;
      case DT_VERDEFNUM:
        definition_count = value;
        break;
      case DT_VERNEED:
        needs = pointer(value);
        break;
      case DT_VERNEEDNUM:
        need_count = value;
        break;
      case DT_GNU_HASH:
        gnu_hash = record_at<std::uint32_t>(pointer(value));
        break;
      case DT_HASH:
        sysv_hash = record_at<std::uint32_t>(pointer(value));
        break;
      case DT_JMPREL:
        relocations[0] = pointer(value);
        break;
      case DT_PLTRELSZ:
        relocation_sizes[0] = value;
        break;
      case DT_RELA:
        relocations[1] = pointer(value);
        break;
      case DT_RELASZ:
        relocation_sizes[1] = value;
        break;
      default:
        break;
    }
  }
  if (symbols_ == nullptr || strings_ == nullptr) {
    strings_ = nullptr;
    strings_size_ = 0;
    return;
  }
  symbol_count_ = sysv_hash != nullptr ? sysv_hash[1] : gnu_hash != nullptr ? count_by_gnu_hash(gnu_hash) : 0;
  for (int kind = 0; kind < 2; ++kind) {
    if (relocations[kind] == nullptr) continue;
    relocations_[kind] = {record_at<ElfW(Rela)>(relocations[kind]),
                          relocation_sizes[kind] / sizeof(ElfW(Rela))};
  }
  if (versions_ != nullptr) read_versions(definitions, definition_count, needs, need_count);
}

std::string_view dynamic_view::string(std::size_t offset) const noexcept {
  if (offset == 0 || offset >= strings_size_) return {};
  return {strings_ + offset, ::strnlen(strings_ + offset, strings_size_ - offset)};
}

void dynamic_view::name_version(std::size_t index, std::size_t string_offset) {
  index &= 0x7fff;
  if (version_names_.size() <= index) version_names_.resize(index + 1);
  version_names_[index] = string(string_offset);
}

void dynamic_view::read_versions(const std::byte* definitions, std::size_t definition_count,
                                 const std::byte* needs, std::size_t need_count) {
  for (; definitions != nullptr && definition_count != 0; --definition_count) {
    const auto* definition = record_at<ElfW(Verdef)>(definitions);
    // The base definition is the file's own name and no version of a symbol.
    if ((definition->vd_flags & VER_FLG_BASE) == 0) {
      name_version(definition->vd_ndx, record_at<ElfW(Verdaux)>(definitions + definition->vd_aux)->vda_name);
    }
    definitions = definition->vd_next == 0 ? nullptr : definitions + definition->vd_next;
  }
  for (; needs != nullptr && need_count != 0; --need_count) {
    const auto* need = record_at<ElfW(Verneed)>(needs);
    const std::byte* auxiliary = needs + need->vn_aux;
    for (std::size_t count = need->vn_cnt; count != 0; --count) {
      const auto* one = record_at<ElfW(Vernaux)>(auxiliary);
      name_version(one->vna_other, one->vna_name);
      auxiliary += one->vna_next;
    }
    needs = need->vn_next == 0 ? nullptr : needs + need->vn_next;
  }
}

dynamic_view::version dynamic_view::version_of(std::size_t index) const noexcept {
  if (versions_ == nullptr) return {};
  const std::size_t number = versions_[index] & 0x7fff;
  return {number < version_names_.size() ? version_names_[number] : std::string_view{},
          (versions_[index] & 0x8000) != 0};
}

dynamic_view::import dynamic_view::imported_at(std::uintptr_t slot) const noexcept {
  for (const auto& relocations : relocations_) {
    for (const ElfW(Rela) & relocation : relocations) {
      if (bias_ + relocation.r_offset != slot) continue;
      if (!arch::stores_function_address(ELF64_R_TYPE(relocation.r_info))) return {};
      const std::size_t index = ELF64_R_SYM(relocation.r_info);
      if (index == 0) return {};
      return {string(symbols_[index].st_name), version_of(index).name};
    }
  }
  return {};
}

}  // namespace libprobe::symbols
