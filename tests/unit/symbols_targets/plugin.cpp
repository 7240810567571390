// Loaded, replaced on disk and loaded again: PLUGIN_GAP moves the function within the file.
#ifdef PLUGIN_GAP
__asm__(".text\n.skip 256, 0xcc\n");
extern "C" int plugin_second() { return 2; }
#else
extern "C" int plugin_first() { return 1; }
#endif

extern "C" {
[[gnu::noinline, gnu::used]] static int plugin_local() { return 3; }
int (*plugin_local_address())() { return &plugin_local; }
}
