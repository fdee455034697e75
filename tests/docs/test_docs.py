# SPDX-License-Identifier: Apache-2.0
"""The documents against the tree: programs in them are those the tests run, files and keys that are named exist.

INCUS_ACCEPT=1 writes the programs' text into the documents instead of comparing it.
"""

import os
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("libincus/", "include/", "bindings/", "tests/", "examples/", "docs/", "subprojects/", "tests/run")


def marked(path: Path) -> str:
    """The lines of a program between its two [readme] marks."""
    lines = path.read_text().splitlines()
    marks = [n for n, line in enumerate(lines) if "[readme]" in line or "[/readme]" in line]
    assert len(marks) == 2, f"{path} must have two lines with [readme]"
    return textwrap.dedent("\n".join(lines[marks[0] + 1 : marks[1]])).strip("\n") + "\n"


BLOCK = r"(<!-- {name} -->\n```\w+\n)(.*?)(```)"


@pytest.mark.parametrize(
    ("document", "name"),
    [("README.md", "examples/hello.cpp"), ("README.md", "examples/hello.c"), ("README.md", "examples/hello.py"), ("docs/backups.md", "examples/backup.py")],
)
def test_documents_show_the_program(document: str, name: str) -> None:
    path = ROOT / document
    text = path.read_text()
    pattern = re.compile(BLOCK.format(name=re.escape(name)), re.S)
    found = pattern.search(text)
    assert found, f"{document} has no block for {name}"
    program = marked(ROOT / name)
    if os.environ.get("INCUS_ACCEPT") == "1":
        path.write_text(text[: found.start(2)] + program + text[found.end(2) :])
        return
    assert found[2] == program, f"{document} differs from the program; INCUS_ACCEPT=1 writes it anew"
    assert program.count("\n") <= 12, f"{name}: {document} promises about ten lines"


def named_files(document: Path) -> list[str]:
    text = document.read_text()
    names = [n.rstrip("/") for n in re.findall(r"`([A-Za-z0-9_./+-]+)`", text) if n.startswith(ROOMS)]
    here = document.parent.relative_to(ROOT)
    names += [os.path.normpath(here / n) for n in re.findall(r"\]\(([^)#:]+)\)", text)]
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_files_that_are_named_exist(document: Path) -> None:
    missing = [n for n in named_files(document) if not (ROOT / n).exists()]
    assert not missing, f"{document.name} names {missing}"


@pytest.mark.parametrize("name", ["adding-a-storage-driver.md", "adding-a-device.md", "adding-an-api.md"])
def test_guides_name_the_files_to_touch(name: str) -> None:
    assert len(set(named_files(ROOT / "docs" / name))) >= 4


def test_keys_that_are_named_exist() -> None:
    """Configuration keys in the documents are rows of the schema."""
    source = "\n".join(p.read_text() for p in (ROOT / "libincus").rglob("*.cpp"))
    for document in DOCUMENTS:
        for key in re.findall(r"`((?:security|limits|boot|raw|snapshots)\.[a-z_.]+)(?:=\w+)?`", document.read_text()):
            assert f'"{key}"' in source, f"{document.name} names {key}, which no schema row has"


def test_every_file_says_its_licence() -> None:
    kinds = (".cpp", ".hpp", ".c", ".h", ".py", ".pyi", ".sh", ".map", ".build")
    bare = []
    for folder in ("libincus", "include", "bindings", "tests", "examples"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and (path.suffix in kinds or path.name == "meson.build") and "__pycache__" not in path.parts:
                head = path.read_bytes()[:200]
                if head.strip() and b"SPDX-License-Identifier: Apache-2.0" not in head:
                    bare.append(str(path.relative_to(ROOT)))
    assert not bare


def test_no_file_is_too_long() -> None:
    """Rule 11 of the house: a file above 800 lines asks to be split."""
    long = []
    for folder in ("libincus", "include", "bindings"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".cpp", ".hpp", ".h", ".c", ".py") and (n := len(path.read_text().splitlines())) > 800:
                long.append(f"{path.relative_to(ROOT)}: {n}")
    assert not long
