// Return slots: where followed calls return to, and what unwinders make of it.
//
// A slot is 32 bytes. A followed function is called from the end of the slot before (so that the address that the
// call pushes, and the return-stack buffer, is the slot's own), and returns to the slot's start, which puts the true return address back
// where it belongs and goes to libprobe_return_entry with the slot's number. Slots lie in chunks of 4 KiB; a chunk's first quadword
// leads to its table of saved return addresses, because an unwind expression can find the chunk by masking the
// instruction pointer, but cannot name an address in position-independent code.
//
// Offsets in a slot:   0 note that it returned   7 push saved   13 push number   18 jmp   26 call of the next slot's function
// Stack above its state at the return:  0          0            8         16               0 (nothing called yet, or returned)
//
// The note comes first: until then the slot's own address is where the return address lay, from then on the true one may
// be. So whoever finds the thread gone from here for good can tell which call it left.

#include "return_slots.h"

        .bss
        .p2align 6
        .globl libprobe_saved_returns
        .hidden libprobe_saved_returns
libprobe_saved_returns:
        .skip   8 * 128 * RETURN_CHUNKS // by slot; the first of each chunk is its header
        .globl libprobe_call_targets
        .hidden libprobe_call_targets
libprobe_call_targets:
        .skip   8 * 128 * RETURN_CHUNKS

        .text
        .p2align 12
        .globl libprobe_return_slots
        .hidden libprobe_return_slots
        .type libprobe_return_slots, @function
libprobe_return_slots:
        .cfi_startproc
        .cfi_personality 0x9b, DW.ref.libprobe_return_personality
        // With o = ip & 31: CFA = rsp + 8 * ((o >= 13) + (o >= 18) - 2 * (o >= 26))
        .cfi_escape 0x0f, 23, 0x77, 0, 0x80, 0, 0x4f, 0x1a, 0x12, 0x3d, 0x2a, 0x16, 0x12, 0x42, 0x2a, 0x16, \
                0x4a, 0x2a, 0x31, 0x24, 0x1c, 0x22, 0x33, 0x24, 0x22
        // With b = ip & -4096: return address at b + *b + 8 * (((ip + 6) & 4095) >> 5)
        .cfi_escape 0x10, 16, 20, 0x80, 0, 0x0b, 0x00, 0xf0, 0x1a, 0x12, 0x06, 0x22, \
                0x80, 6, 0x0a, 0xff, 0x0f, 0x1a, 0x35, 0x25, 0x33, 0x24, 0x22
        .set    chunk, 0
        .rept   RETURN_CHUNKS
        .quad   libprobe_saved_returns + 8 * 128 * chunk - .
        .skip   26 - 8, 0xcc
        .set    slot, 1
        .rept   127
        call    *(libprobe_call_targets + 8 * (128 * chunk + slot))(%rip)
        movb    $1, (libprobe_return_vectors + 4 * (128 * chunk + slot) + RETURNED_BYTE)(%rip)
        pushq   (libprobe_saved_returns + 8 * (128 * chunk + slot))(%rip)
        .byte   0x68                    // push with a 32-bit immediate, however small
        .long   128 * chunk + slot
        jmp     libprobe_return_entry
        .skip   26 - 23, 0xcc
        .set    slot, slot + 1
        .endr
        .skip   6, 0xcc
        .set    chunk, chunk + 1
        .endr
        .cfi_endproc
        .size libprobe_return_slots, .-libprobe_return_slots

        .section .note.GNU-stack, "", @progbits
