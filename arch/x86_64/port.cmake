# What src/CMakeLists.txt has to know of this port.

# What runs at a hit, besides the assembly.
set(LIBPROBE_PORT_HIT_SOURCES context.cpp emulate.cpp escape.cpp ordinary.cpp patch.cpp translate.cpp)
# Vector registers are saved at a hit only where a handler may touch them: code that touches none,
set(LIBPROBE_PORT_GENERAL_ONLY $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-mgeneral-regs-only> $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-mno-sse>)
# and the same where types of the program's that use them are about.
set(LIBPROBE_PORT_NO_VECTORS -mno-sse)
