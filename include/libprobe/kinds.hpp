// All kinds of probe, each with the letter that list_probes() shows it by. A new kind is one line here.
#pragma once

#include <libprobe/counter.hpp>      // c: how often an instruction runs
#include <libprobe/jprobe.hpp>       // j: a function's entry, with the function's own arguments
#include <libprobe/latency.hpp>      // l: how long calls of a function take
#include <libprobe/probe.hpp>        // k: handlers before and after one instruction (the kernel's kprobe)
#include <libprobe/replacement.hpp>  // s: another function in a function's stead
#include <libprobe/retprobe.hpp>     // r: handlers at a function's entry and return (the kernel's kretprobe)
