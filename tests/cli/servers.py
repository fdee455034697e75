# SPDX-License-Identifier: Apache-2.0
"""Daemons of this tree for tests: each in namespaces of its own (except the network), with everything gone at its end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import BUILD, PROGRAM, Client

INCUSD = BUILD / "subprojects/incusd/incusd"
NAMESPACES = ["unshare", "-pmui", "--fork", "--kill-child", "--mount-proc"]


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(str(path))
            return True
        except OSError:
            return False


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Daemon:
    """An incusd of ours. It never starts by itself what a test ended."""

    def __init__(self, name: str, **env: str) -> None:
        large = Path("/var/tmp") if shutil.disk_usage("/var/tmp").free > 1 << 30 else Path("/tmp")
        self.folder = Path(tempfile.mkdtemp(prefix=f"incus-{name}-", dir=large))
        self.folder.chmod(0o711)
        self.dir, self.conf = self.folder / "state", self.folder / "conf"
        self.conf.mkdir()
        (self.folder / "bin").mkdir()
        self.env = {"INCUS_DIR": str(self.dir), "INCUS_CONF": str(self.conf), "INCUS_LIBEXEC": str(BUILD / "bin"), "TZ": "UTC", "EDITOR": "true", **env}
        self.client = Client(PROGRAM, self.env)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with open(self.folder / "out", "ab") as out:
            self.process = subprocess.Popen(
                [*NAMESPACES, str(INCUSD), "--group", "root"], env={**os.environ, **self.env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        deadline = time.monotonic() + 60
        while not answers(self.dir / "unix.socket"):
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "out").read_text()
            time.sleep(0.02)
        self.client("admin", "waitready", "--timeout", "60")

    def listen(self) -> int:
        port = free_port()
        self.client("config", "set", "core.https_address", f"127.0.0.1:{port}")
        return port

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.client.run("admin", "shutdown", "--force", "--timeout", "60", check=False)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def daemon_with(image: Path, name: str) -> Iterator[Daemon]:
    """One that is set up, with that image as "busybox"."""
    d = Daemon(name)
    try:
        d.client("admin", "init", "--auto")
        d.client("image", "import", str(image), "--alias", "busybox")
        yield d
    finally:
        d.close()
