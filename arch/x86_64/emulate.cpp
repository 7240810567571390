// Does what a displaced instruction would have done, on the saved registers. Part of the hit path.
#include "arch/slot.hpp"
#include "arch/trap.hpp"

extern "C" bool libprobe_guarded_stack_load(std::uintptr_t from, std::uint64_t* to);

namespace libprobe::arch {

namespace {

using operation = displaced::operation;

// Register numbers as instructions encode them: Intel SDM vol. 2, table 3-1.
constexpr std::uint64_t registers::*const by_number[16] = {
    &registers::rax, &registers::rcx, &registers::rdx, &registers::rbx, &registers::rsp, &registers::rbp,
    &registers::rsi, &registers::rdi, &registers::r8,  &registers::r9,  &registers::r10, &registers::r11,
    &registers::r12, &registers::r13, &registers::r14, &registers::r15};

constexpr std::uint64_t carry = 1U << 0, parity = 1U << 2, zero = 1U << 6, sign = 1U << 7,
                        overflow = 1U << 11;
constexpr std::uint64_t lahf_flags = 0xd5;  // SF ZF AF PF CF
// What popf may change in user mode: ID, AC, NT, OF, DF, TF and the arithmetic flags.
constexpr std::uint64_t popf_flags = 0x244dd5;
constexpr std::uint64_t resume_and_virtual = 0x30000;  // pushf stores RF and VM as zero

bool is_high_byte(const displaced& plan, std::uint8_t number) noexcept {
  return plan.width == 1 && plan.legacy_byte_registers && number >= 4 && number < 8;
}

std::uint64_t read(const displaced& plan, const registers& regs, std::uint8_t number) noexcept {
  if (is_high_byte(plan, number)) return (regs.*by_number[number - 4]) >> 8;
  return regs.*by_number[number];
}

void write(const displaced& plan, registers& regs, std::uint8_t number, std::uint64_t value) noexcept {
  auto& whole = regs.*by_number[is_high_byte(plan, number) ? number - 4 : number];
  switch (plan.width) {
    case 1:
      whole = is_high_byte(plan, number) ? (whole & ~std::uint64_t{0xff00}) | ((value & 0xff) << 8)
                                         : (whole & ~std::uint64_t{0xff}) | (value & 0xff);
      break;
    case 2:
      whole = (whole & ~std::uint64_t{0xffff}) | (value & 0xffff);
      break;
    case 4:
      whole = value & 0xffffffff;
      break;
    default:
      whole = value;
      break;
  }
}

// The CPU itself computes the result and the flags, so undefined ones come out as they would have.
#define LIBPROBE_ARITHMETIC(mnemonic, suffix)                                 \
  asm("btl $0, %k[in]\n\t" mnemonic suffix " %[b], %[a]\n\tlahf\n\tseto %%al" \
      : [a] "+r"(a), "=&a"(ax)                                                \
      : [b] "r"(b), [in] "r"(static_cast<std::uint32_t>(flags))               \
      : "cc")

template <class T>
std::uint64_t arithmetic_in(operation what, std::uint64_t left, std::uint64_t right,
                            std::uint64_t& flags) noexcept;

#define LIBPROBE_ARITHMETIC_IN(type, suffix)                                                                 \
  template <>                                                                                                \
  std::uint64_t arithmetic_in<type>(operation what, std::uint64_t left, std::uint64_t right,                 \
                                    std::uint64_t & flags) noexcept {                                        \
    auto a = static_cast<type>(left);                                                                        \
    const auto b = static_cast<type>(right);                                                                 \
    std::uint32_t ax = 0;                                                                                    \
    switch (what) {                                                                                          \
      case operation::add_:                                                                                  \
        LIBPROBE_ARITHMETIC("add", suffix);                                                                  \
        break;                                                                                               \
      case operation::or_:                                                                                   \
        LIBPROBE_ARITHMETIC("or", suffix);                                                                   \
        break;                                                                                               \
      case operation::adc_:                                                                                  \
        LIBPROBE_ARITHMETIC("adc", suffix);                                                                  \
        break;                                                                                               \
      case operation::sbb_:                                                                                  \
        LIBPROBE_ARITHMETIC("sbb", suffix);                                                                  \
        break;                                                                                               \
      case operation::and_:                                                                                  \
        LIBPROBE_ARITHMETIC("and", suffix);                                                                  \
        break;                                                                                               \
      case operation::sub_:                                                                                  \
        LIBPROBE_ARITHMETIC("sub", suffix);                                                                  \
        break;                                                                                               \
      case operation::xor_:                                                                                  \
        LIBPROBE_ARITHMETIC("xor", suffix);                                                                  \
        break;                                                                                               \
      case operation::cmp_:                                                                                  \
        LIBPROBE_ARITHMETIC("cmp", suffix);                                                                  \
        break;                                                                                               \
      default:                                                                                               \
        LIBPROBE_ARITHMETIC("test", suffix);                                                                 \
        break;                                                                                               \
    }                                                                                                        \
    flags = (flags & ~(lahf_flags | overflow)) | ((ax >> 8) & lahf_flags) | ((ax & 1U) != 0 ? overflow : 0); \
    return a;                                                                                                \
  }

LIBPROBE_ARITHMETIC_IN(std::uint8_t, "b")
LIBPROBE_ARITHMETIC_IN(std::uint16_t, "w")
LIBPROBE_ARITHMETIC_IN(std::uint32_t, "l")
LIBPROBE_ARITHMETIC_IN(std::uint64_t, "q")
#undef LIBPROBE_ARITHMETIC_IN
#undef LIBPROBE_ARITHMETIC

void arithmetic(const displaced& plan, registers& regs) noexcept {
  const std::uint64_t left = read(plan, regs, plan.to);
  const std::uint64_t right = plan.from == displaced::no_register ? static_cast<std::uint64_t>(plan.value)
                                                                  : read(plan, regs, plan.from);
  std::uint64_t value = 0;
  switch (plan.width) {
    case 1:
      value = arithmetic_in<std::uint8_t>(plan.what, left, right, regs.rflags);
      break;
    case 2:
      value = arithmetic_in<std::uint16_t>(plan.what, left, right, regs.rflags);
      break;
    case 4:
      value = arithmetic_in<std::uint32_t>(plan.what, left, right, regs.rflags);
      break;
    default:
      value = arithmetic_in<std::uint64_t>(plan.what, left, right, regs.rflags);
      break;
  }
  if (plan.what != operation::cmp_ && plan.what != operation::test_) write(plan, regs, plan.to, value);
}

std::uint64_t effective_address(const displaced& plan, const registers& regs) noexcept {
  auto address = static_cast<std::uint64_t>(plan.value);
  if (plan.base != displaced::no_register) address += regs.*by_number[plan.base];
  if (plan.index != displaced::no_register) address += (regs.*by_number[plan.index]) << plan.scale;
  return plan.short_address ? address & 0xffffffff : address;
}

/// The fs segment's base: the thread control block's first word points to itself (System V ABI, TLS variant
/// II).
std::uint64_t fs_base() noexcept {
  std::uint64_t base = 0;
  asm("movq %%fs:0, %0" : "=r"(base));
  return base;
}

/// The pointer behind an indirect call or jump. Based on rsp or rbp it is read through the stack segment,
/// where another exception tells of a non-canonical address.
bool load_pointer(const displaced& plan, const registers& regs, std::uint64_t& to) noexcept {
  const auto from = effective_address(plan, regs);
  if (plan.through_fs) return guarded_load(from + fs_base(), to);
  constexpr std::uint8_t rsp = 4, rbp = 5;
  return plan.base == rsp || plan.base == rbp ? libprobe_guarded_stack_load(from, &to)
                                              : guarded_load(from, to);
}

/// Intel SDM vol. 1, appendix B: pairs of condition and negation.
bool holds(std::uint8_t condition, std::uint64_t flags) noexcept {
  const auto set = [flags](std::uint64_t mask) { return (flags & mask) != 0; };
  bool answer = false;
  switch (condition >> 1) {
    case 0:
      answer = set(overflow);
      break;
    case 1:
      answer = set(carry);
      break;
    case 2:
      answer = set(zero);
      break;
    case 3:
      answer = set(carry | zero);
      break;
    case 4:
      answer = set(sign);
      break;
    case 5:
      answer = set(parity);
      break;
    case 6:
      answer = set(sign) != set(overflow);
      break;
    default:
      answer = set(zero) || set(sign) != set(overflow);
      break;
  }
  return answer != ((condition & 1) != 0);
}

/// The stack below a live stack pointer is always there: the signal frame that brought us here lies on it.
void push(registers& regs, std::uint64_t value) noexcept {
  regs.rsp -= sizeof value;
  *reinterpret_cast<volatile std::uint64_t*>(regs.rsp) = value;
}

/// A branch to what cannot be an address raises #GP at the branch itself, before anything has changed.
/// Resuming there would raise it in our own last instruction, so a load has to raise it instead.
bool can_go(std::uint64_t to) noexcept {
  const auto upper = static_cast<std::int64_t>(to) >> 47;
  std::uint64_t word = 0;
  return upper == 0 || upper == -1 || guarded_load(to, word);
}

bool loop_taken(const displaced& plan, registers& regs) noexcept {
  // With a 67 prefix ecx counts, and writing it clears the upper half, as every 32-bit write does.
  if (plan.what == operation::jump_rcx_zero) {
    return plan.short_address ? static_cast<std::uint32_t>(regs.rcx) == 0 : regs.rcx == 0;
  }
  --regs.rcx;
  if (plan.short_address) regs.rcx &= 0xffffffff;
  if (regs.rcx == 0) return false;
  if (plan.what == operation::loop_zero) return (regs.rflags & zero) != 0;
  if (plan.what == operation::loop_not_zero) return (regs.rflags & zero) == 0;
  return true;
}

}  // namespace

bool emulate(const displaced& plan, std::uintptr_t address, registers& regs) noexcept {
  const std::uint64_t next = address + plan.length;
  const auto target = static_cast<std::uint64_t>(plan.value);
  std::uint64_t to = next;
  std::uint64_t word = 0;
  switch (plan.what) {
    case operation::none:
    case operation::nop:
      break;
    case operation::push_register:
      push(regs, regs.*by_number[plan.from]);
      break;
    case operation::push_immediate:
      push(regs, target);
      break;
    case operation::push_flags:
      push(regs, regs.rflags & ~resume_and_virtual);
      break;
    case operation::pop_register:
      if (!guarded_load(regs.rsp, word)) return false;
      regs.rsp += sizeof word;
      regs.*by_number[plan.to] = word;
      break;
    case operation::pop_flags:
      if (!guarded_load(regs.rsp, word)) return false;
      regs.rsp += sizeof word;
      regs.rflags = (regs.rflags & ~popf_flags) | (word & popf_flags);
      break;
    case operation::leave:
      if (!libprobe_guarded_stack_load(regs.rbp, &word)) return false;
      regs.rsp = regs.rbp + sizeof word;
      regs.rbp = word;
      break;
    case operation::move_register:
      write(plan, regs, plan.to, read(plan, regs, plan.from));
      break;
    case operation::move_immediate:
      write(plan, regs, plan.to, target);
      break;
    case operation::load_address:
      write(plan, regs, plan.to, effective_address(plan, regs));
      break;
    case operation::add_:
    case operation::or_:
    case operation::adc_:
    case operation::sbb_:
    case operation::and_:
    case operation::sub_:
    case operation::xor_:
    case operation::cmp_:
    case operation::test_:
      arithmetic(plan, regs);
      break;
    case operation::call_relative:
      push(regs, next);
      to = target;
      break;
    case operation::jump_relative:
      to = target;
      break;
    case operation::jump_condition:
      if (holds(plan.condition, regs.rflags)) to = target;
      break;
    case operation::loop_not_zero:
    case operation::loop_zero:
    case operation::loop:
    case operation::jump_rcx_zero:
      if (loop_taken(plan, regs)) to = target;
      break;
    case operation::call_register:
      to = regs.*by_number[plan.from];  // before the push: it may be rsp
      if (!can_go(to)) return false;
      push(regs, next);
      break;
    case operation::jump_register:
      to = regs.*by_number[plan.from];
      if (!can_go(to)) return false;
      break;
    case operation::call_memory:
    case operation::jump_memory:
      if (!load_pointer(plan, regs, to) || !can_go(to)) return false;
      if (plan.what == operation::call_memory) push(regs, next);
      break;
    case operation::ret:
      if (!guarded_load(regs.rsp, to) || !can_go(to)) return false;
      regs.rsp += sizeof to + target;
      break;
  }
  regs.rip = to;
  return true;
}

}  // namespace libprobe::arch
