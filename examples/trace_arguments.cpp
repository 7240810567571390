// What does the program look up in its environment? A callable with getenv's own signature sees every
// argument and, at the return, every result; it may print and allocate like any function.
#include <cstdio>
#include <cstdlib>
#include <libprobe/libprobe.hpp>
#include <string>
#include <vector>

int main() {
  setenv("COLOUR", "blue", 1);
  std::vector<std::string> trace;
  {
    const auto entry = libprobe::on_entry<char*(const char*)>("libc.so.6:getenv", [&](const char* name) {
      trace.push_back(std::string{"getenv(\""} + name + "\")");
    });
    const auto exit = libprobe::on_return<char*(const char*)>("libc.so.6:getenv", [&](const char* value) {
      trace.back() += value != nullptr ? std::string{" = \""} + value + "\"" : " = nothing";
    });
    std::getenv("COLOUR");
    std::getenv("NO_SUCH_VARIABLE");
  }
  std::getenv("COLOUR");  // not seen any more

  for (const auto& line : trace) std::printf("%s\n", line.c_str());
  return trace == std::vector<std::string>{"getenv(\"COLOUR\") = \"blue\"",
                                           "getenv(\"NO_SUCH_VARIABLE\") = nothing"}
             ? 0
             : 1;
}
