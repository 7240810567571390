// Sections, records, tickets and retirement (src/epoch) in all interleavings.
#include <optional>

#include "interleavings/epoch_world.hpp"
#include "interleavings/scenarios.hpp"

namespace {

using namespace libprobe;
using model::program;
using world::claimed;
using world::has_record;

struct object : epoch::retired {
  model::data<int> payload{1};
  atomic<object*> next{nullptr};
};

struct scene {
  world::system_threads threads;
  atomic<object*> head{nullptr};
  atomic<object*> second{nullptr};
  epoch::retirement waiting;
  model::mutex lock;  // control's
  model::data<int> freed{0};
  atomic<int> stage{0};
};

scene* now = nullptr;

std::shared_ptr<scene> make_scene(program& p, bool asymmetric = true) {
  auto made = std::make_shared<scene>();
  now = made.get();
  world::threads = &made->threads;
  world::asymmetric = asymmetric;
  world::begin();
  model::name(&made->head, "head");
  model::name(&made->second, "second");
  model::name(&made->stage, "stage");
  // The scene lasts as long as the program.
  p.finally = [made] { now = nullptr; };
  return made;
}

/// Another object each time, since the model knows it by its address.
object* publish(atomic<object*>& at, const char* called) {
  auto* const made = new object;
  made->free = [](epoch::retired& what) noexcept {
    auto* const it = static_cast<object*>(&what);
    it->payload.free();
    delete it;
    now->freed.set(now->freed.get() + 1);
  };
  model::name(&made->payload, called);
  at.store(made, std::memory_order_release);
  return made;
}

void all_claimed() {
  for (std::size_t i = 0; i < epoch::detail::record_count; ++i) claimed(static_cast<int>(i), 9);
  now->threads.lives[9].store(true);
}

void look(const atomic<object*>& at) {
  if (const auto* const found = at.load(std::memory_order_acquire))
    model::check(found->payload.get() == 1, "another value");
}
void read(const atomic<object*>& at) {
  const epoch::section inside;
  look(at);
}

epoch::ticket retire(atomic<object*>& at) {
  now->lock.lock();
  object* const old = at.load(std::memory_order_relaxed);
  at.store(nullptr, std::memory_order_release);
  now->waiting.add(*old);
  const auto covered = now->waiting.seal();
  now->lock.unlock();
  return covered;
}
void free_complete() {
  now->lock.lock();
  now->waiting.free_complete();
  now->lock.unlock();
}
void retire_and_wait(atomic<object*>& at) {
  epoch::wait(retire(at));
  free_complete();
}

void expect_freed(program& p, int count) {
  p.finally = [last = p.finally, count] {
    model::check(now->freed.get() == count, "what was waited for has not been freed");
    model::check(now->waiting.empty(), "something is waiting still");
    last();
  };
}

// ---- one reader, one writer

void reader_and_waiter(program& p, bool asymmetric, bool polls) {
  const auto s = make_scene(p, asymmetric);
  publish(s->head, "the object");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 read(now->head);
               },
               [polls] {
                 if (!polls) return retire_and_wait(now->head);
                 const auto covered = retire(now->head);
                 while (!epoch::poll(covered)) model::spin();
                 free_complete();
               }};
  expect_freed(p, 1);
}

/// A section after a section: the second one's epoch must not hide what the first one did.
void reader_twice(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 read(now->head);
                 read(now->head);
               },
               [] { retire_and_wait(now->head); }};
  expect_freed(p, 1);
}

void nested(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 const epoch::section outer;
                 const auto* const found = now->head.load(std::memory_order_acquire);
                 { const epoch::section inner; }
                 if (found != nullptr) model::check(found->payload.get() == 1, "another value");
               },
               [] { retire_and_wait(now->head); }};
  expect_freed(p, 1);
}

/// Looks once: what is not complete is freed by nobody.
void tries_once(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 read(now->head);
               },
               [] {
                 epoch::poll(retire(now->head));
                 free_complete();
               }};
}

void two_readers(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  claimed(0, 1);
  claimed(1, 2);
  for (int i = 0; i < 2; ++i) {
    p.threads.emplace_back([i] {
      has_record(i);
      read(now->head);
    });
  }
  p.threads.emplace_back([] { retire_and_wait(now->head); });
  expect_freed(p, 1);
}

