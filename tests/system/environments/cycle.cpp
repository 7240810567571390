// A program that does with libprobe what can be done with it: built in many ways, and run in many places.
#include "support/whole_cycle.hpp"

int main() { return libprobe::test::reported(libprobe::test::whole_cycle()); }
