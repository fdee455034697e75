# SPDX-License-Identifier: Apache-2.0
"""Optimised backups on btrfs pools, and those of disks and media: there and back, hostile and cut-off ones."""

import io
import os
import random
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Client
from servers import Daemon, daemon_with
from test_backups import Evil, furnish, kill, listing, query, refuse

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")


@pytest.fixture(scope="module")
def daemon(image: Path) -> Iterator[Daemon]:
    with daemon_with(image, "streams") as d:
        d.client("storage", "create", "b1", "btrfs", "size=600MiB")
        d.client("storage", "create", "b2", "btrfs", "size=600MiB")
        yield d


def at(daemon: Daemon, path: str) -> Path:
    """The daemon has mounts of its own."""
    assert daemon.process
    child = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()[0]
    return Path(f"/proc/{child}/root{daemon.dir}/storage-pools/{path}")


def whole(daemon: Daemon) -> None:
    assert query(daemon.client, "/internal/check") == {"problems": []}
    assert not [p for p in (daemon.dir / "backups").rglob("*") if not p.is_dir()]
    for pool in ("b1", "b2"):
        assert not at(daemon, pool + "/transfers").exists()
        for kind in ("containers", "containers-snapshots", "custom", "custom-snapshots"):
            assert [p.name for p in at(daemon, f"{pool}/{kind}").iterdir()] == []