// ---- two writers, one list

/// What another thread put into the list after a ticket was taken waits for its own.
void one_waits_one_tidies(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "first");
  publish(s->second, "second");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 read(now->second);
               },
               [] { retire_and_wait(now->head); },
               [] {
                 epoch::poll(retire(now->second));
                 free_complete();
               }};
}

/// Unlinked, and not yet covered by a ticket.
void without_a_ticket(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "first");
  publish(s->second, "second");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 read(now->second);
               },
               [] {
                 const auto covered = retire(now->head);
                 now->waiting.add(*now->second.load(std::memory_order_relaxed));
                 now->second.store(nullptr, std::memory_order_release);
                 epoch::wait(covered);
                 free_complete();
               }};
  p.finally = [last = p.finally] {
    model::check(now->freed.get() == 1, "what was waited for has not been freed, or more than that");
    last();
  };
}

void two_wait(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "first");
  publish(s->second, "second");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 const epoch::section inside;
                 look(now->head);
                 look(now->second);
               },
               [] { retire_and_wait(now->head); }, [] { retire_and_wait(now->second); }};
  expect_freed(p, 2);
}

/// A ticket that another thread found complete: seeing it so is as good as having looked.
void completed_by_another(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  claimed(0, 1);
  p.threads = {[] {
                 has_record(0);
                 read(now->head);
               },
               [] {
                 retire(now->head);
                 now->stage.store(1, std::memory_order_release);
                 free_complete();  // looks at nothing but what is known
               },
               [] {
                 while (now->stage.load(std::memory_order_acquire) == 0) model::spin();
                 epoch::poll(epoch::take_ticket());
               }};
}

/// A section that begins when the ticket has been taken and looked at does not hold it up, however long it
/// lasts.
void later_sections(program& p, bool recorded) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  if (recorded) {
    claimed(0, 1);
    claimed(1, 2);
  } else {
    all_claimed();
  }
  p.threads = {[recorded] {
                 if (recorded) has_record(0);
                 const epoch::section inside;
                 look(now->head);
                 now->stage.store(1, std::memory_order_release);
                 while (now->stage.load(std::memory_order_acquire) < 3) model::spin();
               },
               [recorded] {
                 if (recorded) has_record(1);
                 while (now->stage.load(std::memory_order_acquire) < 2) model::spin();
                 const epoch::section inside;
                 now->stage.store(3, std::memory_order_release);
                 while (now->stage.load(std::memory_order_acquire) < 4) model::spin();
               },
               [] {
                 while (now->stage.load(std::memory_order_acquire) < 1) model::spin();
                 const auto covered = retire(now->head);
                 model::check(!epoch::poll(covered), "complete beside an open section");
                 now->stage.store(2, std::memory_order_release);
                 epoch::wait(covered);
                 free_complete();
                 now->stage.store(4, std::memory_order_release);
               }};
  expect_freed(p, 1);
}

// ---- records

constexpr int nobody = 7;

/// A thread ended inside a section. Another one, which bears the same number or another, takes its record
/// over while the writer takes it for the dead one's: then what the new one reads must not be freed with the
/// next grace period.
void dead_threads_record(program& p, int number_of_new) {
  const auto s = make_scene(p);
  publish(s->head, "first");
  publish(s->second, "second");
  s->threads.number[0] = number_of_new;
  s->threads.lives[number_of_new].store(false);
  s->threads.lives[3].store(false);
  claimed(0, 3);
  epoch::detail::records[0].since.store(epoch::detail::current.load());
  p.threads = {[number_of_new] {
                 if (number_of_new == nobody) return;
                 now->threads.lives[number_of_new].store(true, std::memory_order_release);
                 read(now->second);
               },
               [] {
                 retire_and_wait(now->head);
                 retire_and_wait(now->second);
               }};
  expect_freed(p, 2);
}

/// Two threads that begin at the same time have a record each.
void two_claim(program& p) {
  make_scene(p);
  for (int i = 0; i < 2; ++i) {
    p.threads.emplace_back([] {
      const epoch::section inside;
      auto* const mine = epoch::detail::self;
      model::check(mine != nullptr, "no record, though there are two");
      model::check(epoch::thread_number() == os::thread_id(), "another's record");
    });
  }
}

