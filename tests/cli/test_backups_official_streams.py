# SPDX-License-Identifier: Apache-2.0
"""Optimised backups on btrfs pools, and those of disks, from and for the official daemon."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from test_backups import furnish
from test_backups_official import Side, differing, seen
from test_backups_official import sides as sides

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")
WAYS = pytest.mark.parametrize("way", [("ours", "theirs"), ("theirs", "ours")], ids=lambda w: f"{w[0]}-to-{w[1]}")


def daemon_of(side: Side) -> str:
    """The process whose mounts a daemon sees."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"INCUS_DIR={side.dir}" in (process / "environ").read_text().split("\0") and (process / "comm").read_text() == "incusd\n":
                return process.name
        except OSError:
            continue
    raise AssertionError(f"no daemon of {side.dir}")


def at(side: Side, path: str) -> Path:
    return Path(f"/proc/{daemon_of(side)}/root{side.dir}/storage-pools/b/{path}")


@pytest.fixture(scope="module")
def pools(sides: dict[str, Side]) -> dict[str, Side]:
    for side in sides.values():
        side.client("storage", "create", "b", "btrfs", "size=400MiB")
    return sides


@WAYS
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_instance(pools: dict[str, Side], way: tuple[str, str], compression: str, tmp_path: Path) -> None:
    a, b = pools[way[0]], pools[way[1]]
    a.client("create", "busybox", "c1", "-s", "b", "-c", "user.a=yes: no")
    root = at(a, "containers/c1/rootfs")
    furnish(root)
    a.client("snapshot", "create", "c1", "s0")
    subprocess.run(["btrfs", "subvolume", "create", root / "sub-a"], check=True, stdout=subprocess.DEVNULL)
    (root / "sub-a/in").write_text("in")
    a.client("snapshot", "create", "c1", "s1")
    (root / "later").write_text("later")
    parts = ["containers/{}/rootfs", "containers-snapshots/{}/s0/rootfs", "containers-snapshots/{}/s1/rootfs"]
    want = [seen(at(a, p.format("c1"))) for p in parts]
    a.client("export", "c1", str(tmp_path / "c1"), "--optimized-storage", "--compression", compression)
    b.client("import", str(tmp_path / "c1"))
    b.client("import", str(tmp_path / "c1"), "c2")
    for name in ("c1", "c2"):
        for w, p in zip(want, parts, strict=True):
            h = seen(at(b, p.format(name)))
            assert differing(w, h) == "" and h.keys() == w.keys()
        assert b.client("config", "get", name, "user.a") == "yes: no\n"
    b.client("snapshot", "restore", "c1", "s0")
    assert not (at(b, "containers/c1/rootfs") / "later").exists()
    b.client("export", "c2", str(tmp_path / "back"), "--optimized-storage", "--instance-only")
    a.client("import", str(tmp_path / "back"), "c3")
    h = seen(at(a, "containers/c3/rootfs"))
    assert differing(want[0], h) == ""
    a.client("delete", "c1", "c3")
    b.client("delete", "c1", "c2")


def test_instance_that_ran(pools: dict[str, Side], tmp_path: Path) -> None:
    """Owners are the guest's where it comes to, whoever they were on the official daemon's disk."""
    theirs, ours = pools["theirs"], pools["ours"]
    theirs.client("launch", "busybox", "ran", "-s", "b")
    theirs.client("exec", "ran", "--", "sh", "-c", "echo x > /made; chown 7:8 /made")
    theirs.client("stop", "-f", "ran")
    theirs.client("export", "ran", str(tmp_path / "ran"), "--optimized-storage")
    ours.client("import", str(tmp_path / "ran"))
    ours.client("start", "ran")
    assert ours.client("exec", "ran", "--", "stat", "-c", "%u:%g", "/made") == "7:8\n"
    ours.client("delete", "-f", "ran")
    theirs.client("delete", "ran")


