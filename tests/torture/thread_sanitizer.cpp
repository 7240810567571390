// What ThreadSanitizer cannot know.
extern "C" const char* __tsan_default_suppressions();

/// That a thread has ended the kernel tells, and what it wrote came before: no synchronisation that is seen.
extern "C" const char* __tsan_default_suppressions() { return "race:libprobe::hit::drop_of_ended_threads\n"; }
