# SPDX-License-Identifier: Apache-2.0
"""The program that everybody knows, as written, on the doors to a daemon: ours and the official one."""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

import incus

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="runs real containers: needs root")


def program(kind: str) -> Optional[Path]:
    if kind == "official":
        found = [Path(p) for p in ("/usr/libexec/incus/incusd", "/usr/lib/incus/incusd")]
    else:
        found = [Path(os.environ.get("INCUS_LIBEXEC", "build/bin")) / "incusd"]
    return next((p for p in found if p.exists()), None)


@pytest.fixture(scope="module", params=["ours", "official"])
def daemon(request: pytest.FixtureRequest) -> Iterator[str]:
    path = program(request.param)
    if path is None:
        pytest.skip(f"no incusd ({request.param}) on this machine")
    directory = Path(tempfile.mkdtemp(prefix="incus-py", dir="/var/tmp"))
    directory.chmod(0o711)
    environment = {**os.environ, "INCUS_DIR": str(directory), "INCUS_LXC_TEMPLATE_CONFIG": "/usr/share/lxc/config"}
    process = subprocess.Popen([path], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri = f"unix://{directory}/unix.socket"
    try:
        for attempt in range(600):
            try:
                with incus.open(uri) as host:
                    host.request("GET", "/internal/ready")
                    if not host.storage_pools.list():
                        host.storage_pools.create("default", "dir")
                    profile = host.profiles.get("default").info()
                    if "root" not in profile.devices:
                        root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
                        host.request("PUT", "/1.0/profiles/default", {"config": {}, "description": profile.description, "devices": root})
                break
            except incus.Error:
                assert process.poll() is None and attempt < 599
                time.sleep(0.1)
        yield uri
    finally:
        process.send_signal(signal.SIGPWR)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(directory, ignore_errors=True)
        if request.param == "official":  # it leaves the group that liblxc makes for it; ours does not
            for group, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
                if group.endswith("/lxc.pivot"):
                    with contextlib.suppress(OSError):
                        os.rmdir(group)


def the_program(image: Path, uri: str, **options: Any) -> None:
    with incus.open(uri, **options) as host:
        host.images.import_file(str(image), alias="busy").wait()
        c = host.instances.launch("c1", image="busy")
        r = c.exec(["uname", "-a"])
        assert (type(r.exit_code), type(r.stdout), type(r.stderr)) == (int, bytes, bytes)
        assert r.exit_code == 0 and r.stdout.startswith(b"Linux")
        c.snapshots.create("s0")
        c.restore("s0")
        assert c.state().status == "Running"
        assert [i.name for i in host.instances.list()] == ["c1"]
        c.stop(force=True)
        c.delete()
        host.images.get("busy").delete()


def test_over_the_unix_socket(daemon: str, image_file: Path) -> None:
    the_program(image_file, daemon)


def test_over_https(daemon: str, image_file: Path, tmp_path: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}"
    with incus.open(daemon) as host:
        host.request("PATCH", "/1.0", {"config": {"core.https_address": address}})
        made = host.request("POST", "/1.0/certificates", {"type": "client", "name": "py", "token": True})["metadata"]
    token = {"client_name": "py", "fingerprint": made["fingerprint"], "addresses": [address], "secret": made["secret"], "expires_at": "0001-01-01T00:00:00Z"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-subj", "/CN=py"]
        + ["-keyout", tmp_path / "client.key", "-out", tmp_path / "client.crt", "-days", "2"],
        check=True,
        capture_output=True,
    )
    options = {"client_certificate": str(tmp_path / "client.crt"), "client_key": str(tmp_path / "client.key")}
    with pytest.raises(incus.Forbidden):
        incus.open(f"https://{address}", server_certificate="0" * 64, **options)
    the_program(image_file, f"https://{address}", trust_token=base64.b64encode(json.dumps(token).encode()).decode(), **options)
