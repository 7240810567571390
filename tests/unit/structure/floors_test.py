"""Includes go down the floors only, and what depends on the CPU stays in its folder.

usage: floors_test.py PROJECT
"""
import pathlib
import re
import sys
import unittest

GROUND = {"os", "symbols", "epoch", "arch"}
# Folder -> folders it may include from, besides its own.
MAY_INCLUDE = {
    "os": {"arch"},
    "arch": {"os"},
    "epoch": {"os", "arch"},
    "symbols": {"os", "arch"},
    "site": GROUND,
    "hit": GROUND | {"site"},
    "control": GROUND | {"site"},
    "assembly": GROUND | {"site"},  # compiled for its numbers, never linked
    "api": GROUND | {"site", "hit", "control"},
    "agent": set(),  # the public API only
    "profile": set(),  # the public API only
    "public": set(),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
CPU_CONDITION = re.compile(
    r"^\s*#\s*(?:el)?if.*(?:x86|amd64|i386|_M_X64|_M_IX86|aarch64|arm|riscv|ppc|powerpc|s390|mips|loongarch).*$",
    re.MULTILINE | re.IGNORECASE)
MACHINE_CODE = re.compile(r"\b(?:asm|__asm__)\b\s*(?:volatile|goto|inline)?\s*\(")


def folder_of(path):
    """The folder of a file, given relative to the project."""
    parts = pathlib.PurePath(path).parts
    if parts[0] == "include":
        return "public"
    return parts[1] if parts[0] == "src" else parts[0]


def without_comments(text):
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def resolve(project, included):
    """A quoted include as the build finds it: from src/, from the top, or from the port's folder."""
    for base in [project / "src", project, *sorted((project / "arch").glob("*/"))]:
        if (base / included).is_file():
            return (base / included).relative_to(project)
    return None


def complaints(path, text, find):
    """What is wrong with one file; find() turns a quoted include into a path, or None."""
    folder = folder_of(path)
    found = []
    for quote, included in INCLUDE.findall(text):
        if quote == "<":
            if folder == "agent" or not included.startswith(("os/", "symbols/", "epoch/", "site/", "hit/", "control/")):
                continue
            found.append(f"{path}: <{included}> is no system header")
            continue
        if included == "offsets.h" and folder == "arch":  # the build makes it: src/assembly
            continue
        target = find(included)
        if target is None:
            found.append(f"{path}: no such file: {included}")
        elif folder_of(target) != folder and folder_of(target) not in MAY_INCLUDE[folder]:
            found.append(f"{path}: {folder} may not include {target}")
    if folder != "arch" and pathlib.PurePath(path).name not in {"registers.hpp", "results.hpp"}:
        code = without_comments(text)
        found += [f"{path}: condition on the CPU: {line.strip()}" for line in CPU_CONDITION.findall(code)]
        if folder != "assembly":
            found += [f"{path}: machine code" for _ in MACHINE_CODE.findall(code)]
    return found


class Tree(unittest.TestCase):
    def test_every_source_keeps_to_its_floor(self):
        sources = [p for top in ("src", "arch", "include") for p in (PROJECT / top).rglob("*")
                   if p.suffix in {".cpp", ".hpp", ".h", ".S"}]
        self.assertGreater(len(sources), 20)
        found = []
        for path in sources:
            found += complaints(path.relative_to(PROJECT), path.read_text(), lambda i: resolve(PROJECT, i))
        self.assertEqual(found, [])


class Checker(unittest.TestCase):
    """The check itself would catch what it is for."""

    def complain(self, path, text):
        return complaints(path, text, lambda included: pathlib.PurePath("src") / included)

    def test_hit_and_control_do_not_meet(self):
        self.assertTrue(self.complain("src/hit/run.cpp", '#include "control/registry.hpp"\n'))
        self.assertTrue(self.complain("src/control/attach.cpp", '#  include "hit/run.hpp"\n'))
        self.assertFalse(self.complain("src/hit/run.cpp", '#include "site/site.hpp"\n'))

    def test_nothing_looks_up(self):
        self.assertTrue(self.complain("src/epoch/reader.cpp", '#include "site/site.hpp"\n'))
        self.assertTrue(self.complain("src/site/site.cpp", '#include "api/detail.hpp"\n'))
        self.assertTrue(self.complain("src/os/text.cpp", '#include <site/site.hpp>\n'))
        self.assertTrue(self.complain("include/libprobe/probe.hpp", '#include "os/text.hpp"\n'))

    def test_the_profiler_stands_on_the_public_headers(self):
        self.assertTrue(self.complain("src/profile/hooks.cpp", '#include "site/site.hpp"\n'))
        self.assertTrue(self.complain("src/api/probe.cpp", '#include "profile/session.hpp"\n'))
        self.assertTrue(self.complain("src/profile/hooks.cpp", '#include <hit/run.hpp>\n'))
        self.assertFalse(self.complain("src/profile/hooks.cpp", '#include <libprobe/probe.hpp>\n#include "profile/session.hpp"\n'))

    def test_cpu(self):
        self.assertTrue(self.complain("src/os/text.cpp", "#if defined(__x86_64__)\n"))
        self.assertTrue(self.complain("src/os/text.cpp", "#ifdef __aarch64__\n"))
        self.assertTrue(self.complain("src/os/text.cpp", 'asm volatile("nop");\n'))
        self.assertFalse(self.complain("src/os/text.cpp", "// asm\n#if __has_include(<x>)\n"))
        self.assertFalse(self.complain("arch/x86_64/context.cpp", 'asm volatile("nop");\n'))


if __name__ == "__main__":
    PROJECT = pathlib.Path(sys.argv.pop())
    unittest.main()
