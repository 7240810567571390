#include "interleavings/fibers.hpp"

#include <link.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace model {

namespace {

constexpr int most_fibers = 8;
constexpr std::size_t stack_size = std::size_t{256} * 1024;

struct fiber {
  alignas(64) std::byte stack[stack_size];
  std::function<void()> work;
  ucontext_t start;
  bool begun = false;
  jmp_buf at;
  std::vector<std::byte> thread_local_variables;
};

fiber fibers[most_fibers];
jmp_buf main_at, abandoned;
std::vector<std::byte> main_variables;

/// The thread-local variables of this program, not those of the libraries: the sources under test are part of
/// it.
struct variables {
  std::byte* here = nullptr;
  std::vector<std::byte> initial;
};

const variables& own_variables() {
  static const variables found = [] {
    variables made;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* to) {
          auto& all = *static_cast<variables*>(to);
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& part = info->dlpi_phdr[i];
            if (part.p_type != PT_TLS) continue;
            all.here = static_cast<std::byte*>(info->dlpi_tls_data);
            all.initial.resize(part.p_memsz);
            std::memcpy(all.initial.data(), reinterpret_cast<const void*>(info->dlpi_addr + part.p_vaddr),
                        part.p_filesz);
          }
          return 1;  // the program comes first
        },
        &made);
    return made;
  }();
  return found;
}

void keep_variables(std::vector<std::byte>& in) {
  const auto& own = own_variables();
  in.assign(own.here, own.here + own.initial.size());
}
void put_variables(const std::vector<std::byte>& from) {
  if (!from.empty()) std::memcpy(own_variables().here, from.data(), from.size());
}

int starting = -1;
bool own_memory = false;

void enter() {
  own_memory = true;
  fibers[starting].work();
  std::abort();  // it ends by switching away
}

// What fibers allocate. They are left where they are when an execution is cut short, and so is what they
// hold.
constexpr std::size_t arena_size = std::size_t{16} << 20;
alignas(64) std::byte arena[arena_size];
std::size_t arena_used = 0;
std::array<void*, 4096> given_back;
std::size_t given_back_count = 0;

bool is_in_arena(const void* p) noexcept { return p >= arena && p < arena + arena_size; }

void* allocate(std::size_t size, std::size_t alignment) {
  if (own_memory) {
    const auto at = (arena_used + alignment - 1) & ~(alignment - 1);
    if (at + size > arena_size) {
      std::fputs("the fibers' memory is used up\n", stderr);
      std::abort();
    }
    arena_used = at + size;
    return arena + at;
  }
  void* const p = std::aligned_alloc(alignment, (size + alignment - 1) & ~(alignment - 1));
  if (p == nullptr) std::abort();
  return p;
}

void give_back(void* p) noexcept {
  if (p == nullptr || is_in_arena(p)) return;
  if (!own_memory) {
    std::free(p);
    return;
  }
  if (given_back_count == given_back.size()) std::abort();
  given_back[given_back_count++] = p;
}

}  // namespace

void fiber_make(int number, std::function<void()> work) {
  auto& f = fibers[number];
  f.work = std::move(work);
  f.begun = false;
  f.thread_local_variables = own_variables().initial;
  getcontext(&f.start);
  f.start.uc_stack.ss_sp = f.stack;
  f.start.uc_stack.ss_size = sizeof f.stack;
  f.start.uc_link = nullptr;
  makecontext(&f.start, enter, 0);
}

void fiber_switch(int from, int to) {
  keep_variables(from < 0 ? main_variables : fibers[from].thread_local_variables);
  if (_setjmp(from < 0 ? main_at : fibers[from].at) != 0) return;
  put_variables(to < 0 ? main_variables : fibers[to].thread_local_variables);
  if (to < 0) {
    own_memory = false;
    _longjmp(main_at, 1);
  }
  if (fibers[to].begun) _longjmp(fibers[to].at, 1);
  fibers[to].begun = true;
  starting = to;
  setcontext(&fibers[to].start);
  std::abort();
}

int fiber_run(const std::function<void()>& work) {
  keep_variables(main_variables);
  const int code = _setjmp(abandoned);
  if (code == 0) work();
  own_memory = false;
  put_variables(main_variables);
  return code;
}

void abandon(int code) {
  own_memory = false;
  _longjmp(abandoned, code);
}

bool fiber_own_memory(bool own) noexcept {
  const bool before = own_memory;
  own_memory = own;
  return before;
}

void fiber_forget_memory() noexcept {
  arena_used = 0;
  for (std::size_t i = 0; i < given_back_count; ++i) std::free(given_back[i]);
  given_back_count = 0;
}

}  // namespace model

void* operator new(std::size_t size) { return model::allocate(size, 16); }
void* operator new[](std::size_t size) { return model::allocate(size, 16); }
void* operator new(std::size_t size, std::align_val_t a) {
  return model::allocate(size, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t size, std::align_val_t a) {
  return model::allocate(size, static_cast<std::size_t>(a));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return model::allocate(size, 16); }
void operator delete(void* p) noexcept { model::give_back(p); }
void operator delete[](void* p) noexcept { model::give_back(p); }
void operator delete(void* p, std::size_t) noexcept { model::give_back(p); }
void operator delete[](void* p, std::size_t) noexcept { model::give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { model::give_back(p); }
void operator delete[](void* p, std::align_val_t) noexcept { model::give_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { model::give_back(p); }
