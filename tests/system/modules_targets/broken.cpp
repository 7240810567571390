// Cannot be loaded: what it needs is not there.
extern "C" int plugin_work(int, int);
extern "C" int nobody_has_this();
int broken() { return plugin_work(1, 1) + nobody_has_this(); }
