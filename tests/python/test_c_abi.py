# SPDX-License-Identifier: Apache-2.0
"""The C face as a contract: headers stand alone, symbols agree with headers and map both ways, and nothing once given is taken away.

The contract is tests/capi/abi.txt, made from the headers: handles are opaque, so prototypes, enumerations and callback types are all of it.
After adding to the face, INCUS_ACCEPT=1 writes the file anew; lines that disappear from it are an incompatible change.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("INCUS_BUILD", ROOT / "build"))
HEADERS = sorted((ROOT / "include/incus").glob("*.h"))
GOLDEN = ROOT / "tests/capi/abi.txt"
LIBRARY = BUILD / "libincus/libincus.so"
STRICT = ["-fsyntax-only", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{ROOT / 'include'}"]


def run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stderr}"
    return done.stdout


def declarations() -> list[str]:
    """Every declaration of the C face as one line of normalised text."""
    text = run("gcc", "-E", "-P", "-std=c99", f"-I{ROOT / 'include'}", "-x", "c", "-", stdin="#include <incus/incus.h>\n")
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)\)?", "", text)
    lines = []
    for statement in re.split(r";(?![^{]*\})", text):
        line = re.sub(r"\s+", " ", statement).strip()
        if "incus_" in line:
            lines.append(re.sub(r"\s*([(),*{}=])\s*", r"\1", line))
    return sorted(lines)


def functions(lines: list[str]) -> set[str]:
    return {m[1] for line in lines if not line.startswith("typedef") and (m := re.search(r"\b(incus_\w+)\(", line))}


def symbols(library: Path) -> list[tuple[str, str]]:
    """(name, version) of what the library exports."""
    out = []
    for line in run("nm", "-D", "--defined-only", "--with-symbol-versions", str(library)).splitlines():
        name, _, version = line.split()[-1].partition("@@")
        if line.split()[-2] != "A":
            out.append((name, version))
    return out


@pytest.mark.parametrize("header", HEADERS, ids=lambda h: h.name)
def test_header_alone(header: Path) -> None:
    source = f"#include <incus/{header.name}>\n#include <incus/{header.name}>\nint unused;\n"
    c99 = ["-std=c99", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wc++-compat"]
    run("gcc", *c99, *STRICT, "-x", "c", "-", stdin=source)
    run("g++", "-std=c++98", *STRICT, "-Wno-long-long", "-x", "c++", "-", stdin=source.replace("int unused", "extern int unused"))


@pytest.mark.parametrize("header", sorted((ROOT / "include/incus").glob("*.hpp")), ids=lambda h: h.name)
def test_cxx_header_alone(header: Path) -> None:
    run("g++", "-std=c++20", *STRICT, "-x", "c++", "-", stdin=f"#include <incus/{header.name}>\n#include <incus/incus.h>\n")
    text = header.read_text()
    assert not re.search(r"#include\s*[<\"](boost|fmt)/", text)
    assert not re.search(r"\bvirtual\b", re.sub(r'//.*|"[^"\n]*"', "", text))


def test_every_function_is_exported_and_declared() -> None:
    declared = functions(declarations())
    exported = {name for name, version in symbols(LIBRARY) if version == "INCUS_0.1"}
    assert len(declared) > 80
    assert exported - declared == set(), "exported but not in a header"
    assert declared - exported == set(), "in a header but not exported"


def test_nothing_else_is_exported() -> None:
    for name, version in symbols(LIBRARY):
        if version == "INCUS_0.1":
            assert re.fullmatch(r"incus_[a-z0-9_]+", name), name
        else:
            assert version == "INCUS_CXX_0", f"{name} is in no node of the version script"
    mangled = [name for name, version in symbols(LIBRARY) if version == "INCUS_CXX_0"]
    plain = run("c++filt", stdin="\n".join(mangled)).splitlines()
    assert len(plain) > 80
    for name in plain:
        assert re.match(r"(typeinfo (name )?for |vtable for |)incus::v0::", name), name
    assert "typeinfo for incus::v0::Error" in plain


def test_map_names_the_nodes() -> None:
    text = (ROOT / "libincus/libincus.map").read_text()
    assert re.findall(r"^(\w[\w.]*) \{", text, re.M)[:2] == ["INCUS_0.1", "INCUS_CXX_0"]
    assert "local:\n    *;" in text


def test_contract() -> None:
    now = declarations()
    if os.environ.get("INCUS_ACCEPT") == "1":
        GOLDEN.write_text("\n".join(now) + "\n")
    agreed = GOLDEN.read_text().splitlines()
    gone = [line for line in agreed if line not in now]
    new = [line for line in now if line not in agreed]
    assert not gone, "changed or removed, which breaks programs: " + "; ".join(gone)
    assert not new, "new: run once with INCUS_ACCEPT=1 to agree to it: " + "; ".join(new)


def test_every_function_is_documented() -> None:
    for header in HEADERS:
        text = header.read_text()
        for m in re.finditer(r"(?:^|\n)(?P<before>[^\n]*)\nINCUS_API [^;]*?\b(?P<name>incus_\w+)\(", text):
            assert m["before"].rstrip().endswith("*/"), f"{m['name']} in {header.name} has no documentation"


def test_library_needs_no_liblxc() -> None:
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", str(LIBRARY)))
    assert not [n for n in needed if "lxc" in n or "archive" in n], needed
