#!/usr/bin/env python3
"""exported.py CLANG INCLUDE LIBRARY: what the shared library exports is what the public headers declare.

Everything that they declare and do not define must be there; what is there must be declared by them. Inline functions
of theirs may be there too: whoever takes their addresses must see the same in the library as in the program.
"""
import json
import re
import subprocess
import sys
from pathlib import Path

CLANG, INCLUDE, LIBRARY = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
FUNCTIONS = {"FunctionDecl", "CXXMethodDecl", "CXXConstructorDecl", "CXXDestructorDecl", "CXXConversionDecl"}
SCOPES = {"NamespaceDecl", "CXXRecordDecl", "LinkageSpecDecl"}


def documents(text):
    """One after the other, as clang writes what passes its filter."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        found, end = decoder.raw_decode(text, at)
        yield found
        at = end
        while at < len(text) and text[at].isspace():
            at += 1


def declared(node, scope, names, functions):
    """Qualified names; and functions by mangled name, true if they have a body in some header."""
    kind, name = node.get("kind"), node.get("name", "")
    if kind in SCOPES or kind in ("ClassTemplateDecl", "FunctionTemplateDecl"):
        inside = scope
        if kind in ("NamespaceDecl", "CXXRecordDecl"):
            inside = [*scope, name] if name else scope
            names.add("::".join(inside))
        for child in node.get("inner", []):
            if kind in SCOPES:
                declared(child, inside, names, functions)
            elif child.get("kind") in FUNCTIONS | SCOPES:  # a template: it is for whoever instantiates it
                declared(child, inside, names, {})
    elif kind in FUNCTIONS:
        names.add("::".join([*scope, name]))
        here = any(child.get("kind") in ("CompoundStmt", "CXXTryStmt") for child in node.get("inner", []))
        here = here or any(node.get(word) for word in ("explicitlyDeleted", "explicitlyDefaulted", "isImplicit", "pure"))
        if "mangledName" in node:
            functions[node["mangledName"]] = functions.get(node["mangledName"], False) or here
    elif kind in ("VarDecl", "EnumDecl"):
        names.add("::".join([*scope, name]))


def main():
    # A CPU's own come by registers.hpp and results.hpp.
    headers = sorted(path.relative_to(INCLUDE) for path in INCLUDE.rglob("*.hpp")
                     if not re.match("(registers|results)_", path.name))
    source = "".join(f"#include <{path}>\n" for path in headers)
    dump = subprocess.run([CLANG, "-std=c++20", f"-I{INCLUDE}", "-fsyntax-only", "-x", "c++", "-", "-Xclang", "-ast-dump=json",
                           "-Xclang", "-ast-dump-filter=libprobe"], input=source, stdout=subprocess.PIPE, text=True, check=True)
    names, functions = set(), {}
    for document in documents(dump.stdout):
        if document.get("kind") == "NamespaceDecl" and document.get("name") == "libprobe":
            declared(document, [], names, functions)
    wanted = {name for name, has_body in functions.items() if not has_body}

    told = subprocess.run(["nm", "-D", "--defined-only", "--without-symbol-versions", LIBRARY], stdout=subprocess.PIPE,
                          text=True, check=True)
    exported = {line.split()[-1] for line in told.stdout.splitlines() if line.split()[-2] != "A"}
    shown = subprocess.run(["c++filt"], input="\n".join(sorted(exported)), stdout=subprocess.PIPE, text=True, check=True)
    faults = [f"declared, not exported: {name}" for name in sorted(wanted - exported)]
    for mangled, name in zip(sorted(exported), shown.stdout.splitlines()):
        bare = re.sub(r"^(typeinfo name for|typeinfo for|vtable for|VTT for|guard variable for) ", "", name)
        while re.search(r"<[^<>]*>", bare):
            bare = re.sub(r"<[^<>]*>", "", bare)
        bare = re.sub(r"\[abi:\w+\]", "", bare.split("(")[0]).split(" ")[-1]
        if bare not in names:
            faults.append(f"exported, not declared: {name}")
    print(f"{len(exported)} names are exported, {len(wanted)} must be")
    for fault in faults:
        print(fault)
    sys.exit(1 if faults or not wanted else 0)


main()
