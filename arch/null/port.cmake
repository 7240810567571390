# What src/CMakeLists.txt has to know of this port. Assembly is for ports that have fast paths; this one has none.
set(LIBPROBE_PORT_HIT_SOURCES trap.cpp ret.cpp call.cpp slot.cpp patch.cpp state.cpp)
set(LIBPROBE_PORT_GENERAL_ONLY)
set(LIBPROBE_PORT_NO_VECTORS)
