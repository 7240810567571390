#!/usr/bin/env python3
"""names.py PROJECT PAGE...: paths and names that the pages put in backticks, or draw, are there in the sources."""
import re
import sys
from pathlib import Path

PROJECT = Path(sys.argv[1])
SOURCES = "\n".join(path.read_text() for top in ("src", "arch", "include") for path in sorted((PROJECT / top).rglob("*"))
                    if path.suffix in {".hpp", ".cpp", ".S", ".h", ".txt"})
WORDS = set(re.findall(r"\w+", SOURCES))
FOREIGN = {"longjmp", "vfork", "pthread_atfork", "sigreturn", "membarrier", "clone", "fork"}  # not ours
faults, looked_at = [], 0
for page in map(Path, sys.argv[2:]):
    text = page.read_text()
    for path in set(re.findall(r"(?<![\w/.])(?:src|arch|tests|include|examples|benchmarks|docs|\.ci)/[\w./-]*\w", text)):
        looked_at += 1
        if not (PROJECT / path).exists() and not (PROJECT / path.rstrip(".")).exists():
            faults.append(f"{page.name}: no such file: {path}")
    for name in set(re.findall(r"\b([\w:]+)\(\)", text)):
        looked_at += 1
        if not all(part in WORDS for part in name.split("::") if part) and name not in FOREIGN:
            faults.append(f"{page.name}: nothing is called {name}()")
for fault in sorted(faults):
    print(fault)
print(f"{looked_at} paths and names")
sys.exit(1 if faults or not looked_at else 0)
