#include "sample.hpp"

#define KEEP [[gnu::noinline, gnu::noclone, gnu::used]]

namespace {

template <class Function>
std::uintptr_t address_of(Function* function) {
  return reinterpret_cast<std::uintptr_t>(function);
}

}  // namespace

extern "C" {

KEEP static int sample_hidden(int value) { return value * 3 + 1; }
KEEP static int sample_twin(int value) { return value * 5; }
std::uintptr_t sample_other_twin();

KEEP int sample_exported(int value) { return sample_hidden(value) + 1; }
KEEP int sample_untouched(int value) { return value - 7; }
std::uintptr_t sample_hidden_address() { return address_of(&sample_hidden); }
std::uintptr_t sample_twin_address(int which) {
  return which == 0 ? address_of(&sample_twin) : sample_other_twin();
}

KEEP static int chosen(int value) { return value + 100; }
static int (*choose())(int) { return &chosen; }
[[gnu::ifunc("choose")]] int sample_choice(int value);
std::uintptr_t sample_choice_address() { return address_of(&chosen); }

KEEP int sample_versioned_old(int value) { return value + 1; }
KEEP int sample_versioned_new(int value) { return value + 2; }
__asm__(".symver sample_versioned_old, sample_versioned@SAMPLE_1");
__asm__(".symver sample_versioned_new, sample_versioned@@SAMPLE_2");
}

namespace sample {

KEEP base::base() { ++member; }
KEEP base::~base() { --member; }
KEEP widget::widget() { member += 2; }
KEEP widget::~widget() { member -= 2; }
KEEP int widget::draw(int value) { return value + member; }
KEEP int widget::draw(double value) { return static_cast<int>(value) - member; }
KEEP int widget::shape() const { return member * 7; }
KEEP int widget::operator()(int value) { return value * member; }
KEEP widget& widget::operator+(int value) {
  member += value;
  return *this;
}
KEEP widget::operator int() const { return member * 9; }

KEEP int overloaded(int value) { return value * 11; }
KEEP int overloaded(double value) { return static_cast<int>(value * 13); }
KEEP int single(const char* text, unsigned long count) { return text[count]; }

template <class T>
[[gnu::noinline]] int templated(T value) {
  return static_cast<int>(value) * 17;
}
template int templated<int>(int);
template int templated<long>(long);

namespace {
KEEP int unnamed(int value) { return value * 19; }
}  // namespace
std::uintptr_t anonymous_address() { return address_of(&unnamed); }

}  // namespace sample
