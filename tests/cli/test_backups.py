# SPDX-License-Identifier: Apache-2.0
"""Backups of instances and volumes: out of a daemon of this tree and into one, hostile ones, a daemon that is killed, recovery from a pool alone."""

import io
import json
import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Client
from servers import Daemon, daemon_with

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")


@pytest.fixture(scope="module")
def daemon(image: Path) -> Iterator[Daemon]:
    with daemon_with(image, "backups") as d:
        yield d


def query(client: Client, *args: str) -> object:
    return json.loads(client("query", *args) or "null")


def whole(daemon: Daemon) -> None:
    """Store, disk and kernel agree, and no backup is left."""
    assert query(daemon.client, "/internal/check") == {"problems": []}
    assert not [p for p in (daemon.dir / "backups").rglob("*") if not p.is_dir()]


def listing(root: Path) -> dict[str, object]:
    """Everything that must survive about each file."""
    out: dict[str, object] = {}
    first: dict[tuple[int, int], str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        st = path.lstat()
        row: list[object] = [st.st_mode, st.st_uid, st.st_gid]
        if not path.is_dir() or path.is_symlink():
            row.append(st.st_mtime_ns)
            name = str(path.relative_to(root))
            row.append(first.setdefault((st.st_dev, st.st_ino), name))
        if path.is_symlink():
            row.append(os.readlink(path))
        elif path.is_file():
            row += [st.st_size, path.read_bytes() if st.st_size < 1 << 20 else st.st_blocks * 512 < st.st_size / 2]
        elif not path.is_dir():
            row.append(st.st_rdev)
        row.append([(k, os.getxattr(path, k, follow_symlinks=False)) for k in sorted(os.listxattr(path, follow_symlinks=False))])
        out[str(path.relative_to(root))] = row
    return out


def furnish(root: Path) -> None:
    """One of everything that a backup must keep."""
    (root / "odd name\n\xfc").write_text("odd")
    (root / "set").write_text("set")
    os.chown(root / "set", 1000, 2000)
    (root / "set").chmod(0o6755)
    os.link(root / "set", root / "link of set")
    os.setxattr(root / "set", "user.colour", b"blue\0green")
    capable = root / "capable"
    capable.write_text("x")
    os.setxattr(capable, "security.capability", bytes([1, 0, 0, 2, 0, 0x20] + [0] * 14))
    (root / "closed").mkdir(mode=0o1700)
    os.chown(root / "closed", 7, 8)
    subprocess.run(["setfacl", "-m", "u:1234:rw,d:g:77:rx", root / "closed"], check=True)
    subprocess.run(["setfacl", "-m", "u:1234:rw", root / "odd name\n\xfc"], check=True)
    (root / "closed/to").symlink_to("/nowhere")
    os.mknod(root / "null", 0o020666, os.makedev(1, 3))
    os.mkfifo(root / "fifo", 0o622)
    with open(root / "sparse", "wb") as f:
        f.truncate(8 << 20)
        f.seek(4 << 20)
        f.write(b"middle")
    os.utime(root / "set", ns=(1234567890123456789, 1234567890123456789))


def rootfs(daemon: Daemon, name: str) -> Path:
    return daemon.dir / "containers" / name / "rootfs"


@pytest.mark.parametrize("compression", ["", "none", "gzip", "zstd", "xz -1", "bzip2"])
def test_round(daemon: Daemon, ours: Client, tmp_path: Path, compression: str) -> None:
    """What was there before is there afterwards, in the instance and in its snapshot; under its name and under another."""
    ours("create", "busybox", "c1", "-c", "user.a=yes: no", "--description", 'a "description"')
    furnish(rootfs(daemon, "c1"))
    ours("snapshot", "create", "c1", "s0")
    (rootfs(daemon, "c1") / "later").write_text("later")
    want, was = listing(rootfs(daemon, "c1")), listing(daemon.dir / "containers-snapshots/c1/s0/rootfs")
    config = query(ours, "/1.0/instances/c1")
    file = tmp_path / "c1.backup"
    ours("export", "c1", str(file), *(["--compression", compression] if compression else []))
    heads = {"": b"\x1f\x8b", "gzip": b"\x1f\x8b", "zstd": b"\x28\xb5", "xz -1": b"\xfd7", "bzip2": b"BZ", "none": b"ba"}
    assert file.read_bytes()[:2] == heads[compression]
    if compression != "zstd":
        with tarfile.open(file) as tar:
            names = [m.name for m in tar]
        assert names[:2] == ["backup", "backup/index.yaml"] and "backup/container/rootfs/later" in names and "backup/snapshots/s0/rootfs/set" in names
    ours("delete", "c1")
    whole(daemon)
    ours("import", str(file))
    ours("import", str(file), "c2")
    for name in ("c1", "c2"):
        assert listing(rootfs(daemon, name)) == want
        assert listing(daemon.dir / f"containers-snapshots/{name}/s0/rootfs") == was
    now = query(ours, "/1.0/instances/c1")
    assert isinstance(now, dict) and isinstance(config, dict)
    for key in ("description", "devices", "profiles", "created_at", "architecture", "ephemeral"):
        assert now[key] == config[key]
    kept = {k: v for k, v in config["config"].items() if not k.startswith("volatile.idmap")}
    assert {k: now["config"].get(k) for k in kept} == kept
    ours("start", "c1", "c2")
    ours("snapshot", "restore", "c1", "s0")
    assert not (rootfs(daemon, "c1") / "later").exists()
    ours("delete", "-f", "c1", "c2")
    whole(daemon)


def test_running_and_alone(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("launch", "busybox", "c1")
    ours("snapshot", "create", "c1", "s0")
    ours("export", "c1", str(tmp_path / "b"), "--instance-only")
    assert ours.run("export", "c1", str(tmp_path / "b"), check=False).stderr == f'Error: Target path "{tmp_path}/b" already exists\n'
    ours("delete", "-f", "c1")
    ours("import", str(tmp_path / "b"))
    assert query(ours, "/1.0/instances/c1/snapshots") == []
    ours("start", "c1")
    ours("delete", "-f", "c1")
    whole(daemon)


def test_kept_on_the_server(daemon: Daemon, ours: Client) -> None:
    """Backups have names, are renamed and removed, and go where their instance goes."""
    ours("create", "busybox", "c1")
    place = daemon.dir / "backups/instances"
    ours("query", "-X", "POST", "--wait", "-d", '{"instance_only": true, "optimized_storage": true}', "/1.0/instances/c1/backups")
    ours("query", "-X", "POST", "--wait", "-d", '{"name": "b", "compression_algorithm": "zstd -3"}', "/1.0/instances/c1/backups")
    assert query(ours, "/1.0/instances/c1/backups") == ["/1.0/instances/c1/backups/backup0", "/1.0/instances/c1/backups/b"]
    one = query(ours, "/1.0/instances/c1/backups/backup0")
    assert isinstance(one, dict) and one["instance_only"] and one["expires_at"] == "0001-01-01T00:00:00Z"
    ours("query", "-X", "POST", "--wait", "-d", '{"name": "c"}', "/1.0/instances/c1/backups/b")
    assert sorted(p.name for p in (place / "c1").iterdir()) == ["backup0", "c"]
    for body, words in {
        '{"name": "c"}': "already exists",
        '{"name": "a/b"}': "may not contain slashes",
        '{"name": "d", "compression_algorithm": "rar"}': "compression",
        '{"name": "d", "expires_at": "soon"}': "soon",
    }.items():
        done = ours.run("query", "-X", "POST", "--wait", "-d", body, "/1.0/instances/c1/backups", check=False)
        assert done.returncode == 1 and words in done.stderr, done.stderr
    for path in ("c1/backups/nosuch", "nosuch/backups/c"):
        assert "Instance backup not found" in ours.run("query", "-X", "POST", "--wait", "-d", '{"name":"x"}', f"/1.0/instances/{path}", check=False).stderr
    ours("rename", "c1", "c2")
    assert sorted(p.name for p in (place / "c2").iterdir()) == ["backup0", "c"] and not (place / "c1").exists()
    assert query(daemon.client, "/internal/check") == {"problems": []}
    ours("query", "-X", "DELETE", "--wait", "/1.0/instances/c2/backups/backup0")
    assert query(ours, "/1.0/instances/c2/backups") == ["/1.0/instances/c2/backups/c"]
    ours("delete", "c2")
    assert not (place / "c2").exists()
    whole(daemon)


def test_moved_along(daemon: Daemon, ours: Client) -> None:
    """Backups go where their owner goes: to another pool, project and name."""
    ours("storage", "create", "elsewhere", "dir")
    ours("project", "create", "apart", "-c", "features.profiles=false", "-c", "features.images=false")
    try:
        ours("storage", "volume", "create", "default", "v1", "user.keep=this")
        ours("storage", "volume", "snapshot", "create", "default", "v1", "s0")
        query(ours, "-X", "POST", "--wait", "-d", json.dumps({"name": "kept"}), "/1.0/storage-pools/default/volumes/custom/v1/backups")
        before = next((daemon.dir / "backups" / "custom").rglob("kept")).read_bytes()
        ours("storage", "volume", "move", "default/v1", "elsewhere/v2", "--target-project", "apart")
        moved = "/1.0/storage-pools/elsewhere/volumes/custom/v2"
        assert query(ours, moved + "/backups?project=apart") == [moved + "/backups/kept?project=apart"]
        assert next((daemon.dir / "backups" / "custom" / "elsewhere").rglob("kept")).read_bytes() == before
        volume = query(ours, moved + "?project=apart")
        assert isinstance(volume, dict) and volume["config"]["user.keep"] == "this"
        assert query(ours, moved + "/snapshots?project=apart") == [moved + "/snapshots/s0?project=apart"]
        assert query(ours, "/internal/check") == {"problems": []}
        ours("storage", "volume", "delete", "elsewhere", "v2", "--project", "apart")

        ours("init", "busybox", "m1")
        query(ours, "-X", "POST", "--wait", "-d", json.dumps({"name": "kept"}), "/1.0/instances/m1/backups")
        before = (daemon.dir / "backups" / "instances" / "m1" / "kept").read_bytes()
        query(ours, "-X", "POST", "--wait", "-d", json.dumps({"name": "m2", "pool": "elsewhere", "migration": True}), "/1.0/instances/m1")
        assert query(ours, "/1.0/instances/m2/backups") == ["/1.0/instances/m2/backups/kept"]
        assert (daemon.dir / "backups" / "instances" / "m2" / "kept").read_bytes() == before
        assert query(ours, "/internal/check") == {"problems": []}
        ours("delete", "m2")
        whole(daemon)
    finally:
        ours("project", "delete", "apart", "--force", input="yes\n")
        ours("storage", "delete", "elsewhere")


def test_expiry(daemon: Daemon, ours: Client) -> None:
    ours("create", "busybox", "c1")
    ours("storage", "volume", "create", "default", "v1")
    for of in ("instances/c1", "storage-pools/default/volumes/custom/v1"):
        for body in ('{"name": "old", "expires_at": "2023-07-17T00:00:00Z"}', '{"name": "stays"}', '{"name": "young", "expires_at": "2200-01-01T00:00:00Z"}'):
            ours("query", "-X", "POST", "--wait", "-d", body, f"/1.0/{of}/backups")
    kill(daemon)
    daemon.start()
    for of in ("instances/c1", "storage-pools/default/volumes/custom/v1"):
        deadline = time.monotonic() + 30
        while (left := query(ours, f"/1.0/{of}/backups")) != [f"/1.0/{of}/backups/{n}" for n in ("stays", "young")]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
    ours("delete", "c1")
    ours("storage", "volume", "delete", "default", "v1")
    whole(daemon)


def test_another_pool_and_project(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("storage", "create", "layers", "overlay")
    ours("project", "create", "p1", "-c", "features.profiles=false", "-c", "features.images=false")
    ours("create", "busybox", "c1")
    ours("snapshot", "create", "c1", "s0")
    want = listing(rootfs(daemon, "c1"))
    ours("export", "c1", str(tmp_path / "dir"))
    ours("import", str(tmp_path / "dir"), "c2", "-s", "layers")
    ours("import", str(tmp_path / "dir"), "c3", "--project", "p1")
    ours("start", "c2")
    ours("start", "c3", "--project", "p1")
    # Out of a pool of layers, running: what was merged there is a plain tree again.
    ours("exec", "c2", "--", "sh", "-c", "echo new >/new; rm /etc/hostname; true")
    ours("export", "c2", str(tmp_path / "layers"))
    ours("import", str(tmp_path / "layers"), "c4", "-s", "default")
    have = listing(rootfs(daemon, "c4"))
    assert (rootfs(daemon, "c4") / "new").read_text() == "new\n"
    assert listing(daemon.dir / "containers-snapshots/c4/s0/rootfs") == want
    assert set(want) - {"etc/hostname"} <= set(have)
    assert query(ours, "/internal/check") == {"problems": []}
    ours("delete", "-f", "c1", "c2", "c4")
    ours("delete", "-f", "c3", "--project", "p1")
    ours("project", "delete", "p1")
    ours("storage", "delete", "layers")
    whole(daemon)


def test_pool_that_is_gone(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    """A backup goes to the pool that is named, else to its own, else to that of the default profile."""
    file = str(tmp_path / "b")
    for pool in ("first", "second"):
        ours("storage", "create", pool, "dir")
    ours("create", "busybox", "c1", "-s", "first")
    ours("snapshot", "create", "c1", "s0")
    ours("export", "c1", file)
    ours("delete", "c1")

    def pool_of_c1() -> str:
        instance = query(ours, "/1.0/instances/c1")
        assert isinstance(instance, dict)
        pool: str = instance["expanded_devices"]["root"]["pool"]
        assert query(ours, f"/1.0/storage-pools/{pool}/volumes/container/c1/snapshots") == [f"/1.0/storage-pools/{pool}/volumes/container/c1/snapshots/s0"]
        ours("delete", "c1")
        return pool

    ours("import", file)
    assert pool_of_c1() == "first"
    ours("import", file, "-s", "second")
    assert pool_of_c1() == "second"
    ours("storage", "delete", "first")
    ours("import", file)
    assert pool_of_c1() == "default"
    refused = ours.run("import", file, "-s", "first", check=False)
    assert refused.returncode != 0 and "first" in refused.stderr
    ours("profile", "device", "remove", "default", "root")
    refused = ours.run("import", file, check=False)
    assert refused.returncode != 0 and "name a pool" in refused.stderr
    ours("import", file, "-s", "second")
    assert pool_of_c1() == "second"
    ours("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
    ours("storage", "delete", "second")
    whole(daemon)


def test_volume(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    ours("storage", "volume", "create", "default", "v1", "user.a=b")
    place = daemon.dir / "storage-pools/default/custom/default_v1"
    furnish(place)
    os.chown(place, 5, 6)
    ours("storage", "volume", "snapshot", "create", "default", "v1", "s0")
    (place / "later").write_text("later")
    want, was = listing(place), listing(daemon.dir / "storage-pools/default/custom-snapshots/default_v1/s0")
    ours("storage", "volume", "export", "default", "v1", str(tmp_path / "v1"))
    ours("storage", "volume", "export", "default", "v1", str(tmp_path / "alone"), "--volume-only", "--compression", "none")
    ours("storage", "volume", "delete", "default", "v1")
    whole(daemon)
    ours("storage", "volume", "import", "default", str(tmp_path / "v1"))
    ours("storage", "volume", "import", "default", str(tmp_path / "alone"), "v2")
    assert "already exists" in ours.run("storage", "volume", "import", "default", str(tmp_path / "v1"), "v2", check=False).stderr
    assert "not of a custom volume" in refuse(ours, tmp_path, Evil(kind="container").tar(), "storage", "volume", "import", "default")
    assert listing(place) == want
    assert listing(daemon.dir / "storage-pools/default/custom-snapshots/default_v1/s0") == was
    assert listing(daemon.dir / "storage-pools/default/custom/default_v2") == want
    assert ours("storage", "volume", "get", "default", "v1", "user.a") == "b\n"
    assert query(ours, "/1.0/storage-pools/default/volumes/custom/v2/snapshots") == []
    ours("storage", "volume", "delete", "default", "v1")
    ours("storage", "volume", "delete", "default", "v2")
    whole(daemon)


# ---- hostile archives


class Evil:
    """An archive that would be a good one, with one thing that is not."""

    def __init__(self, kind: str = "container", index: str | None = None) -> None:
        self.buffer = io.BytesIO()
        self.file = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)
        self.kind = kind
        if index is None:
            index = self.index()
        if index:
            self.add("backup/index.yaml", index.encode())

    def index(self, name: str = "evil", snapshots: str = "", told: str = "", more: str = "", optimized: str = "false") -> str:
        what = (
            f"  container:\n    name: {name}\n    architecture: x86_64\n    type: container\n    profiles: [default]\n    config: {{{more}}}\n    devices: {{}}\n"
            if self.kind == "container"
            else f"  volume:\n    name: {name}\n    type: custom\n    content_type: filesystem\n    config: {{}}\n"
        )
        return f"name: evil\nbackend: dir\npool: default\nsnapshots: [{snapshots}]\noptimized: {optimized}\ntype: {self.kind}\nconfig:\n{what}{told}"

    def add(self, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", major: int = 0) -> "Evil":
        m = tarfile.TarInfo(name)
        m.type, m.linkname, m.size, m.mode, m.devmajor = kind, link, len(data), 0o755, major
        self.file.addfile(m, io.BytesIO(data))
        return self

    def good(self) -> "Evil":
        self.add("backup/container", kind=tarfile.DIRTYPE).add("backup/container/rootfs", kind=tarfile.DIRTYPE)
        return self.add("backup/container/rootfs/file", b"x")

    def tar(self) -> bytes:
        self.file.close()
        return self.buffer.getvalue()


def refuse(client: Client, folder: Path, data: bytes, *command: str) -> str:
    file = folder / "evil"
    file.write_bytes(data)
    done = client.run(*(command or ("import",)), str(file), check=False)
    assert done.returncode == 1 and done.stderr.startswith("Error: "), (done.stdout, done.stderr)
    return done.stderr


SNAPSHOT = "  snapshots:\n  - {name: s0, architecture: x86_64, config: {}, devices: {}, profiles: [default]}\n"
DEEP = "[" * 5000 + "]" * 5000

HOSTILE: dict[str, tuple[bytes, str]] = {
    "no archive": (b"hello, world" * 100, "tar"),
    "empty": (b"", "empty"),
    "no index": (Evil(index="").good().tar(), "missing"),
    "index is a link": (Evil(index="").add("backup/index.yaml", kind=tarfile.SYMTYPE, link="/etc/passwd").good().tar(), "not a regular file"),
    "index of text": (Evil(index="hello").good().tar(), "must be a map"),
    "aliases": (Evil(index="a: &a [1, 2]\nb: [*a, *a]\n").good().tar(), "not allowed"),
    "deep": (Evil(index=f"name: {DEEP}\n").good().tar(), "deeper"),
    "no config": (Evil(index="name: evil\npool: default\n").good().tar(), "missing required information"),
    "two names": (Evil(index=Evil().index(name="good")).good().tar(), "contradicts itself"),
    "bad name": (Evil(index=Evil().index(name="../x").replace("name: evil", "name: ../x")).good().tar(), "name"),
    "listed snapshot only": (Evil(index=Evil().index(snapshots="s0")).good().tar(), "contradicts itself"),
    "told snapshot only": (Evil(index=Evil().index(told=SNAPSHOT)).good().tar(), "contradicts itself"),
    "snapshot is not there": (Evil(index=Evil().index(snapshots="s0", told=SNAPSHOT)).good().tar(), "not those that its index names"),
    "snapshot too many": (Evil().add("backup/snapshots/s0/rootfs", kind=tarfile.DIRTYPE).good().tar(), "does not name"),
    "snapshot name": (Evil(index=Evil().index(snapshots="a~new", told=SNAPSHOT.replace("s0", "a~new"))).good().tar(), "a~new"),
    "unknown key": (Evil(index=Evil().index(more="no.such.key: 1")).good().tar(), "no.such.key"),
    "optimised": (Evil(index=Evil().index(optimized="true")).add("backup/container.bin", b"x").tar(), "optimized"),
    "stream": (Evil().add("backup/container.bin", b"x").tar(), "stream"),
    "virtual machine": (Evil(index=Evil().index().replace("type: container\nconfig", "type: virtual-machine\nconfig")).good().tar(), "virtual-machine"),
    "profile": (Evil(index=Evil().index().replace("[default]", "[nosuch]")).good().tar(), "nosuch"),
    "absolute": (Evil().good().add("/tmp/evil-file", b"x").tar(), "absolute"),
    "dots": (Evil().good().add("backup/container/rootfs/../../../evil-file", b"x").tar(), ".."),
    "through a link": (Evil().good().add("backup/container/rootfs/l", kind=tarfile.SYMTYPE, link="/tmp").add("backup/container/rootfs/l/evil-file", b"x").tar(), "link"),
    "rootfs is a link": (Evil().add("backup/container", kind=tarfile.DIRTYPE).add("backup/container/rootfs", kind=tarfile.SYMTYPE, link="/").tar(), "rootfs"),
    "hard link out": (Evil().good().add("backup/container/rootfs/h", kind=tarfile.LNKTYPE, link="etc/passwd").tar(), "outside"),
    "hard link to the index": (Evil().good().add("backup/container/rootfs/h", kind=tarfile.LNKTYPE, link="backup/index.yaml").tar(), "outside"),
    "device beside the root": (Evil().good().add("backup/container/sda", kind=tarfile.BLKTYPE, major=8).tar(), "device"),
    "metadata is a link": (Evil().good().add("backup/container/metadata.yaml", kind=tarfile.SYMTYPE, link="/etc/passwd").tar(), "metadata.yaml"),
    "twice": (Evil(index=Evil().index(snapshots="s0", told=SNAPSHOT)).good().add("backup/snapshots/s0/rootfs", kind=tarfile.DIRTYPE).good().tar(), "twice"),
    "cut off": (Evil().good().add("backup/container/rootfs/big", b"x" * 5000).tar()[:6000], "truncated"),
    "nothing in it": (Evil().tar(), "backup/container"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile(daemon: Daemon, ours: Client, tmp_path: Path, what: str) -> None:
    data, words = HOSTILE[what]
    assert words in refuse(ours, tmp_path, data)
    assert ours("list", "-f", "csv") == ""
    assert not Path("/tmp/evil-file").exists() and not (daemon.dir / "evil-file").exists()
    assert [p.name for p in (daemon.dir / "storage-pools/default/containers").iterdir()] == []
    whole(daemon)


def test_hostile_volume(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    evil = Evil("custom").add("backup/volume", kind=tarfile.DIRTYPE).add("backup/volume/l", kind=tarfile.SYMTYPE, link="..").add("backup/volume/l/x", b"x")
    assert "link" in refuse(ours, tmp_path, evil.tar(), "storage", "volume", "import", "default")
    block = Evil("custom").index().replace("content_type: filesystem", "content_type: block")
    assert "backup/volume.img" in refuse(ours, tmp_path, Evil("custom", block).tar(), "storage", "volume", "import", "default")
    assert query(ours, "/1.0/storage-pools/default/volumes/custom") == []
    assert list((daemon.dir / "storage-pools/default/custom").iterdir()) == []
    whole(daemon)


# ---- a daemon that is killed


def kill(daemon: Daemon) -> None:
    assert daemon.process
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()


def test_killed(daemon: Daemon, ours: Client, tmp_path: Path) -> None:
    """At a random time of an export or an import: afterwards it was done, or nothing was."""
    ours("create", "busybox", "c1")
    with open(rootfs(daemon, "c1") / "noise", "wb") as f:
        f.write(random.randbytes(24 << 20))
    ours("snapshot", "create", "c1", "s0")
    ours("export", "c1", str(tmp_path / "good"))
    chance = random.Random(int(os.environ.get("INCUS_TEST_SEED", "1")))
    ends = set()
    for n in range(8):
        command = ["export", "c1", str(tmp_path / f"e{n}")] if n % 2 else ["import", str(tmp_path / "good"), "c2"]
        child = subprocess.Popen([ours.program, *command], env={**os.environ, **ours.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.random() * 1.2)
        kill(daemon)
        child.wait(60)
        daemon.start()
        assert query(ours, "/internal/check") == {"problems": []}
        names = ours("list", "-f", "csv", "-c", "n").split()
        ends.add((n % 2, len(names), child.returncode))
        assert set(names) <= {"c1", "c2"}
        if "c2" in names:
            assert listing(rootfs(daemon, "c2")) == listing(rootfs(daemon, "c1"))
            ours("delete", "c2")
        backups = query(ours, "/1.0/instances/c1/backups")
        assert isinstance(backups, list)
        for b in backups:  # made, and not fetched
            ours("query", "-X", "DELETE", "--wait", b)
        whole(daemon)
    ours("delete", "c1")
    whole(daemon)


# ---- recovery


def test_recovery(daemon: Daemon, ours: Client, image: Path, tmp_path: Path) -> None:
    """The store gone, the pool there: everything comes back."""
    other = Daemon("lost")
    try:
        c = other.client
        c("storage", "create", "p1", "dir", "user.note=a note")
        c("profile", "device", "add", "default", "root", "disk", "path=/", "pool=p1")
        c("image", "import", str(image), "--alias", "busybox")
        c("create", "busybox", "c1", "-c", "user.a=b")
        c("snapshot", "create", "c1", "s0")
        c("storage", "volume", "create", "p1", "my_volume")
        c("storage", "volume", "snapshot", "create", "p1", "my_volume", "v0")
        c("storage", "volume", "create", "p1", "disk", "--type=block", "size=2MiB")
        (tmp_path / "medium.iso").write_text("CD001")
        c("storage", "volume", "import", "p1", str(tmp_path / "medium.iso"), "medium")
        before = query(c, "/1.0/instances/c1")
        assert "Nothing to do" in c("admin", "recover", input="no\nyes\n")
        kill(other)
        for name in ("database/global", "database/local.db", "database/local.db-wal", "database/local.db-shm", "containers/c1", "containers-snapshots/c1"):
            path = other.dir / name
            if path.is_dir() and not path.is_symlink():
                for f in path.iterdir():
                    f.unlink()
            elif path.is_symlink() or path.exists():
                path.unlink()
        other.start()
        assert c("list", "-f", "csv") == ""
        answers = f"yes\np1\ndir\n{other.dir}/storage-pools/p1\n\nno\nyes\nyes\n"
        said = c("admin", "recover", input=answers)
        assert 'Container "c1" on pool "p1" in project "default" (includes 1 snapshots)' in said and 'Volume "my_volume"' in said
        after = query(c, "/1.0/instances/c1")
        assert isinstance(before, dict) and isinstance(after, dict)
        assert {k: after["config"].get(k) for k in before["config"] if not k.startswith("volatile.last_state")} == {
            k: v for k, v in before["config"].items() if not k.startswith("volatile.last_state")
        }
        assert query(c, "/1.0/instances/c1/snapshots") == ["/1.0/instances/c1/snapshots/s0"]
        assert query(c, "/1.0/storage-pools/p1/volumes/custom/my_volume/snapshots") == ["/1.0/storage-pools/p1/volumes/custom/my_volume/snapshots/v0"]
        for name, content, size in (("my_volume", "filesystem", None), ("disk", "block", str(2 << 20)), ("medium", "iso", "5")):
            volume = query(c, f"/1.0/storage-pools/p1/volumes/custom/{name}")
            assert isinstance(volume, dict) and (volume["content_type"], volume["config"].get("size")) == (content, size)
        pool = query(c, "/1.0/storage-pools/p1")
        assert isinstance(pool, dict) and pool["config"]["user.note"] == "a note"
        c("start", "c1")
        c("snapshot", "restore", "c1", "s0")
        c("delete", "-f", "c1")
    finally:
        other.close()
