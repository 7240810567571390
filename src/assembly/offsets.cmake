# cmake -DFROM=offsets.s -DTO=offsets.h -P offsets.cmake: each line "->NAME VALUE" of the compiler's output as a #define.
file(STRINGS ${FROM} lines REGEX "->")
set(text "// Of src/assembly/offsets.cpp.\n#pragma once\n\n")
foreach(line IN LISTS lines)
  string(REGEX REPLACE ".*->([A-Z0-9_]+) ([0-9]+).*" "#define \\1 \\2\n" define "${line}")
  string(APPEND text "${define}")
endforeach()
file(WRITE ${TO} "${text}")
