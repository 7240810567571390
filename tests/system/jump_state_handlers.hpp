// Code that overwrites all vector registers of one kind. Built with that kind allowed, so nothing else may be
// in there.
#pragma once

extern "C" {
void state_use_avx();
void state_use_avx512();
}
