// Nothing of its own: all of the library, as a shared one that plugins bring along.
