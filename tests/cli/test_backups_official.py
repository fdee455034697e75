# SPDX-License-Identifier: Apache-2.0
"""Backups that the official daemon made, and those that it takes: instances with snapshots and custom volumes, both ways, with either client."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import DAEMON, OFFICIAL, Client
from servers import Daemon
from test_backups import furnish, listing

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")


def seen(root: Path) -> dict[str, object]:
    """As listing(), with times rounded to seconds, and holes filled, as in the official daemon's archives."""
    out: dict[str, object] = {}
    for name, row in listing(root).items():
        assert isinstance(row, list)
        out[name] = [(x + 5 * 10**8) // 10**9 if isinstance(x, int) and x > 10**17 else x for x in row if not isinstance(x, bool)]
    return out


def differing(want: dict[str, object], have: dict[str, object]) -> str:
    return "\n".join(f"{k}: {str(v)[:300]} became {str(have.get(k))[:300]}" for k, v in want.items() if have.get(k) != v)


@dataclass
class Side:
    client: Client
    dir: Path

    def rootfs(self, name: str) -> Path:
        return self.dir / f"storage-pools/default/containers/{name}/rootfs"

    def snapshot(self, name: str, snapshot: str) -> Path:
        return self.dir / f"storage-pools/default/containers-snapshots/{name}/{snapshot}/rootfs"

    def volume(self, name: str) -> Path:
        return self.dir / f"storage-pools/default/custom/default_{name}"

    def volume_snapshot(self, name: str, snapshot: str) -> Path:
        return self.dir / f"storage-pools/default/custom-snapshots/default_{name}/{snapshot}"


@pytest.fixture(scope="module")
def sides(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Side]]:
    if not OFFICIAL.exists() or not DAEMON.exists():
        pytest.skip("the official client and daemon are not installed (Debian: incus-base, incus-client)")
    folder = Path("/var/tmp" if shutil.disk_usage("/var/tmp").free > 1 << 30 else "/tmp") / f"incus-backups-{os.getpid()}"
    folder.mkdir(mode=0o711)
    env = {"INCUS_DIR": str(folder), "INCUS_CONF": str(tmp_path_factory.mktemp("conf")), "TZ": "UTC", "INCUS_OFFLINE": "1"}
    with open(folder / "out", "w") as out:
        theirs = subprocess.Popen(
            ["unshare", "-pmui", "--fork", "--kill-child", "--mount-proc", str(DAEMON), "--group", "root"], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    ours = Daemon("ours")
    try:
        client = Client(OFFICIAL, env)
        deadline = time.monotonic() + 60
        while client.run("query", "/1.0", check=False).returncode != 0:
            assert theirs.poll() is None and time.monotonic() < deadline, (folder / "out").read_text()
            time.sleep(0.1)
        for c in (client, ours.client):
            c("storage", "create", "default", "dir")
            c("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
            c("image", "import", str(image), "--alias", "busybox")
        yield {"ours": Side(ours.client, ours.dir), "theirs": Side(client, folder)}
    finally:
        ours.close()
        theirs.kill()
        theirs.wait()
        subprocess.run(f"mount | awk '{{print $3}}' | grep ^{folder} | tac | xargs -r umount -l", shell=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("way", [("ours", "theirs"), ("theirs", "ours")], ids=lambda w: f"{w[0]}-to-{w[1]}")
def test_instance(sides: dict[str, Side], way: tuple[str, str], compression: str, tmp_path: Path) -> None:
    a, b = sides[way[0]], sides[way[1]]
    a.client("create", "busybox", "c1", "-c", "user.a=yes: no", "--description", "from afar")
    furnish(a.rootfs("c1"))
    a.client("snapshot", "create", "c1", "s0")
    (a.rootfs("c1") / "later").write_text("later")
    a.client("snapshot", "create", "c1", "s1")
    want = [seen(a.rootfs("c1")), seen(a.snapshot("c1", "s0")), seen(a.snapshot("c1", "s1"))]
    a.client("export", "c1", str(tmp_path / "c1"), "--compression", compression)
    b.client("import", str(tmp_path / "c1"))
    b.client("import", str(tmp_path / "c1"), "c2")
    for name in ("c1", "c2"):
        have = [seen(b.rootfs(name)), seen(b.snapshot(name, "s0")), seen(b.snapshot(name, "s1"))]
        for w, h in zip(want, have, strict=True):
            assert differing(w, h) == "" and h.keys() == w.keys()
        assert b.client("config", "get", name, "user.a") == "yes: no\n"
        assert b.client("list", name, "-f", "csv", "-c", "dS") == "from afar,2\n"
    # It goes on living there, and back.
    b.client("snapshot", "restore", "c1", "s0")
    assert not (b.rootfs("c1") / "later").exists()
    b.client("export", "c2", str(tmp_path / "back"), "--instance-only", "--compression", compression)
    a.client("import", str(tmp_path / "back"), "c3")
    h = seen(a.rootfs("c3"))
    assert differing(want[0], h) == ""
    a.client("delete", "c1", "c3")
    b.client("delete", "c1", "c2")


@pytest.mark.parametrize("way", [("ours", "theirs"), ("theirs", "ours")], ids=lambda w: f"{w[0]}-to-{w[1]}")
def test_volume(sides: dict[str, Side], way: tuple[str, str], tmp_path: Path) -> None:
    a, b = sides[way[0]], sides[way[1]]
    a.client("storage", "volume", "create", "default", "v1", "user.a=b")
    furnish(a.volume("v1"))
    os.chown(a.volume("v1"), 5, 6)
    a.client("storage", "volume", "snapshot", "create", "default", "v1", "s0")
    (a.volume("v1") / "later").write_text("later")
    want = [seen(a.volume("v1")), seen(a.volume_snapshot("v1", "s0"))]
    a.client("storage", "volume", "export", "default", "v1", str(tmp_path / "v1"))
    b.client("storage", "volume", "import", "default", str(tmp_path / "v1"), "v2")
    have = [seen(b.volume("v2")), seen(b.volume_snapshot("v2", "s0"))]
    for w, h in zip(want, have, strict=True):
        w.pop("."), h.pop(".")  # the mode of the top is the pool's own
        assert differing(w, h) == "" and h.keys() == w.keys()
    assert b.client("storage", "volume", "get", "default", "v2", "user.a") == "b\n"
    a.client("storage", "volume", "delete", "default", "v1")
    b.client("storage", "volume", "delete", "default", "v2")


def test_volume_in_use(sides: dict[str, Side], tmp_path: Path) -> None:
    """The official daemon gives the files of a volume the owners that its user has on the host; they are the guest's again where they come to."""
    theirs, ours = sides["theirs"], sides["ours"]
    theirs.client("storage", "volume", "create", "default", "used")
    furnish(theirs.volume("used"))
    want = seen(theirs.volume("used"))
    theirs.client("create", "busybox", "user")
    theirs.client("storage", "volume", "attach", "default", "used", "user", "data", "/data")
    theirs.client("start", "user")
    assert theirs.volume("used").stat().st_uid >= 65536
    theirs.client("storage", "volume", "snapshot", "create", "default", "used", "s0")
    theirs.client("delete", "-f", "user")
    theirs.client("storage", "volume", "export", "default", "used", str(tmp_path / "used"))
    ours.client("storage", "volume", "import", "default", str(tmp_path / "used"), "taken")
    have, snapshot = seen(ours.volume("taken")), seen(ours.volume_snapshot("taken", "s0"))
    assert ours.volume("taken").stat().st_uid == 0
    assert not differing(want, have), differing(want, have)
    assert not differing(want, snapshot), differing(want, snapshot)
    theirs.client("storage", "volume", "delete", "default", "used")
    ours.client("storage", "volume", "delete", "default", "taken")
