// The table of sites (src/site/table.hpp): lookups beside insertion, erasure, another value and growth, with
// what is taken out of it freed after a grace period.
#include "site/table.hpp"

#include "interleavings/epoch_world.hpp"
#include "interleavings/scenarios.hpp"

namespace {

using namespace libprobe;
using model::program;

struct object : epoch::retired {
  explicit object(std::uintptr_t k) : key{k} {}
  model::data<std::uintptr_t> key;
};

// Three keys that begin their search at the same place: multiples of the inverse of the hash's factor lie
// side by side, and those of one place differ far below.
constexpr std::uintptr_t inverse = 0xf1de83e19937733d;
constexpr std::uintptr_t first_key = inverse * (std::uintptr_t{3} << 60);
constexpr std::uintptr_t second_key = inverse * ((std::uintptr_t{3} << 60) + 1);
constexpr std::uintptr_t third_key = inverse * ((std::uintptr_t{3} << 60) + 2);

struct scene {
  world::system_threads threads;
  site::table<object> table;
  epoch::retirement waiting;
};

scene* now = nullptr;

object* add(std::uintptr_t key) {
  auto* const made = new object{key};
  made->free = [](epoch::retired& what) noexcept {
    auto* const it = static_cast<object*>(&what);
    it->key.free();
    delete it;
  };
  now->table.reserve(1);
  now->table.insert(key, made);
  return made;
}

std::shared_ptr<scene> make_scene(program& p) {
  auto made = std::make_shared<scene>();
  now = made.get();
  world::threads = &made->threads;
  world::begin();
  world::claimed(0, 1);
  p.finally = [made] {
    now->table.retire_outgrown(now->waiting);
    now = nullptr;
  };
  return made;
}

/// What the key has, if anything, must be its own. True: it has.
bool look(std::uintptr_t key) {
  const auto* const found = now->table.find(key);
  if (found != nullptr) model::check(found->key.get() == key, "another key's value");
  return found != nullptr;
}

void wait_and_free() {
  now->table.retire_outgrown(now->waiting);
  epoch::wait(now->waiting.seal());
  now->waiting.free_complete();
}

/// In a section, as the hit path does.
std::function<void()> reader(void (*looks)()) {
  return [looks] {
    world::has_record(0);
    const epoch::section inside;
    looks();
  };
}

void insertion(program& p) {
  make_scene(p);
  add(first_key);
  p.threads = {reader([] {
                 look(second_key);
                 model::check(look(first_key), "a key that was there all the time is not found");
                 const bool there = look(second_key);
                 model::check(!there || look(second_key), "a key is found, and then no more");
               }),
               [] { add(second_key); }};
}

void erasure(program& p) {
  make_scene(p);
  add(first_key);
  add(second_key);
  p.threads = {reader([] {
                 look(first_key);
                 model::check(look(second_key), "a key that was there all the time is not found");
               }),
               [] {
                 now->waiting.add(*now->table.find(first_key));
                 now->table.erase(first_key);
                 wait_and_free();
               }};
}

/// The place of an erased key is not another key's.
void erasure_and_insertion(program& p) {
  make_scene(p);
  add(first_key);
  add(second_key);
  p.threads = {reader([] {
                 look(first_key);
                 look(third_key);
                 model::check(look(second_key), "a key that was there all the time is not found");
               }),
               [] {
                 now->waiting.add(*now->table.find(first_key));
                 now->table.erase(first_key);
                 add(third_key);
                 wait_and_free();
               }};
}

void another_value(program& p) {
  make_scene(p);
  add(first_key);
  p.threads = {
      reader([] { model::check(look(first_key), "a key that was there all the time is not found"); }), [] {
        auto* const old = now->table.find(first_key);
        add(first_key);
        now->waiting.add(*old);
        wait_and_free();
      }};
}

void growth(program& p) {
  make_scene(p);
  add(first_key);
  add(second_key);
  for (std::uintptr_t i = 0; i < 8; ++i) add(inverse * ((std::uintptr_t{8} + i) << 60));
  p.threads = {reader([] {
                 look(third_key);
                 model::check(look(first_key), "a key that was there all the time is not found");
                 model::check(look(second_key), "a key that was there all the time is not found");
               }),
               [] {
                 const auto before = now->table.bytes();
                 add(third_key);
                 model::check(now->table.bytes() > before, "the scenario is about growth");
                 wait_and_free();
               }};
}

const std::vector<model::scenario> scenarios{
    {"insertion", {}, insertion},
    {"erasure", {}, erasure},
    {"erasure and insertion", {}, erasure_and_insertion},
    {"another value", {}, another_value},
    {"growth", {}, growth},
};

}  // namespace

int main(int count, char** names) { return model::run_scenarios(scenarios, count, names); }
