# SPDX-License-Identifier: Apache-2.0
"""Fixtures that give tests real machines. Installed, pytest finds them by itself; else run pytest with -p incus.pytest_plugin.

    def test_uname(incus_instance):
        assert incus_instance.exec(["uname"]).stdout == b"Linux\\n"

incus_host       a host of its own for each worker of pytest-xdist, in a temporary directory; it dies with the worker, even when that
                 is killed: no instance, mount, cgroup or file of it stays
incus_image      alias of an image in it: busybox by default, or the file or directory that INCUS_TEST_IMAGE names
incus_instances  makes instances: incus_instances(), incus_instances("name", config={...}); all are deleted after the test
incus_instance   one that runs and is ready

Options: --incus-uri opens another host, such as test://, instead of a private one. Environment: INCUS_TEST_IMAGE as above; INCUS_TEST_TMP is the
folder for state directories (/var/tmp by default, since /tmp may be in memory). Built images are kept in $XDG_CACHE_HOME/incus.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import platform
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

import incus

_RECIPE = 1  # part of the cached file's name: raise it when _busybox_files() changes
_APPLETS = (
    "sh ash ls cat echo true false sleep id ps mount umount uname touch mkdir rmdir rm ln cp mv chmod chown stat kill env pwd hostname grep sed awk "
    "head tail wc dd df du test tty stty ip ifconfig seq yes sync readlink find tar gzip date dmesg free killall printf sort top vi wget nc ping udhcpc"
).split()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("incus")
    group.addoption("--incus-uri", default="", help="host to open for the incus fixtures, instead of a private one for each worker")


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "incus"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _find_busybox() -> Path:
    for place in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox") or ""):
        if place and os.access(place, os.X_OK):
            return Path(place)
    raise RuntimeError("no busybox to make a test image of: install busybox-static, or name an image with INCUS_TEST_IMAGE")


def _busybox_image(to: Path, busybox: bytes) -> None:
    """Writes a unified image around a static busybox."""
    texts = {
        "metadata.yaml": f"architecture: {platform.machine()}\ncreation_date: 1700000000\nproperties:\n  os: busybox\n  description: busybox for tests\n",
        "rootfs/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n",
        "rootfs/etc/group": "root:x:0:\nuser:x:1000:\n",
        "rootfs/etc/inittab": "::sysinit:/etc/rc\n::ctrlaltdel:/sbin/reboot\n::shutdown:/bin/true\nnull::respawn:/bin/sleep 100000\n",
        "rootfs/etc/rc": "#!/bin/sh\necho up\n",
    }
    with tarfile.open(to, "w:gz", compresslevel=1) as tar:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.size, info.linkname, info.mtime = kind, mode, len(data), link, 1700000000
            tar.addfile(info, io.BytesIO(data))

        folders = ("", "bin", "dev", "etc", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var", "var/log")
        add("metadata.yaml", tarfile.REGTYPE, 0o644, texts.pop("metadata.yaml").encode())
        for folder in folders:
            add(f"rootfs/{folder}".rstrip("/"), tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755)
        for name, text in texts.items():
            add(name, tarfile.REGTYPE, 0o755 if name.endswith("/rc") else 0o644, text.encode())
        add("rootfs/bin/busybox", tarfile.REGTYPE, 0o755, busybox)
        for applet in _APPLETS:
            add(f"rootfs/bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        for applet in ("init", "reboot", "poweroff", "halt"):
            add(f"rootfs/sbin/{applet}", tarfile.SYMTYPE, 0o777, link="../bin/busybox")


def busybox_image() -> Path:
    """The file of a busybox image: made once, kept between runs and shared by workers."""
    busybox = _find_busybox().read_bytes()
    cache = _cache()
    image = cache / f"busybox-{_RECIPE}-{hashlib.sha256(busybox).hexdigest()[:16]}.tar.gz"
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.exists():
            part = image.with_suffix(".part")
            _busybox_image(part, busybox)
            os.replace(part, image)
    return image


@pytest.fixture(scope="session")
def incus_host(request: pytest.FixtureRequest) -> Iterator[incus.Host]:
    """A host of this worker alone."""
    uri = request.config.getoption("--incus-uri")
    if uri:
        with incus.open(uri) as host:
            yield host
        return
    folder = Path(tempfile.mkdtemp(prefix="incus-pytest-", dir=os.environ.get("INCUS_TEST_TMP") or "/var/tmp"))
    folder.chmod(0o711)  # the root of an unprivileged guest must reach its filesystem below it
    try:
        host = incus.open(f"embed://{folder}", auto_destroy=True, remove_directory=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    with host:
        yield host
    shutil.rmtree(folder, ignore_errors=True)  # what a host leaves that never started anything


@pytest.fixture(scope="session")
def incus_image(incus_host: incus.Host) -> str:
    """Alias of an image in incus_host."""
    alias = "pytest"
    try:
        incus_host.images.aliases.get(alias)
    except incus.NotFound:
        incus_host.images.import_file(os.environ.get("INCUS_TEST_IMAGE") or busybox_image(), alias=alias).wait()
    return alias


@pytest.fixture
def incus_instances(request: pytest.FixtureRequest, incus_host: incus.Host) -> Iterator[Callable[..., incus.Instance]]:
    """Makes instances that are deleted after the test. Arguments as those of host.instances.launch(); with start=False as of create()."""
    made: List[incus.Instance] = []

    def make(name: str = "", *, start: bool = True, **how: Any) -> incus.Instance:
        if "image" not in how and "source" not in how:
            how["image"] = request.getfixturevalue("incus_image")
        instances = incus_host.instances
        try:
            instance = instances.launch(name, **how) if start and "source" not in how else instances.create(name, start=start, **how)
        except incus.Error:
            # Started but not ready: it is there.
            if name and name in [i.name for i in incus_host.instances.list()]:
                made.append(incus_host.instances.handle(name))
            raise
        made.append(instance)
        return instance

    yield make
    problems = []
    for instance in reversed(made):
        try:
            instance.delete(force=True)
        except incus.NotFound:
            pass  # the test deleted it
        except incus.Error as e:
            problems.append(f"{instance.name}: {e}")
    assert not problems, "instances that could not be deleted: " + "; ".join(problems)


@pytest.fixture
def incus_instance(incus_instances: Callable[..., incus.Instance]) -> incus.Instance:
    """An instance that runs and is ready."""
    return incus_instances()
