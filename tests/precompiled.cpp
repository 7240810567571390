// See precompiled.hpp: a target that they can be taken from.