def members(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return [m.name for m in tar]


def test_instance(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("create", "busybox", "c1", "-s", "b1", "-c", "user.a=b")
    root = at(daemon, "b1/containers/c1/rootfs")
    furnish(root)
    ours("snapshot", "create", "c1", "s0")
    subprocess.run(["btrfs", "subvolume", "create", root / "sub-a"], check=True, stdout=subprocess.DEVNULL)
    (root / "sub-a/in").write_text("in")
    (root / "sub-a/dir").mkdir()
    subprocess.run(["btrfs", "subvolume", "create", root / "sub-a/dir/deep"], check=True, stdout=subprocess.DEVNULL)
    (root / "sub-a/dir/deep/file").write_text("deep")
    subprocess.run(["btrfs", "property", "set", "-ts", root / "sub-a/dir/deep", "ro", "true"], check=True)
    ours("snapshot", "create", "c1", "s1")
    (root / "later").write_text("later")
    want = [listing(root), *(listing(at(daemon, f"b1/containers-snapshots/c1/{s}/rootfs")) for s in ("s0", "s1"))]
    file = tmp_path / "c1"
    ours("export", "c1", str(file), "--optimized-storage", "--compression", "none")
    assert members(file) == ["backup", "backup/index.yaml", "backup/optimized_header.yaml", "backup/snapshots/s0.bin", "backup/snapshots/s1.bin"] + [
        f"backup/{p}_rootfs-sub--a{d}.bin" for p in ("snapshots/s1",) for d in ("", "-dir-deep")
    ] + ["backup/container.bin"] + [f"backup/container_rootfs-sub--a{d}.bin" for d in ("", "-dir-deep")]
    ours("delete", "c1")
    whole(daemon)
    ours("import", str(file))
    ours("import", str(file), "c2", "-s", "b2")
    for pool, name in (("b1", "c1"), ("b2", "c2")):
        have = [listing(at(daemon, f"{pool}/containers/{name}/rootfs")), *(listing(at(daemon, f"{pool}/containers-snapshots/{name}/{s}/rootfs")) for s in ("s0", "s1"))]
        assert have == want
        with pytest.raises(OSError):
            (at(daemon, f"{pool}/containers-snapshots/{name}/s1/rootfs") / "x").write_text("")
        with pytest.raises(OSError):
            (at(daemon, f"{pool}/containers/{name}/rootfs/sub-a/dir/deep") / "x").write_text("")
        assert ours("config", "get", name, "user.a") == "b\n"
    ours("start", "c1", "c2")
    ours("snapshot", "restore", "c2", "s0")
    ours("export", "c1", str(tmp_path / "running"), "--optimized-storage", "--instance-only")
    ours("delete", "-f", "c1", "c2")
    ours("import", str(tmp_path / "running"), "c3", "-s", "b2")
    ours("start", "c3")
    ours("delete", "-f", "c3")
    refused = ours.run("import", str(file), "c4", "-s", "default", check=False)
    assert refused.returncode == 1 and "differs from the target storage pool driver" in refused.stderr
    whole(daemon)


def test_plain_where_there_are_no_streams(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("create", "busybox", "c1", "-s", "default")
    ours("query", "-X", "POST", "--wait", "-d", '{"name": "b", "optimized_storage": true}', "/1.0/instances/c1/backups")
    backup = query(ours, "/1.0/instances/c1/backups/b")
    assert isinstance(backup, dict) and backup["optimized_storage"] is False
    ours("export", "c1", str(tmp_path / "c1"), "--optimized-storage")
    assert "backup/container/rootfs" in members(tmp_path / "c1")
    ours("delete", "c1")
    whole(daemon)


def test_volume(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("storage", "volume", "create", "b1", "v1", "user.a=b")
    place = at(daemon, "b1/custom/default_v1")
    furnish(place)
    os.chown(place, 5, 6)
    ours("storage", "volume", "snapshot", "create", "b1", "v1", "s0")
    (place / "later").write_text("later")
    want = [listing(place), listing(at(daemon, "b1/custom-snapshots/default_v1/s0"))]
    ours("storage", "volume", "export", "b1", "v1", str(tmp_path / "v1"), "--optimized-storage")
    assert members(tmp_path / "v1")[2:] == ["backup/optimized_header.yaml", "backup/volume-snapshots/s0.bin", "backup/volume.bin"]
    ours("storage", "volume", "import", "b2", str(tmp_path / "v1"), "v2")
    assert [listing(at(daemon, "b2/custom/default_v2")), listing(at(daemon, "b2/custom-snapshots/default_v2/s0"))] == want
    refused = ours.run("storage", "volume", "import", "default", str(tmp_path / "v1"), "v3", check=False)
    assert refused.returncode == 1 and "differs from the target storage pool driver" in refused.stderr
    ours("storage", "volume", "delete", "b1", "v1")
    ours("storage", "volume", "delete", "b2", "v2")
    whole(daemon)


@pytest.mark.parametrize("pool", ["default", "b1"])
def test_disk_and_medium(daemon: Daemon, ours: Client, tmp_path: Path, pool: str) -> None:
    ours("storage", "volume", "create", pool, "disk", "--type=block", "size=64MiB")
    image = at(daemon, f"{pool}/custom/default_disk/root.img")
    noise = random.Random(1).randbytes(100_000)
    with open(image, "r+b") as f:
        f.seek(5 << 20)
        f.write(noise)
    ours("storage", "volume", "snapshot", "create", pool, "disk", "s0")
    with open(image, "r+b") as f:
        f.write(b"later")
    (tmp_path / "m.iso").write_bytes(b"CD001" + noise)
    ours("storage", "volume", "import", pool, str(tmp_path / "m.iso"), "medium", "--type=iso")
    kinds: list[list[str]] = [[], ["--optimized-storage"]] if pool == "b1" else [[]]
    for n, how in enumerate(kinds):
        for name in ("disk", "medium"):
            ours("storage", "volume", "export", pool, name, str(tmp_path / f"{name}{n}"), *how)
        assert (tmp_path / f"disk{n}").stat().st_size < 1 << 20
        if not how:
            assert members(tmp_path / "disk0")[2:] == ["backup/volume-snapshots/s0.img", "backup/volume.img"]
            assert members(tmp_path / "medium0")[2:] == ["backup/volume.img"]
        for name in ("disk", "medium"):
            ours("storage", "volume", "import", pool, str(tmp_path / f"{name}{n}"), f"{name}-again")
        again = at(daemon, f"{pool}/custom/default_disk-again/root.img")
        assert again.read_bytes() == image.read_bytes() and again.stat().st_blocks * 512 < 1 << 20
        was = at(daemon, f"{pool}/custom-snapshots/default_disk-again/s0/root.img").read_bytes()
        assert was[:5] == bytes(5) and was[5 << 20 : (5 << 20) + len(noise)] == noise and len(was) == 64 << 20
        assert at(daemon, f"{pool}/custom/default_medium-again/root.iso").read_bytes() == b"CD001" + noise
        shown = query(ours, f"/1.0/storage-pools/{pool}/volumes/custom/disk-again")
        assert isinstance(shown, dict) and shown["content_type"] == "block" and shown["config"]["size"] == "64MiB"
        shown = query(ours, f"/1.0/storage-pools/{pool}/volumes/custom/medium-again")
        assert isinstance(shown, dict) and shown["content_type"] == "iso"
        ours("storage", "volume", "delete", pool, "disk-again")
        ours("storage", "volume", "delete", pool, "medium-again")
    ours("storage", "volume", "delete", pool, "disk")
    ours("storage", "volume", "delete", pool, "medium")
    whole(daemon)


# ---- hostile ones

HEADER = "subvolumes:\n- {path: /, snapshot: '', readonly: false, uuid: x}\n"


@pytest.fixture(scope="module")
def good(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a good backup with one snapshot."""
    file = tmp_path_factory.mktemp("good") / "c"
    daemon.client("create", "busybox", "good", "-s", "b1")
    root = at(daemon, "b1/containers/good/rootfs")
    (root / "victim").symlink_to("/tmp")
    daemon.client("snapshot", "create", "good", "s0")
    (root / "later").write_bytes(b"later" * 20_000)
    daemon.client("export", "good", str(file), "--optimized-storage", "--compression", "none")
    daemon.client("delete", "good")
    with tarfile.open(file) as tar:
        return {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar if m.isfile()}


def packed(files: dict[str, bytes]) -> bytes:
    evil = Evil(index="")
    for name, data in files.items():
        evil.add(name, data)
    return evil.tar()


def lines(good: dict[str, bytes], old: str, new: str, count: int = 1) -> dict[str, bytes]:
    header = good["backup/optimized_header.yaml"].decode()
    assert old in header
    return {**good, "backup/optimized_header.yaml": header.replace(old, new, count).encode()}


def test_hostile(daemon: Daemon, ours: Client, tmp_path: Path, good: dict[str, bytes]) -> None:
    path = 'path: "/"'
    without = {k: v for k, v in good.items() if k != "backup/optimized_header.yaml"}
    main, snapshot = "backup/container.bin", "backup/snapshots/s0.bin"
    foreign = {**good, "backup/index.yaml": good["backup/index.yaml"].replace(b"backend: btrfs", b"backend: zfs")}
    assert foreign != good
    no_header = {**without, "backup/index.yaml": good["backup/index.yaml"].replace(b"optimized_header: true", b"optimized_header: false")}
    cases: dict[str, tuple[dict[str, bytes], str]] = {
        "of another driver": (foreign, "differs from the target storage pool driver"),
        "header missing": (without, "optimized_header.yaml"),
        "header of text": ({**good, "backup/optimized_header.yaml": b"x"}, "must be a map"),
        "dots": (lines(good, path, 'path: "/../../x"'), "must lead from the volume's top"),
        "dots inside": (lines(good, path, 'path: "/rootfs/../.."'), "must lead from the volume's top"),
        "relative": (lines(good, path, 'path: "rootfs"'), "must lead from the volume's top"),
        "empty name": (lines(good, path, 'path: "//x"'), "must lead from the volume's top"),
        "unknown snapshot": (lines(good, 'snapshot: "s0"', 'snapshot: "../../x"'), "not one of those"),
        "snapshot missing": (lines(good, 'snapshot: "s0"', 'snapshot: ""'), "twice"),
        "volume missing": (lines(good, 'snapshot: ""', 'snapshot: "s0"'), "twice"),
        "only volume": ({**good, "backup/optimized_header.yaml": HEADER.encode()}, "does not name snapshot"),
        "unknown stream": ({**good, "backup/container_x.bin": good[main]}, "does not name"),
        "stream missing": ({k: v for k, v in good.items() if k != main}, "holds no"),
        "base missing": ({**{k: v for k, v in good.items() if k != snapshot}, snapshot: good[snapshot]}, "did not come before"),
        "the same twice": ({**good, main: good[snapshot]}, "came before"),
        "no stream": ({**good, main: b"hello"}, "does not begin as one"),
        "flipped": ({**good, main: good[main][:-50] + bytes([good[main][-50] ^ 1]) + good[main][-49:]}, "checksum"),
        "something after": ({**good, main: good[main] + b"x"}, "after its end"),
        "index says plain": ({**good, "backup/index.yaml": good["backup/index.yaml"].replace(b"optimized: true", b"optimized: false")}, "stream"),
    }
    for what, (files, words) in cases.items():
        said = refuse(ours, tmp_path, packed(files))
        assert words in said, (what, said)
        assert ours("list", "-f", "csv") == "", what
        whole(daemon)
    # An older one, without a header.
    (tmp_path / "old").write_bytes(packed(no_header))
    ours("import", str(tmp_path / "old"))
    assert (at(daemon, "b1/containers/good/rootfs") / "later").stat().st_size == 100_000
    ours("delete", "good")
    whole(daemon)


def test_cut_off(daemon: Daemon, ours: Client, tmp_path: Path, good: dict[str, bytes]) -> None:
    """Anywhere: as an archive, and each stream by itself."""
    whole_file = packed(good)
    dice = random.Random(7)
    for _ in range(12):
        refuse(ours, tmp_path, whole_file[: dice.randrange(1, len(whole_file) - 1024)])
        name = dice.choice([n for n in good if n.endswith(".bin")])
        refuse(ours, tmp_path, packed({**good, name: good[name][: dice.randrange(len(good[name]))]}))
    assert ours("list", "-f", "csv") == ""
    whole(daemon)


def test_hostile_disk(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    index = Evil("custom").index().replace("content_type: filesystem", "content_type: block")
    load = ("storage", "volume", "import", "default")
    assert "backup/volume.img" in refuse(ours, tmp_path, Evil("custom", index).tar(), *load)
    assert "twice" in refuse(ours, tmp_path, Evil("custom", index).add("backup/volume.img", b"x").add("backup/volume.img", b"x").tar(), *load)
    assert "regular" in refuse(ours, tmp_path, Evil("custom", index).add("backup/volume.img", kind=tarfile.SYMTYPE, link="/etc/passwd").tar(), *load)
    assert "does not name" in refuse(ours, tmp_path, Evil("custom", index).add("backup/volume-snapshots/s.img", b"x").add("backup/volume.img", b"x").tar(), *load)
    assert "unknown content type" in refuse(ours, tmp_path, Evil("custom", index.replace("block", "tape")).add("backup/volume.img", b"x").tar(), *load)
    assert "backup/volume" in refuse(ours, tmp_path, Evil("custom").add("backup/volume.img", b"x").tar(), *load)
    assert query(ours, "/1.0/storage-pools/default/volumes/custom") == []
    whole(daemon)


def test_owner_of_the_top(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    """A volume's directory is root's, whatever a stream says: it closes set-uid files of guests to the host's users."""
    ours("create", "busybox", "c1", "-s", "b1")
    top = at(daemon, "b1/containers/c1")
    os.chown(top, 1000, 1000)
    top.chmod(0o777)
    (top / "odd").write_text("x")
    ours("export", "c1", str(tmp_path / "c1"), "--optimized-storage")
    ours("import", str(tmp_path / "c1"), "c2")
    st = at(daemon, "b1/containers/c2").stat()
    assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o100, 0, 0)
    assert not (at(daemon, "b1/containers/c2") / "odd").exists()
    (top / "odd").unlink(missing_ok=True)
    ours("delete", "c1", "c2")
    whole(daemon)


def test_no_space(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("storage", "create", "small", "btrfs", "size=120MiB")
    ours("storage", "volume", "create", "b1", "v1")
    ours("storage", "volume", "snapshot", "create", "b1", "v1", "s0")
    (at(daemon, "b1/custom/default_v1") / "noise").write_bytes(random.randbytes(150 << 20))
    ours("storage", "volume", "export", "b1", "v1", str(tmp_path / "v1"), "--optimized-storage", "--compression", "none")
    refused = ours.run("storage", "volume", "import", "small", str(tmp_path / "v1"), "v2", check=False)
    assert refused.returncode == 1 and "o space" in refused.stderr, refused.stderr
    for kind in ("custom", "custom-snapshots"):
        assert list(at(daemon, f"small/{kind}").iterdir()) == []
    assert not at(daemon, "small/transfers").exists()
    ours("storage", "volume", "delete", "b1", "v1")
    ours("storage", "delete", "small")
    whole(daemon)


def test_killed(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    """At a random time of an export, an import or a copy to another pool: afterwards it was done, or nothing was."""
    ours("create", "busybox", "c1", "-s", "b1")
    (at(daemon, "b1/containers/c1/rootfs") / "noise").write_bytes(random.randbytes(40 << 20))
    ours("snapshot", "create", "c1", "s0")
    good = tmp_path / "good"
    ours("export", "c1", str(good), "--optimized-storage", "--compression", "none")
    dice = random.Random(11)
    commands = (["export", "c1", str(tmp_path / "out"), "--optimized-storage"], ["import", str(good), "c2", "-s", "b2"], ["copy", "c1", "c2", "-s", "b2"])
    for n in range(9):
        process = subprocess.Popen([ours.program, *commands[n % 3]], env={**os.environ, **ours.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.02, 0.4))
        kill(daemon)
        process.wait(60)
        daemon.start()
        (tmp_path / "out").unlink(missing_ok=True)
        assert query(ours, "/internal/check") == {"problems": []}
        for backup in query(ours, "/1.0/instances/c1/backups") or []:  # type: ignore[attr-defined]
            ours("query", "-X", "DELETE", "--wait", str(backup))
        if ours("list", "c2", "-f", "csv"):
            ours("delete", "c2")
        for pool in ("b1", "b2"):
            assert not at(daemon, pool + "/transfers").exists()
        for kind in ("containers", "containers-snapshots"):
            assert list(at(daemon, f"b2/{kind}").iterdir()) == []
    ours("delete", "c1")
    whole(daemon)
