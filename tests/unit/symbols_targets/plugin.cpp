// Loaded, replaced on disk and loaded again: PLUGIN_GAP moves the function within the file, and PLUGIN_TURNED
// within a file that looks the same from outside.
#if defined(PLUGIN_TURNED)
__asm__(".text\n.skip 64 * (1 + " PLUGIN_TURNED
        "), 0xcc\n"
        ".type plugin_turned, @function\nplugin_turned: ret\n.size plugin_turned, . - plugin_turned\n"
        ".skip 64 * (3 - " PLUGIN_TURNED "), 0xcc\n");
#elif defined(PLUGIN_GAP)
__asm__(".text\n.skip 256, 0xcc\n");
extern "C" int plugin_second() { return 2; }
#else
extern "C" int plugin_first() { return 1; }
#endif

extern "C" {
[[gnu::noinline, gnu::used]] static int plugin_local() { return 3; }
int (*plugin_local_address())() { return &plugin_local; }
}
