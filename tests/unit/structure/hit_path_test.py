"""The objects that run at a hit refer to nothing but each other.

No allocator, lock, stdio, Capstone or libc function: a hit may come anywhere, also inside those. No function that the
program may share (inline functions have callable copies in every object that uses them): somebody may probe it.
"""
import argparse
import pathlib
import subprocess
import tempfile
import unittest

ALLOWED = {
    "__errno_location",  # the handlers' errno is not the program's; probes there are refused
    "_GLOBAL_OFFSET_TABLE_",
    # Named by unwind data, and called by the unwinder when an exception passes: not at a hit.
    "DW.ref.libprobe_entry_personality",
    "DW.ref.libprobe_handler_personality",
    "DW.ref.libprobe_replacement_personality",
    "DW.ref.libprobe_return_personality",
    "DW.ref.libprobe_trap_personality",
}


def symbols(object_file):
    """(type, name) of every symbol, as nm tells them."""
    listing = subprocess.run([ARGUMENTS.nm, "-C", "--format=posix", object_file], check=True, capture_output=True,
                             text=True).stdout
    for line in listing.splitlines():
        fields = line.split()
        # A demangled name has blanks, so the type is the first one-letter field behind it.
        at = next(i for i, field in enumerate(fields) if i > 0 and len(field) == 1 and field.isalpha())
        yield fields[at], " ".join(fields[:at])


def complaints(objects):
    found, needed, defined = [], {}, set()
    for path in objects:
        for kind, name in symbols(path):
            if kind == "U":
                needed.setdefault(name, path)
            elif kind in "WVuwv":
                found.append(f"{path}: {name} is shared with the program")
            else:
                defined.add(name)
    found += [f"{path}: refers to {name}" for name, path in needed.items() if name not in defined | ALLOWED]
    return found


def object_of(source, objects):
    tail = "/".join(pathlib.PurePath(source).parts[-2:]) + ".o"
    return next((path for path in objects if path.endswith("/" + tail)), None)


class HitPath(unittest.TestCase):
    def test_refers_to_itself_only(self):
        hit = {source: object_of(source, ARGUMENTS.objects) for source in ARGUMENTS.sources}
        self.assertGreater(len(hit), 8)
        self.assertEqual([source for source, path in hit.items() if path is None], [])
        self.assertEqual(complaints(hit.values()), [])


class Checker(unittest.TestCase):
    """The check itself would catch what it is for."""

    def complain(self, text):
        with tempfile.TemporaryDirectory() as folder:
            source, compiled = pathlib.Path(folder) / "sample.cpp", str(pathlib.Path(folder) / "sample.o")
            source.write_text(text)
            subprocess.run([ARGUMENTS.compiler, "-std=c++20", "-O2", "-fPIC", "-c", source, "-o", compiled], check=True)
            return complaints([compiled])

    def test_allocator(self):
        self.assertRegex("\n".join(self.complain("#include <cstdlib>\nvoid* f() { return std::malloc(8); }")), "malloc")
        self.assertRegex("\n".join(self.complain("int* f() { return new int; }")), "operator new")

    def test_lock(self):
        self.assertTrue(self.complain("#include <mutex>\nvoid f(std::mutex& m) { m.lock(); }"))

    def test_shared_inline_function(self):
        self.assertTrue(self.complain("[[gnu::noinline]] inline int g() { asm(\"\"); return 1; }\nint f() { return g(); }"))

    def test_harmless(self):
        self.assertFalse(self.complain("#include <errno.h>\nint f() { return errno; }"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--sources", nargs="+", required=True)
    parser.add_argument("--objects", nargs="+", required=True)
    ARGUMENTS = parser.parse_args()
    unittest.main(argv=["hit_path_test.py"])
