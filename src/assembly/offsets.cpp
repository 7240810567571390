// What a port's assembly has to know of C++'s structures. This is compiled, but never linked:
// src/assembly/offsets.cmake makes offsets.h of the lines that it writes into the compiler's output.
//
// Floor: on arch, epoch and site, which it measures; nothing includes or links it.
#include <cstddef>

#include "arch/offsets.hpp"
#include "epoch/epoch.hpp"
#include "site/detour.hpp"
#include "site/direct_call.hpp"
#include "site/thread.hpp"

#define OFFSET(name, value) asm volatile("\n.ascii \"->" #name " %c0\"\n" : : "i"(value))

namespace libprobe {

void offsets() {
  OFFSET(READER_SINCE, offsetof(epoch::reader, since));
  OFFSET(READER_WHERE, offsetof(epoch::reader, where));
  OFFSET(DETOUR_VECTORS, offsetof(site::detour, vectors));
  OFFSET(DETOUR_DIRECT, offsetof(site::detour, direct));
  OFFSET(RUN_OUTER, offsetof(site::replacement_run, outer));
  OFFSET(DIRECT_ENTRY, offsetof(site::direct_call, entry));
  OFFSET(DIRECT_HITS, offsetof(site::direct_call, hits));
  OFFSET(DIRECT_BEGUN, offsetof(site::direct_call, begun));
  OFFSET(DIRECT_ENDED, offsetof(site::direct_call, ended));
  OFFSET(DIRECT_WHAT, offsetof(site::direct_call, what));
  OFFSET(DIRECT_RESULT, offsetof(site::direct_call, result));
  OFFSET(DIRECT_LEVEL, offsetof(site::direct_call, level));
  OFFSET(DIRECT_KEEPS, offsetof(site::direct_call, keeps));
#define PORT_OFFSET(name, value) OFFSET(name, value);
  PORT_OFFSETS(PORT_OFFSET)
}

}  // namespace libprobe
