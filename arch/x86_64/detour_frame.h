// Shared by the code that detours are made of and the code that they call.
#pragma once

#define RED_ZONE 128 /* System V ABI, 3.2.2 */
#define DETOUR_NEXT 23 /* in a detour, from where it is called from to the address of the next instruction */
