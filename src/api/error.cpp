// Error codes in words, and their kernel equivalents.
#include <libprobe/error.hpp>

#include "api/detail.hpp"

namespace libprobe {

namespace {

struct refusal {
  errc code;
  std::errc kernel;
  const char* words;
};

constexpr refusal refusals[] = {
    {errc::symbol_not_found, std::errc::no_such_file_or_directory, "no such symbol"},
    {errc::module_not_found, std::errc::no_such_file_or_directory, "no such module is loaded"},
    {errc::ambiguous_symbol, std::errc::address_not_available, "the symbol is ambiguous"},
    {errc::malformed_location, std::errc::invalid_argument, "malformed location"},
    {errc::not_executable, std::errc::invalid_argument, "no executable code at that address"},
    {errc::unknown_function, std::errc::illegal_byte_sequence, "the function around the address is unknown"},
    {errc::not_instruction_boundary, std::errc::illegal_byte_sequence,
     "not the first byte of an instruction"},
    {errc::data_in_text, std::errc::illegal_byte_sequence, "data among code, and no instruction"},
    {errc::undecodable_instruction, std::errc::operation_not_supported, "undecodable instruction"},
    {errc::unsupported_instruction, std::errc::operation_not_supported, "instruction cannot be probed"},
    {errc::denied_address, std::errc::invalid_argument, "that code must not be probed"},
    {errc::not_function_entry, std::errc::invalid_argument, "not a function's entry"},
    {errc::unfollowable_function, std::errc::invalid_argument, "calls of that function cannot be followed"},
    {errc::already_registered, std::errc::invalid_argument, "the probe is registered already"},
    {errc::not_registered, std::errc::invalid_argument, "the probe is not registered"},
    {errc::no_handler, std::errc::invalid_argument, "the probe has no handler"},
    {errc::out_of_code_memory, std::errc::not_enough_memory, "no code memory within reach"},
    {errc::out_of_memory, std::errc::not_enough_memory, "out of memory"},
    {errc::text_not_writable, std::errc::permission_denied, "the program's text cannot be written"},
    {errc::text_changed, std::errc::device_or_resource_busy,
     "the program's text has been changed by someone else"},
    {errc::signal_refused, std::errc::operation_not_supported, "signal handlers cannot be installed"},
    {errc::unsupported_environment, std::errc::operation_not_supported,
     "probes cannot work in this environment"},
    {errc::trap_blocked, std::errc::device_or_resource_busy, "a thread has SIGTRAP blocked"},
    {errc::would_deadlock, std::errc::resource_deadlock_would_occur,
     "the call would wait for its own handler"},
    {errc::another_copy, std::errc::device_or_resource_busy,
     "another copy of libprobe has this process in hand"},
    {errc::unsupported_runtime, std::errc::operation_not_supported,
     "the function belongs to a runtime that cannot be probed"},
};

class category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "libprobe"; }
  [[nodiscard]] std::string message(int value) const override {
    if (value == 0) return "success";
    const auto* found = find(value);
    return found != nullptr ? found->words : "unknown libprobe error";
  }
  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    const auto* found = find(value);
    return found != nullptr ? std::make_error_condition(found->kernel) : std::error_condition{value, *this};
  }

 private:
  static const refusal* find(int value) noexcept {
    for (const auto& r : refusals) {
      if (static_cast<int>(r.code) == value) return &r;
    }
    return nullptr;
  }
};

}  // namespace

const std::error_category& error_category() noexcept {
  alignas(category) static std::byte storage[sizeof(category)];
  static const category* const one = new (storage) category;  // outlives static destructors
  return *one;
}

namespace api {

std::string& detail_of_last_error() noexcept {
  thread_local std::string text;
  return text;
}

std::error_code refuse(errc why, std::string detail) noexcept {
  detail_of_last_error() = std::move(detail);
  if (why == errc::ok) return {};  // equal to every other success, whatever its category
  return why;
}

}  // namespace api

std::string last_error_detail() { return api::detail_of_last_error(); }

}  // namespace libprobe
