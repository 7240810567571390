#include "uprobe.hpp"

#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "os/maps.hpp"

uprobe::uprobe(const void* address, kind when) {
  std::ifstream number{"/sys/bus/event_source/devices/uprobe/type"};
  std::uint32_t type = 0;
  if (!(number >> type)) {
    refusal_ = "the kernel has no uprobe events";
    return;
  }
  const auto where = reinterpret_cast<std::uintptr_t>(address);
  const auto mapping = libprobe::os::mapping_at(where);
  perf_event_attr wanted{};
  wanted.size = sizeof wanted;
  wanted.type = type;
  wanted.config = when == kind::at_return ? 1 : 0;  // the PMU's format/retprobe
  wanted.uprobe_path = reinterpret_cast<std::uintptr_t>(mapping->path.c_str());
  wanted.probe_offset = where - mapping->start + mapping->offset;
  event_ = static_cast<int>(syscall(SYS_perf_event_open, &wanted, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
  if (event_ < 0) refusal_ = std::string{"perf_event_open: "} + std::strerror(errno);
}

uprobe::~uprobe() {
  if (event_ >= 0) close(event_);
}

std::uint64_t uprobe::count() const {
  std::uint64_t value = 0;
  return read(event_, &value, sizeof value) == sizeof value ? value : 0;
}
