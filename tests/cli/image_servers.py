# SPDX-License-Identifier: Apache-2.0
"""Two daemons of this tree and a web server, between which images go; for tests to import."""

import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import Client
from servers import Daemon


@dataclass
class Two:
    """`near` knows `far` as the remote far:, with a certificate that far trusts."""

    near: Daemon
    far: Daemon
    fingerprint: str  # of far's busybox
    ca: Path  # an authority that near trusts: certificate and key of the web server below


@pytest.fixture(scope="module")
def two(image: Path, split_image: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    # How this machine knows authorities: the one of the web server below.
    ca = tmp_path_factory.mktemp("ca")
    make_certificate(ca)
    near, far = Daemon("near", SSL_CERT_FILE=str(ca / "cert.pem")), Daemon("far")
    try:
        far.client("image", "import", str(image), "--alias", "busybox")
        far.client("image", "set-property", "busybox", "note", "from far")
        far.client("image", "import", str(split_image[0]), str(split_image[1]), "--alias", "split", "--public")
        far.client("project", "create", "other")
        far.client("image", "copy", "busybox", "local:", "--target-project", "other", "--alias", "elsewhere")
        far.listen()
        near.listen()
        near.client("admin", "init", "--auto")
        near.client("remote", "add", "far", far.client("config", "trust", "add", "near").splitlines()[-1])
        yield Two(near, far, far.client("query", "/1.0/images/aliases/busybox").split('"target": "')[1][:64], ca)
    finally:
        near.close()
        far.close()


@pytest.fixture(scope="module")
def split_image(image: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("split")
    subprocess.run(["tar", "-C", folder, "-xzf", image], check=True)
    subprocess.run(["tar", "-C", folder, "--numeric-owner", "-cJf", folder / "meta.tar.xz", "metadata.yaml"], check=True)
    subprocess.run(["tar", "-C", folder / "rootfs", "--numeric-owner", "-czf", folder / "rootfs.tar.gz", "."], check=True)
    return folder / "meta.tar.xz", folder / "rootfs.tar.gz"


def images(client: Client, *args: str) -> dict[str, dict[str, Any]]:
    return {i["fingerprint"]: i for i in json.loads(client("image", "list", "-f", "json", *args))}


@pytest.fixture
def near(two: Two) -> Iterator[Daemon]:
    yield two.near
    for f in images(two.near.client):
        two.near.client("image", "delete", f)
    assert files_of(two.near) == [] and json.loads(two.near.client("query", "/internal/check"))["problems"] == []


def files_of(d: Daemon) -> list[str]:
    return sorted(p.name for p in (d.dir / "images").iterdir())


def ask(client: Client, body: dict[str, Any], path: str = "/1.0/images") -> dict[str, Any]:
    """Begins an operation and waits for its end."""
    begun = client.run("query", "-X", "POST", path, "-d", json.dumps(body), check=False)
    if begun.returncode != 0:
        return {"status": "Refused", "err": begun.stderr}
    done: dict[str, Any] = json.loads(client("query", f"/1.0/operations/{json.loads(begun.stdout)['id']}/wait?timeout=60"))
    return done


@dataclass
class Lie:
    """An image as a bad server shows it."""

    body: bytes = b"no image"
    size: int | None = None  # as announced
    fingerprint: str = ""
    endless: bool = False
    stall: bool = False
    content_type: str = "application/octet-stream"
    record: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # of the export


@dataclass
class Web:
    port: int
    certificate: str
    images: dict[str, Lie] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    heads: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def pull(self, name: str, **more: object) -> dict[str, Any]:
        source = {"type": "image", "mode": "pull", "server": f"https://127.0.0.1:{self.port}", "certificate": self.certificate, "protocol": "incus"}
        return {"source": source | {"fingerprint": name} | more}

    def wait_for(self, part: str) -> None:
        deadline = time.monotonic() + 30
        while not any(part in a for a in self.asked):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def make_certificate(folder: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=DNS:localhost,DNS:images.test,IP:127.0.0.1", "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def web(two: Two) -> Iterator[Web]:
    folder = two.ca
    state = Web(0, (folder / "cert.pem").read_text())
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def answer(self, body: bytes, kind: str = "application/json", status: int = 200, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for k, v in (headers or {}).items():
                self.send_header(k, v)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            state.asked.append(self.command + " " + self.path)
            if path in state.redirects:
                return self.answer(b"", status=302, headers={"Location": state.redirects[path]})
            if self.command == "HEAD" and path in state.heads:
                return self.answer(b"", headers=state.heads[path])
            if path in state.files:
                return self.answer(state.files[path], "application/octet-stream")
            if path == "/1.0":
                facts = {"api_version": "1.0", "api_status": "stable", "api_extensions": [], "auth": "untrusted", "public": True}
                return self.answer(json.dumps({"type": "sync", "status": "Success", "status_code": 200, "metadata": facts}).encode())
            if (alias := path.removeprefix("/1.0/images/aliases/")) in state.aliases:
                alias_record = {"name": alias, "target": state.aliases[alias], "type": "container"}
                return self.answer(json.dumps({"type": "sync", "status": "Success", "status_code": 200, "metadata": alias_record}).encode())
            name = path.removeprefix("/1.0/images/").removesuffix("/export")
            if name not in state.images:
                return self.answer(json.dumps({"type": "error", "error": "not found", "error_code": 404}).encode(), status=404)
            lie = state.images[name]
            if not path.endswith("/export"):
                record: dict[str, Any] = {"fingerprint": lie.fingerprint or name, "size": len(lie.body) if lie.size is None else lie.size, "type": "container"} | lie.record
                return self.answer(json.dumps({"type": "sync", "status": "Success", "status_code": 200, "metadata": record}).encode())
            self.send_response(200)
            self.send_header("Content-Type", lie.content_type)
            if not lie.endless:
                self.send_header("Content-Length", str(len(lie.body) if lie.size is None else lie.size))
            self.send_header("Connection", "close")
            for k, v in lie.headers.items():
                self.send_header(k, v)
            self.end_headers()
            self.close_connection = True
            try:
                self.wfile.write(lie.body)
                while lie.endless:
                    self.wfile.write(b"z" * 65536)
                if lie.stall:
                    over.wait(120)
            except OSError:
                pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state
    over.set()
    server.shutdown()
    server.server_close()


HASH = "a" * 64
