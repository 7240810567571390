// What a port's assembly has to know of C++'s structures: where in them a member lies. src/assembly makes
// offsets.h of it, with those of the neutral structures that assembly reads.
//
// The port gives (port/offsets.hpp): PORT_OFFSETS(OFFSET), OFFSET(NAME, value) for each number that it needs.
#pragma once

#include "port/offsets.hpp"
