# SPDX-License-Identifier: Apache-2.0
"""`incusd activateifneeded`: what a state directory that nobody holds waits for, and the request that starts the daemon by its socket."""

import os
import socket
import subprocess
import threading
from pathlib import Path

from conftest import Client
from servers import INCUSD


def activate(state: Path) -> tuple[str, bool]:
    """What it says, and whether it woke the socket that systemd would listen on."""
    asked = threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(state / "unix.socket"))
        listener.listen()

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(4096).startswith(b"GET /1.0 HTTP/1.0\r\n"):
                    asked.set()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        done = subprocess.run([INCUSD, "activateifneeded", "--debug"], env={**os.environ, "INCUS_DIR": str(state)}, capture_output=True, text=True, timeout=60)
        listener.shutdown(socket.SHUT_RDWR)  # ends a wait for somebody who never came
        thread.join()
    (state / "unix.socket").unlink()
    assert done.returncode == 0, done.stderr
    return done.stderr.strip(), asked.is_set()


def test_what_a_state_directory_waits_for(embedded: Client, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    assert activate(state) == ("No database, so no need to start the daemon now", False)
    embedded("storage", "create", "default", "dir")
    embedded("create", "--empty", "c1", "-s", "default")
    embedded("storage", "volume", "create", "default", "vol")
    idle = ("No need to start the daemon now", False)
    assert activate(state) == idle
    for set_it, unset, why in (
        (("config", "set", "core.https_address", "127.0.0.1:0"), ("config", "unset", "core.https_address"), "core.https_address set"),
        (("config", "set", "c1", "boot.autostart=true"), ("config", "unset", "c1", "boot.autostart"), "auto-started instances"),
        (("profile", "set", "default", "boot.autostart=yes"), ("profile", "unset", "default", "boot.autostart"), "auto-started instances"),
        (("config", "set", "c1", "snapshots.schedule=@daily"), ("config", "unset", "c1", "snapshots.schedule"), "scheduled instance snapshots"),
        (
            ("storage", "volume", "set", "default", "vol", "snapshots.schedule=0 6 * * *"),
            ("storage", "volume", "unset", "default", "vol", "snapshots.schedule"),
            "scheduled volume snapshots",
        ),
    ):
        embedded(*set_it)
        assert activate(state) == (f"Daemon has {why}, activating...", True)
        embedded(*unset)
        assert activate(state) == idle
