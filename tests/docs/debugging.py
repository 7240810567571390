#!/usr/bin/env python3
"""Runs the gdb blocks of a page, each in a gdb of its own: the program must end normally.

Usage: debugging.py PAGE GDB PROGRAM
"""

import os
import pathlib
import re
import subprocess
import sys

BLOCK = re.compile(r"^```gdb([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main():
    page, gdb, program = sys.argv[1:]
    blocks = BLOCK.findall(pathlib.Path(page).read_text())
    if len(blocks) < 2:
        sys.exit(f"{page}: where are its commands?")
    for mark, commands in blocks:
        environment = dict(os.environ, DEBUGINFOD_URLS="")
        if mark.strip() == "traps":
            environment["LIBPROBE_NO_JUMPS"] = "1"
        arguments = [part for line in commands.splitlines() for part in ("-ex", line)]
        seen = subprocess.run([gdb, "-batch", "-nx", *arguments, program], env=environment, timeout=100, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        said = re.search(r"^libprobe: 1 of 1 probes .* a breakpoint", seen, re.MULTILINE) is not None
        if "exited normally" not in seen or said != (mark.strip() == "traps"):
            sys.exit(f"{commands}:\n{seen}")
        if "bt" in commands.split() and not re.search(r"#0 .*seen.*\n(#.*\n)*#\d+ .*twice.*\n#\d+ .* main ", seen):
            sys.exit(f"no such backtrace:\n{seen}")


main()
