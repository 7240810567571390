// A library made for the tests of names: it has one of each kind of symbol.
#pragma once

#include <cstdint>

extern "C" {
int sample_exported(int value);
int sample_choice(int value);     // an IFUNC
int sample_untouched(int value);  // nobody calls it
int sample_versioned(int value);
// Addresses of what cannot be named from outside.
std::uintptr_t sample_hidden_address();
std::uintptr_t sample_twin_address(int which);
std::uintptr_t sample_choice_address();
// From the assembler file.
void sample_signal_return();
void sample_restartable();
void sample_unsized();
void sample_after_unsized();
}

namespace sample {

struct base {
  base();
  virtual ~base();
  int member = 0;
};

// A virtual base makes the complete object's constructor another piece of code than the base object's.
struct widget : virtual base {
  widget();
  ~widget() override;
  int draw(int value);
  int draw(double value);
  [[nodiscard]] int shape() const;
  int operator()(int value);
  widget& operator+(int value);
  explicit operator int() const;
};

int overloaded(int value);
int overloaded(double value);
int single(const char* text, unsigned long count);

template <class T>
[[gnu::noinline]] int templated(T value);

std::uintptr_t anonymous_address();

}  // namespace sample
