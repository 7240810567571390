#!/usr/bin/env python3
"""Writes every C++ block of Markdown files, and of headers' comments, as a program of its own, and prints their paths, ';' between them.

A ```cpp block is a program with its own main(). A ```cpp body block is put into one. So nothing in the
documents is left uncompiled: any other C++ block is an error.

Usage: extract.py OUT_DIR FILE.md ...
"""

import pathlib
import re
import sys

FENCE = re.compile(r"^```cpp([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BODY = """#include <cstdio>
#include <cstdlib>
#include <libprobe/libprobe.hpp>
#include <vector>
int main() {{
#line {line} "{file}"
{code}  return 0;
}}
"""


def program(document, line, mark, code):
    if mark == "body":
        return BODY.format(line=line, file=document, code=code)
    if mark == "" and re.search(r"\bint main\(", code):
        return f'#line {line} "{document}"\n{code}'
    sys.exit(f'{document}:{line}: a C++ block without main() must be marked "cpp body"')


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for document in map(pathlib.Path, sys.argv[2:]):
        text = document.read_text()
        if document.suffix == ".hpp":
            text = re.sub(r"^// ?", "", text, flags=re.MULTILINE)
        for number, block in enumerate(FENCE.finditer(text), 1):
            line = text.count("\n", 0, block.start(2)) + 1
            source = program(document, line, block.group(1).strip(), block.group(2))
            path = out / f"{document.stem.lower()}_{number}.cpp"
            if not path.exists() or path.read_text() != source:
                path.write_text(source)
            written.append(str(path))
    print(";".join(written), end="")


main()
