// Why a call was refused: one enumerator per refusal.
#pragma once

#include <string>
#include <system_error>
#include <type_traits>

namespace libprobe {

/// Every reason for which libprobe refuses something. Each compares equal to the `std::errc` that the Linux
/// kernel's kprobes would give for it (named behind each), so `ec == std::errc::invalid_argument` works.
enum class errc {
  ok = 0,
  symbol_not_found,          ///< ENOENT: no module defines that name
  module_not_found,          ///< ENOENT: no loaded module has that soname or file name
  ambiguous_symbol,          ///< EADDRNOTAVAIL: several places match; last_error_detail() lists them
  malformed_location,        ///< EINVAL: an empty location, a bad offset, a pointer to a virtual member
  not_executable,            ///< EINVAL: nothing is mapped there, or not as code
  unknown_function,          ///< EILSEQ: no symbol and no unwind entry says where the function starts
  not_instruction_boundary,  ///< EILSEQ: the address lies inside an instruction
  data_in_text,  ///< EILSEQ: the address lies in data among code: a jump table, what a relocation or a symbol
                 ///< shows
  undecodable_instruction,  ///< EOPNOTSUPP: the bytes are no instruction known to the decoder
  unsupported_instruction,  ///< EOPNOTSUPP: known, but it cannot be displaced (far transfers, int3, ...)
  denied_address,           ///< EINVAL: a place that must never be probed (libprobe itself, vDSO, ...)
  not_function_entry,       ///< EINVAL: the kind of probe needs a function's first instruction
  already_registered,       ///< EINVAL: the probe object is registered
  not_registered,           ///< EINVAL: enable or disable of a probe that is not registered
  no_handler,               ///< EINVAL: a probe without any handler
  out_of_code_memory,       ///< ENOMEM: no executable memory to be had within reach of the address
  out_of_memory,            ///< ENOMEM: the heap is exhausted
  text_not_writable,        ///< EACCES: the kernel refuses to write the program's text
  text_changed,             ///< EBUSY: the bytes there are not those that were decoded; someone else patches
  signal_refused,           ///< EOPNOTSUPP: the kernel refuses our signal handlers
  unsupported_environment,  ///< EOPNOTSUPP: valgrind; or nobody can tell what is mapped at the address
  trap_blocked,           ///< EBUSY: a thread has SIGTRAP blocked, and the kernel does not let us change that
  would_deadlock,         ///< EDEADLK: the call would wait for the handler that it was made from
  unfollowable_function,  ///< EINVAL: it returns twice (setjmp, vfork, ...), or works on its caller's frame
  another_copy,  ///< EBUSY: another copy of libprobe in this process has probes; the detail tells whose
  unsupported_runtime,  ///< EOPNOTSUPP: a function of a runtime with stacks of its own (Go)
};

/// The category of all libprobe errors. Lives as long as the process.
const std::error_category& error_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), error_category()}; }

/// What the last refused libprobe call of the calling thread had to say beyond its error code: which name was
/// not found, which candidates an ambiguous name has, which system call failed. Empty if there is nothing to
/// add. Any thread; not from a handler; allocates.
std::string last_error_detail();

}  // namespace libprobe

template <>
struct std::is_error_code_enum<libprobe::errc> : std::true_type {};
