// From inside handlers unwinders name the probed function and its true callers: at every instruction, for
// each kind, by libunwind, by libgcc and by backtrace().
#include <unwind.h>

#include <algorithm>
#include <memory>

#include "support/callers.hpp"
#include "support/every_kind.hpp"
#include "support/jumping.hpp"

namespace libprobe {
namespace {

using test::addresses;
using test::by_backtrace;
using test::by_libunwind;
using test::every_kind;
using test::every_moment;
using test::moment;
using test::most_frames;
using test::opaque;

addresses by_unw_backtrace() { return test::callers_by(unw_backtrace); }
addresses by_libgcc() {
  addresses all;
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* to) {
        auto& into = *static_cast<addresses*>(to);
        if (const auto ip = _Unwind_GetIP(context); ip != 0) into.push_back(ip);
        return into.size() < most_frames ? _URC_NO_REASON : _URC_END_OF_STACK;
      },
      &all);
  return all;
}

struct walker {
  const char* name;
  addresses (*walk)();
};
const walker walkers[] = {{"Libunwind", by_libunwind},
                          {"UnwBacktrace", by_unw_backtrace},
                          {"Libgcc", by_libgcc},
                          {"Backtrace", by_backtrace}};
void PrintTo(const walker& what, std::ostream* to) { *to << what.name; }

/// Where a function's instructions are.
struct extent {
  std::uintptr_t start, end;
  explicit extent(const void* function) {
    const test::whole_function whole{function};
    start = reinterpret_cast<std::uintptr_t>(whole.start);
    end = start + whole.size;
  }
  [[nodiscard]] bool has(std::uintptr_t ip) const { return ip >= start && ip < end; }
};

std::string told(const addresses& all) {
  std::string text;
  for (const auto ip : all) {
    char line[200];
    snprintf(line, sizeof line, "\n  %#lx %s", ip, symbols::describe(ip).symbol.c_str());
    text += line;
  }
  return text;
}

/// The callers: `outer` calls `inner`, which calls something. What `outer` sees is to be seen by everybody.
using body = void (*)();
[[gnu::noipa]] void inner(body call) {
  call();
  asm volatile("" ::: "memory");
}
[[gnu::noipa]] void outer(body call) {
  inner(call);
  asm volatile("" ::: "memory");
}

/// What a handler found is: anything, `function` if it is given, what was called from `inner`, `inner`, and
/// the callers of that.
testing::AssertionResult is_true(const addresses& seen, const addresses& native, const extent* function) {
  static const extent in_inner{test::code_of(&inner)};
  const auto no = [&](const char* why) {
    return testing::AssertionFailure() << why << told(seen) << "\nnatively:" << told(native);
  };
  const auto own = std::ranges::find_if(native, [](auto ip) { return in_inner.has(ip); });
  const auto mine = std::ranges::find_if(seen, [](auto ip) { return in_inner.has(ip); });
  if (own == native.end() || native.end() - own < 4) return no("not even natively");
  if (mine == seen.end()) return no("the caller is not there");
  if (!std::equal(own, native.end(), mine, seen.end())) return no("other callers");
  if (function == nullptr) return testing::AssertionSuccess();
  if (std::none_of(seen.begin(), mine, [&](auto ip) { return function->has(ip) || function->has(ip - 1); }))
    return no("the probed function is not there");
  return testing::AssertionSuccess();
}

addresses seen, native;
const walker* walk = nullptr;
void look() { native = walk->walk(); }
/// From one place, so that both see the same.
[[gnu::noipa]] void look_and(body call) {
  const body all[] = {look, call};
  const auto* const end = opaque(std::end(all));
  for (const auto* each = opaque(std::begin(all)); each != end; ++each) outer(*each);
}

class Unwinding : public testing::TestWithParam<walker> {
 protected:
  void SetUp() override { walk = &GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(By, Unwinding, testing::ValuesIn(walkers),
                         [](const auto& info) { return std::string{info.param.name}; });

moment now_called;
TEST_P(Unwinding, FromHandlersOfEachKind) {
  constexpr const std::uint8_t* (*of)(int (*)(int)) = test::code_of<int, int>;
  const extent functions[] = {extent{of(&test::target<0>)}, extent{of(&test::target<1>)},
                              extent{of(&test::target<2>)}, extent{of(&test::target<3>)},
                              extent{of(&test::target<4>)}, extent{of(&test::target<5>)}};
  every_kind all;
  all.action = [](moment m) {
    if (m == now_called) seen = walk->walk();
  };
  ASSERT_FALSE(all.place()) << last_error_detail();
  for (const auto m : every_moment) {
    now_called = m;
    seen.clear();
    look_and([] { EXPECT_TRUE(every_kind::call(now_called)); });
    // A jprobe's entry and a replacement stand in the function's place, and it has returned to the handler
    // that is called then.
    const bool there = m == moment::pre || m == moment::post || m == moment::entry;
    const auto n = static_cast<std::size_t>(m);
    EXPECT_TRUE(is_true(seen, native, there ? &functions[n] : nullptr)) << name_of(m);
  }
}

// Instructions of all sorts, with a frame that changes as they run.
[[gnu::noipa]] long leaf(long x) { return opaque(x) + 1; }
[[gnu::noipa]] long many_forms(long x, long n) {
  long sum = x;
  volatile long kept[4] = {x, n, x + n, 7};
  for (long i = 0; i < n; ++i) {
    sum += leaf(sum) ^ kept[i & 3];
    if ((sum & 1) != 0) sum = leaf(sum * 3);
    kept[i & 3] = sum;
  }
  return sum;
}

int places_wrong = 0, places_seen = 0;
const extent* probed = nullptr;
void check(const char* when, const registers& regs) {
  seen = walk->walk();
  ++places_seen;
  // Behind a call or a ret the function that comes next is another one.
  const extent* const there = probed->has(regs.ip()) ? probed : nullptr;
  const auto right = is_true(seen, native, there);
  if (right || ++places_wrong > 3) return;
  ADD_FAILURE() << when << " at " << std::hex << regs.ip() << ": " << right.message();
}

TEST_P(Unwinding, FromHandlersAtEveryInstruction) {
  const test::whole_function whole{test::code_of(&many_forms)};
  const extent here{test::code_of(&many_forms)};
  probed = &here;
  places_wrong = places_seen = 0;
  static long answer;
  answer = many_forms(5, 6);
  const auto probe_them = [&](std::size_t from, std::size_t step) {
    std::vector<std::unique_ptr<probe>> probes;
    batch all;
    for (std::size_t i = from; i < whole.instructions.size(); i += step) {
      auto& p = *probes.emplace_back(std::make_unique<probe>());
      p.at = static_cast<const void*>(whole.instructions[i]);
      p.pre_handler = [](probe&, registers& regs) {
        check("before", regs);
        return 0;
      };
      p.post_handler = [](probe&, registers& regs) { check("behind", regs); };
      all.add(p);
    }
    ASSERT_FALSE(all.commit()) << last_error_detail();
    look_and([] { EXPECT_EQ(many_forms(5, 6), answer); });
    std::uint64_t hit = 0;
    for (const auto& p : probes) hit += hits(*p);
    EXPECT_GE(hit, probes.size() / 2);
  };
  probe_them(0, 2);
  probe_them(1, 2);
  EXPECT_EQ(places_wrong, 0);
  EXPECT_GE(places_seen, 200);
  std::printf("%d walks\n", places_seen);
}

}  // namespace
}  // namespace libprobe
