// A race made certain: two threads draw from one account, and each looks before the other has drawn.
#include <atomic>
#include <cstdio>
#include <libprobe/testing.hpp>
#include <thread>

namespace {

std::atomic<int> balance{100};

[[gnu::noinline]] void draw(int amount) { balance -= amount; }

[[gnu::noinline]] bool withdraw(int amount) {
  if (balance < amount) return false;  // looked ...
  draw(amount);                        // ... and drawn, some time later
  return true;
}

}  // namespace

int main() {
  bool first = false;
  bool second = false;
  {
    libprobe::pause_point between{&draw};
    std::thread one{[&] { first = withdraw(80); }};
    std::thread other{[&] { second = withdraw(80); }};
    between.wait_until_reached(2);  // both have looked, nobody has drawn; in vain, this would be a failure
    between.release_all();
    one.join();
    other.join();
  }
  std::printf("both got their money: %s; balance: %d\n", first && second ? "yes" : "no", balance.load());
  return first && second && balance == -60 ? 0 : 1;
}
