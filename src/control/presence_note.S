// How copies of this library find each other: an ELF note, which is loaded and survives stripping, hidden visibility and
// --gc-sections. Names no register and no instruction: any CPU's assembler takes it. Read by presence.cpp, also by copies of
// other versions: what is here stays as it is, and more may only be added behind it.

        .section .note.libprobe, "a", %note
        .balign 4
        .globl  libprobe_presence_note
        .hidden libprobe_presence_note
        .type   libprobe_presence_note, %object
libprobe_presence_note:
        .4byte  2f - 1f                 // the owner's size
        .4byte  5f - 3f                 // the content's
        .4byte  1                       // type: presence
1:      .asciz  "libprobe"
2:      .balign 4
3:      .4byte  1                       // version
        .4byte  0
4:      .8byte  libprobe_presence - 4b  // from here to the word that says whether this copy is at work
5:      .size   libprobe_presence_note, . - libprobe_presence_note

        .section .note.GNU-stack, "", %progbits
