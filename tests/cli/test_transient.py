# SPDX-License-Identifier: Apache-2.0
"""No set-up on a new machine: root's first `incus` starts a daemon for all, which ends by itself."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import BUILD, PROGRAM, Client
from servers import NAMESPACES, answers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a daemon")


@dataclass
class Machine:
    """Processes of their own, and an empty state directory."""

    client: Client
    folder: Path

    def daemons(self) -> list[int]:
        listed = subprocess.run([*self.client.before, "ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
        return [int(line.split()[0]) for line in listed if line.endswith("/incusd --transient")]

    def until_gone(self) -> None:
        deadline = time.monotonic() + 60
        while self.daemons():
            assert time.monotonic() < deadline, "the daemon did not end"
            time.sleep(0.2)

    def kill(self, pid: int) -> None:
        subprocess.run([*self.client.before, "kill", "-9", str(pid)], check=True)
        deadline = time.monotonic() + 30
        while pid in self.daemons():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def begin(self, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self.client.before, PROGRAM, *args], env={**os.environ, **self.client.env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture
def machine() -> Iterator[Machine]:
    large = Path("/var/tmp") if shutil.disk_usage("/var/tmp").free > 1 << 30 else Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix="incus-alone-", dir=large))
    folder.chmod(0o711)
    (folder / "conf").mkdir()
    holder = subprocess.Popen([*NAMESPACES, "sleep", "infinity"])
    try:
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        deadline = time.monotonic() + 30
        while not (inside := children.read_text().split()) or Path(f"/proc/{inside[0]}/comm").read_text() != "sleep\n":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        env = {"INCUS_DIR": str(folder / "state"), "INCUS_CONF": str(folder / "conf"), "INCUS_LIBEXEC": str(BUILD / "bin"), "TZ": "UTC"}
        client = Client(PROGRAM, env, ("nsenter", "-t", inside[0], "-p", "-m", "-u", "-i", "--"))
        yield Machine(client, folder)
        for name in client.run("list", "-f", "csv", "-c", "n", check=False).stdout.split():
            client.run("delete", "-f", name, check=False)
    finally:
        holder.kill()
        holder.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_from_nothing_to_nothing(machine: Machine, image: Path) -> None:
    incus = machine.client
    assert machine.daemons() == []
    incus("image", "import", str(image), "--alias", "busybox")
    assert incus("launch", "busybox", "c1").startswith("Launching c1\n")
    (first,) = machine.daemons()
    # Longer than it waits for nobody: a running instance holds it.
    time.sleep(8)
    assert machine.daemons() == [first]
    assert incus("exec", "c1", "--", "echo", "hello") == "hello\n"
    incus("stop", "-f", "c1")
    machine.until_gone()
    assert not answers(machine.folder / "state/unix.socket")
    assert incus("list", "-f", "csv", "-c", "ns") == "c1,STOPPED\n"
    (second,) = machine.daemons()
    assert second != first


def test_an_open_shell_holds_it_and_locks_nobody_out(machine: Machine, image: Path) -> None:
    incus = machine.client
    incus("image", "import", str(image), "--alias", "busybox")
    incus("launch", "busybox", "c1")
    shell = machine.begin("shell", "c1")
    assert shell.stdin and shell.stdout
    try:
        shell.stdin.write(b"echo ready\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == b"ready\n"
        (daemon,) = machine.daemons()
        assert "c1" in incus("list")
        incus("create", "busybox", "c2")
        incus("delete", "c2")
        # A client that only listens holds it too.
        shell.stdin.write(b"echo still here; exit 5\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == b"still here\n" and shell.wait(30) == 5
        assert machine.daemons() == [daemon]
    finally:
        shell.kill()
        shell.wait()
        shell.stdin.close()
        shell.stdout.close()


def test_two_first_commands_start_one(machine: Machine, image: Path) -> None:
    incus = machine.client
    incus("image", "import", str(image), "--alias", "busybox")
    for pid in machine.daemons():
        machine.kill(pid)
    both = [machine.begin("launch", "busybox", f"c{n}") for n in range(4)]
    for p in both:
        out, _ = p.communicate(timeout=120)
        assert p.returncode == 0, out
    assert len(machine.daemons()) == 1
    assert incus("list", "-f", "csv", "-c", "ns") == "".join(f"c{n},RUNNING\n" for n in range(4))


def test_killed_with_a_running_instance(machine: Machine, image: Path) -> None:
    incus = machine.client
    incus("image", "import", str(image), "--alias", "busybox")
    incus("launch", "busybox", "c1")
    incus("exec", "c1", "--", "sh", "-c", "echo kept >/run/mark")
    (first,) = machine.daemons()
    machine.kill(first)
    assert incus("list", "-f", "csv", "-c", "ns") == "c1,RUNNING\n"
    (second,) = machine.daemons()
    assert second != first and incus("exec", "c1", "--", "cat", "/run/mark") == "kept\n"
    # In the middle of a command, too: the client is told, and the next one finds everything.
    waiting = machine.begin("exec", "c1", "--", "sleep", "1000")
    deadline = time.monotonic() + 30
    while "sleep 1000" not in incus("exec", "c1", "--", "ps"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    machine.kill(second)
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode != 0, out
    assert incus("list", "-f", "csv", "-c", "ns") == "c1,RUNNING\n"
    incus("stop", "-f", "c1")
    incus("delete", "c1")


def test_ends_by_a_signal_and_leaves_instances(machine: Machine, image: Path) -> None:
    incus = machine.client
    incus("image", "import", str(image), "--alias", "busybox")
    incus("launch", "busybox", "c1")
    (daemon,) = machine.daemons()
    subprocess.run([*incus.before, "kill", f"-{int(signal.SIGTERM)}", str(daemon)], check=True)
    machine.until_gone()
    assert incus("list", "-f", "csv", "-c", "ns") == "c1,RUNNING\n"


def test_who_is_not_root_starts_none(machine: Machine) -> None:
    nobody = Client(PROGRAM, machine.client.env, (*machine.client.before, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"))
    done = nobody.run("list", check=False)
    assert done.returncode == 1 and "Error: " in done.stderr and machine.daemons() == []
