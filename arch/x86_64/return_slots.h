// Shared by assembly and C++.
#pragma once

// Chunks of 127 return slots. Calls followed at once, in all threads together, are limited by their number.
#define RETURN_CHUNKS 96