@WAYS
def test_volume(pools: dict[str, Side], way: tuple[str, str], tmp_path: Path) -> None:
    a, b = pools[way[0]], pools[way[1]]
    a.client("storage", "volume", "create", "b", "v1", "user.a=b")
    place = at(a, "custom/default_v1")
    furnish(place)
    a.client("storage", "volume", "snapshot", "create", "b", "v1", "s0")
    (place / "later").write_text("later")
    a.client("storage", "volume", "snapshot", "create", "b", "v1", "s1")
    parts = ["custom/default_{}", "custom-snapshots/default_{}/s0", "custom-snapshots/default_{}/s1"]
    want = [seen(at(a, p.format("v1"))) for p in parts]
    a.client("storage", "volume", "export", "b", "v1", str(tmp_path / "v1"), "--optimized-storage")
    b.client("storage", "volume", "import", "b", str(tmp_path / "v1"), "v2")
    for w, p in zip(want, parts, strict=True):
        h = seen(at(b, p.format("v2")))
        assert differing(w, h) == "" and h.keys() == w.keys()
    assert b.client("storage", "volume", "get", "b", "v2", "user.a") == "b\n"
    a.client("storage", "volume", "delete", "b", "v1")
    b.client("storage", "volume", "delete", "b", "v2")


def test_volume_in_use(pools: dict[str, Side], tmp_path: Path) -> None:
    theirs, ours = pools["theirs"], pools["ours"]
    theirs.client("storage", "volume", "create", "b", "used")
    furnish(at(theirs, "custom/default_used"))
    want = seen(at(theirs, "custom/default_used"))
    theirs.client("create", "busybox", "user", "-s", "b")
    theirs.client("storage", "volume", "attach", "b", "used", "user", "data", "/data")
    theirs.client("start", "user")
    assert at(theirs, "custom/default_used").stat().st_uid >= 65536
    theirs.client("storage", "volume", "snapshot", "create", "b", "used", "s0")
    theirs.client("delete", "-f", "user")
    theirs.client("storage", "volume", "export", "b", "used", str(tmp_path / "used"), "--optimized-storage")
    ours.client("storage", "volume", "import", "b", str(tmp_path / "used"), "taken")
    have, snapshot = seen(at(ours, "custom/default_taken")), seen(at(ours, "custom-snapshots/default_taken/s0"))
    assert not differing(want, have), differing(want, have)
    assert not differing(want, snapshot), differing(want, snapshot)
    theirs.client("storage", "volume", "delete", "b", "used")
    ours.client("storage", "volume", "delete", "b", "taken")


@WAYS
def test_disk(sides: dict[str, Side], way: tuple[str, str], tmp_path: Path) -> None:
    a, b = sides[way[0]], sides[way[1]]
    a.client("storage", "volume", "create", "default", "disk", "--type=block", "size=32MiB")
    image = a.dir / "storage-pools/default/custom/default_disk/root.img"
    noise = random.Random(3).randbytes(50_000)
    with open(image, "r+b") as f:
        f.seek(3 << 20)
        f.write(noise)
    a.client("storage", "volume", "snapshot", "create", "default", "disk", "s0")
    with open(image, "r+b") as f:
        f.write(b"later")
    a.client("storage", "volume", "export", "default", "disk", str(tmp_path / "disk"))
    b.client("storage", "volume", "import", "default", str(tmp_path / "disk"), "again")
    have = b.dir / "storage-pools/default/custom/default_again/root.img"
    assert have.read_bytes() == image.read_bytes() and have.stat().st_blocks * 512 < 1 << 20
    was = (b.dir / "storage-pools/default/custom-snapshots/default_again/s0/root.img").read_bytes()
    assert was[:5] == bytes(5) and was[3 << 20 :][: len(noise)] == noise
    assert b.client("storage", "volume", "get", "default", "again", "size") == "32MiB\n"
    a.client("storage", "volume", "delete", "default", "disk")
    b.client("storage", "volume", "delete", "default", "again")
