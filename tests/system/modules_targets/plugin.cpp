// A library that works before anyone can ask it to: its constructor calls its own functions.
#define EXPORTED extern "C" [[gnu::visibility("default")]]

EXPORTED [[gnu::noinline]] int plugin_work(int a, int b) {
  asm volatile("" : "+r"(a)::"memory");
  return a * 10 + b;
}

static int one_way(int x) { return x + 100; }
using way = int (*)(int);

// What the resolver reads is there only once the library has been relocated.
EXPORTED way plugin_ways[];
way plugin_ways[] = {one_way};
extern "C" [[gnu::visibility("hidden")]] way plugin_choose() { return plugin_ways[0]; }
EXPORTED [[gnu::ifunc("plugin_choose")]] int plugin_choice(int x);

EXPORTED int plugin_early_work;
EXPORTED int plugin_early_choice;
int plugin_early_work = 0;
int plugin_early_choice = 0;

[[gnu::constructor]] static void at_load() {
  plugin_early_work = plugin_work(1, 2);
  plugin_early_choice = plugin_choice(1);
}
