// See arch/call.hpp.
#pragma once

namespace libprobe::arch {

struct outcall {};

}  // namespace libprobe::arch
