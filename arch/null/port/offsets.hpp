// No assembly: see src/assembly/offsets.cpp.
#pragma once

#define PORT_OFFSETS(OFFSET)