/// Claims a free record while a grace period looks at it.
void claims_beside_writer(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  p.threads = {[] { read(now->head); }, [] { retire_and_wait(now->head); }};
  expect_freed(p, 1);
}

// ---- more threads than records

void unrecorded(program& p, int readers, bool asymmetric) {
  const auto s = make_scene(p, asymmetric);
  publish(s->head, "the object");
  all_claimed();
  for (int i = 0; i < readers; ++i) {
    p.threads.emplace_back([] { read(now->head); });
  }
  p.threads.emplace_back([] { retire_and_wait(now->head); });
  expect_freed(p, 1);
}

/// Sections one after the other in two threads, so that one of them is always open in one of the phases.
void unrecorded_in_turns(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  all_claimed();
  p.threads = {[] {
                 { const epoch::section one; }
                 read(now->head);
               },
               [] { read(now->head); }, [] { retire_and_wait(now->head); }};
  expect_freed(p, 1);
}

/// It reads the phase before a drain turns, and counts after that drain has ended. The sections that make the
/// drain take its time are the writer's own.
void late_count(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  all_claimed();
  p.threads = {[] { read(now->head); },
               [] {
                 const auto covered = epoch::take_ticket();
                 {
                   std::optional<epoch::section> before{std::in_place};
                   model::check(!epoch::poll(covered), "complete beside an open section");
                   const epoch::section after;
                   before.reset();
                   epoch::poll(covered);
                 }
                 retire_and_wait(now->head);
               }};
  expect_freed(p, 1);
}

/// A drain that has turned covers the tickets that were taken before that, and no more.
void drain_begun_earlier(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "the object");
  all_claimed();
  p.threads = {[] { read(now->head); },
               [] {
                 {
                   const epoch::section before;
                   epoch::poll(epoch::take_ticket());
                 }
                 retire_and_wait(now->head);
               }};
  expect_freed(p, 1);
}

/// Two writers: the drain is one, whoever moves it on.
void unrecorded_two_writers(program& p) {
  const auto s = make_scene(p);
  publish(s->head, "first");
  publish(s->second, "second");
  all_claimed();
  p.threads = {[] {
                 const epoch::section inside;
                 look(now->head);
                 look(now->second);
               },
               [] { retire_and_wait(now->head); }, [] { retire_and_wait(now->second); }};
  expect_freed(p, 2);
}

const std::vector<model::scenario> scenarios{
    {"reader and waiter", {}, [](program& p) { reader_and_waiter(p, true, false); }},
    {"reader and waiter without membarrier", {}, [](program& p) { reader_and_waiter(p, false, false); }},
    {"reader and poller", {}, [](program& p) { reader_and_waiter(p, true, true); }},
    {"reader twice", {}, reader_twice},
    {"nested sections", {}, nested},
    {"a poll that may be in vain", {}, tries_once},
    {"two readers", {}, two_readers},
    {"one waits, one tidies", {2}, one_waits_one_tidies},
    {"freed beside one without a ticket", {}, without_a_ticket},
    {"two wait", {2}, two_wait},
    {"completed by another", {}, completed_by_another},
    {"later sections", {1, 1}, [](program& p) { later_sections(p, true); }},
    {"a dead thread's record, number used again", {2}, [](program& p) { dead_threads_record(p, 3); }},
    {"a dead thread's record, nobody new", {}, [](program& p) { dead_threads_record(p, nobody); }},
    {"a dead thread's record, another number", {2}, [](program& p) { dead_threads_record(p, 4); }},
    {"two claim", {}, two_claim},
    {"claims beside a writer", {}, claims_beside_writer},
    {"unrecorded", {}, [](program& p) { unrecorded(p, 1, true); }},
    {"unrecorded without membarrier", {}, [](program& p) { unrecorded(p, 1, false); }},
    {"two unrecorded", {2}, [](program& p) { unrecorded(p, 2, true); }},
    {"unrecorded in turns", {2}, unrecorded_in_turns},
    {"unrecorded with a late count", {}, late_count},
    {"a drain that has begun", {}, drain_begun_earlier},
    {"unrecorded, two writers", {1, 1}, unrecorded_two_writers},
    {"later unrecorded sections", {1, 1}, [](program& p) { later_sections(p, false); }},
};

}  // namespace

int main(int count, char** names) { return model::run_scenarios(scenarios, count, names); }
