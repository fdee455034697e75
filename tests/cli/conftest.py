# SPDX-License-Identifier: Apache-2.0
"""The `incus` command of this tree, and servers for it: an engine in its own process and, where it is installed, the official daemon."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from servers import Daemon

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("INCUS_BUILD", ROOT / "build"))
PROGRAM = BUILD / "subprojects/incus-cli/incus"
OFFICIAL = Path("/usr/bin/incus")
DAEMON = Path("/usr/libexec/incus/incusd")


@dataclass
class Client:
    """One way to run `incus`."""

    program: Path
    env: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()  # a command that runs it

    def run(self, *args: str, input: str = "", check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*self.before, self.program, *args], input=input, env={**os.environ, **self.env}, capture_output=True, text=True, timeout=timeout)
        if check:
            assert done.returncode == 0, f"incus {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def __call__(self, *args: str, input: str = "") -> str:
        return self.run(*args, input=input).stdout


@pytest.fixture
def ours(daemon: "Daemon") -> Client:
    """The command with the daemon of the module."""
    return daemon.client


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unified image around busybox."""
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([ROOT / "tests/support/busybox-image", folder / "tree"], check=True)
    subprocess.run(["tar", "-C", folder / "tree", "--numeric-owner", "-czf", folder / "busybox.tar.gz", "metadata.yaml", "rootfs"], check=True)
    return folder / "busybox.tar.gz"


@pytest.fixture
def embedded(tmp_path: Path) -> Client:
    """The command on an engine in its own process: no daemon at all."""
    if os.geteuid() != 0:
        pytest.skip("an engine needs root")
    (tmp_path / "conf").mkdir()
    return Client(PROGRAM, {"INCUS_CLI_URI": f"embed://{tmp_path}/state", "INCUS_CONF": str(tmp_path / "conf"), "TZ": "UTC"})


NAMESPACES = """ip link set lo up
mkdir -p /run/aside && mount --rbind /sys/fs/cgroup /run/aside
mount -t sysfs sysfs /sys && mount --rbind /run/aside /sys/fs/cgroup
exec "$0" --logfile "$INCUS_DIR/incus.log" --group root"""


# Values that YAML must quote, fold or write as a block.
AWKWARD = ["yes: no", "true", "  lead", "# x", "it's", "two\nlines", "12:30:45", "2026-11-22", "word " * 40 + "x", "- a", "a #b", "ünï", "tab\there", "*star", "x:", "y", "1e3"]
AWKWARD += ["quo: te " * 30 + "x", "trail\n", "trail2\n\n", " lead\nx", "trailing ", '"q"', "a\\b", "%x", "~", "0x1f", "1_000", ".5", "null", "---", "a\n\nb", "<html>&", "{}", "[1]", "@at"]


@dataclass
class Pair:
    """Both clients on one official daemon."""

    ours: Client
    official: Client
    daemon: int  # its process; it has a network of its own


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Iterator[Pair]:
    if os.geteuid() != 0:
        pytest.skip("a daemon needs root")
    if not OFFICIAL.exists() or not DAEMON.exists():
        pytest.skip("the official client and daemon are not installed (Debian: incus-base, incus-client)")
    folder = Path("/var/tmp" if shutil.disk_usage("/var/tmp").free > 1 << 30 else "/tmp") / f"incus-cli-{os.getpid()}"
    folder.mkdir(mode=0o711)
    conf = tmp_path_factory.mktemp("conf")
    env = {"INCUS_DIR": str(folder), "INCUS_CONF": str(conf), "TZ": "UTC", "INCUS_OFFLINE": "1", "INCUS_LXC_TEMPLATE_CONFIG": "/usr/share/lxc/config"}
    command = ["unshare", "-pnmui", "--fork", "--kill-child", "--mount-proc", "bash", "-c", NAMESPACES, str(DAEMON)]
    with open(folder / "out", "w") as out:
        daemon = subprocess.Popen(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        official = Client(OFFICIAL, env)
        deadline = time.monotonic() + 60
        while official.run("query", "/1.0", check=False).returncode != 0:
            assert daemon.poll() is None and time.monotonic() < deadline, (folder / "out").read_text()
            time.sleep(0.1)
        official("storage", "create", "default", "dir")
        official("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default")
        official("image", "import", str(image), "--alias", "busybox")
        fingerprint = official("image", "list", "-f", "csv", "-c", "F").strip()
        official("image", "alias", "create", "bb", fingerprint, "--description", "the same again")
        official("project", "create", "p1", "-c", "features.images=false", "-c", "features.profiles=false", "--description", "a project")
        official("profile", "create", "web", input="config: {limits.memory: 64MiB, user.note: 'yes: no'}\ndescription: for the web\n")
        official("create", "busybox", "c1", "-c", "user.a=b", "--description", "first: one", "-p", "default", "-p", "web")
        official("launch", "busybox", "c2", "-e")
        official("create", "--empty", "c10")
        for n, text in enumerate(AWKWARD):
            official("config", "set", "c10", f"user.t{n}={text}")
        official("snapshot", "create", "c1", "s0")
        official("snapshot", "create", "c1", "s1")
        child = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()[0]
        yield Pair(Client(PROGRAM, env), official, int(child))
        official.run("delete", "-f", "c1", "c2", "c10", check=False)
    finally:
        daemon.kill()
        daemon.wait()
        subprocess.run(f"mount | awk '{{print $3}}' | grep ^{folder} | tac | xargs -r umount -l", shell=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
