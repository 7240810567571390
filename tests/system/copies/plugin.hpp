// What each plugin of copies_test.cpp offers: probes by the copy of the library that is linked into it.
#pragma once

namespace copies {

struct api {
  int (*place)(const void* address);  // a probe there; the value of errc
  int (*place_named)(const char* where);
  const char* (*detail)();  // of the last refusal
  unsigned long (*hits)();
  void (*remove)();
  unsigned long (*listed)();
};
using get_api = const api*();

}  // namespace copies
