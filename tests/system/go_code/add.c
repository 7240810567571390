__attribute__((noinline)) long go_code_add(long a, long b) { return a + b; }
