# SPDX-License-Identifier: Apache-2.0
"""Every example runs as its file says, on a real container; run by tests/run as root in namespaces of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("INCUS_BUILD", ROOT / "build"))
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([ROOT / "tests/support/busybox-image", folder / "tree"], check=True)
    file = folder / "busybox.tar.gz"
    subprocess.run(["tar", "-C", folder / "tree", "--numeric-owner", "-czf", file, "metadata.yaml", "rootfs"], check=True)
    subprocess.run(["rm", "-rf", folder / "tree"], check=True)
    return file


@pytest.fixture()
def state() -> Iterator[Path]:
    """A state directory that an unprivileged guest can reach (pytest's own are closed to others)."""
    path = Path(tempfile.mkdtemp(prefix="incus-example.", dir="/var/tmp"))
    path.chmod(0o711)
    yield path / "host"
    shutil.rmtree(path)


def run(*argv: object) -> str:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("program", ["hello", "hello-c"])
def test_hello(program: str, image: Path, state: Path) -> None:
    out = run(BUILD / "bin" / program, f"embed://{state}", image)
    assert out.startswith("0 Linux"), out


def test_hello_python(image: Path, state: Path) -> None:
    out = run(sys.executable, EXAMPLES / "hello.py", f"embed://{state}", image)
    assert out.startswith("0 b'Linux") and "Running ['c1']" in out, out


def test_backup(image: Path, state: Path, tmp_path: Path) -> None:
    out = run(sys.executable, EXAMPLES / "backup.py", f"embed://{state}", image, tmp_path / "c1.backup")
    assert out == f"{(tmp_path / 'c1.backup').stat().st_size} bytes\nc2 ['copy/s0']\n", out


def test_quickstart(image: Path) -> None:
    before = set(Path("/var/tmp").glob("libincus-quickstart.*"))
    out = run(EXAMPLES / "quickstart", "--small", "--no-build")
    assert "hello from c1" in out and "launch c1" in out, out
    assert set(Path("/var/tmp").glob("libincus-quickstart.*")) == before, "it left its directory"


def test_every_example_is_run_here() -> None:
    known = {"backup.py", "hello.cpp", "hello.c", "hello.py", "quickstart", "quickstart.cpp", "meson.build"}
    assert {p.name for p in EXAMPLES.iterdir() if not p.name.startswith("__")} == known
