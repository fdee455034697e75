# SPDX-License-Identifier: Apache-2.0
"""Images through proxies, and what happens to them by the clock."""

import base64
import gzip
import hashlib
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from image_servers import HASH, Lie, Two, Web, ask, files_of, images, near, split_image, two, web  # noqa: F401
from servers import Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")


# ---- through a proxy


@dataclass
class Proxy:
    """A proxy that knows some names, which nobody else does. It speaks HTTP (CONNECT) and SOCKS 5."""

    port: int = 0
    names: dict[str, int] = field(default_factory=dict)  # where they are on this machine
    user: str = ""  # NAME:PASSWORD that it wants
    asked: list[str] = field(default_factory=list)

    def connect(self, host: str, port: int) -> socket.socket | None:
        self.asked.append(f"{host}:{port}")
        return socket.create_connection(("127.0.0.1", self.names[host])) if host in self.names else None

    def serve_http(self, s: socket.socket, head: bytes) -> socket.socket | None:
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(1)
        method, to, *_ = head.decode().split()
        shown = base64.b64encode(self.user.encode()).decode()
        if self.user and f"Proxy-Authorization: Basic {shown}\r\n" not in head.decode():
            s.sendall(b"HTTP/1.1 407 Who are you\r\n\r\n")
            return None
        host, _, port = to.rpartition(":")
        out = self.connect(host, int(port)) if method == "CONNECT" else None
        s.sendall(b"HTTP/1.1 200 OK\r\nVia: test\r\n\r\n" if out else b"HTTP/1.1 502 No such host\r\n\r\n")
        return out

    def serve_socks(self, s: socket.socket) -> socket.socket | None:
        def take(count: int) -> bytes:
            data = s.recv(count, socket.MSG_WAITALL)
            if len(data) < count:
                raise OSError("left")
            return data

        methods = take(take(1)[0])
        if self.user:
            if 2 not in methods:
                s.sendall(b"\5\xff")
                return None
            s.sendall(b"\5\2")
            take(1)
            name, password = (take(take(1)[0]).decode() for _ in range(2))
            good = f"{name}:{password}" == self.user
            s.sendall(b"\1\0" if good else b"\1\1")
            if not good:
                return None
        else:
            s.sendall(b"\5\0")
        assert take(4) == b"\5\1\0\3"
        host = take(take(1)[0]).decode()
        out = self.connect(host, int.from_bytes(take(2), "big"))
        s.sendall((b"\5\0\0\1" if out else b"\5\4\0\1") + bytes(6))
        return out

    def serve(self, s: socket.socket) -> None:
        with s:
            first = s.recv(1)
            out = self.serve_socks(s) if first == b"\5" else self.serve_http(s, first)
            if not out:
                return
            with out:
                ends = {s: out, out: s}
                while True:
                    for ready in select.select(list(ends), [], [])[0]:
                        data = ready.recv(65536)
                        if not data:
                            return
                        ends[ready].sendall(data)


@pytest.fixture
def proxy(two: Two, web: Web) -> Iterator[Proxy]:
    state = Proxy()
    far_port = int(json.loads(two.far.client("query", "/1.0"))["config"]["core.https_address"].rpartition(":")[2])
    state.names = {"images.test": web.port, "far.test": far_port}
    listener = socket.create_server(("127.0.0.1", 0))
    state.port = listener.getsockname()[1]

    def one(s: socket.socket) -> None:
        try:
            state.serve(s)
        except (OSError, IndexError):
            pass  # the other side left

    def accept() -> None:
        while True:
            try:
                s = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=one, args=(s,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield state
    for key in ("core.proxy_http", "core.proxy_https", "core.proxy_ignore_hosts"):
        two.near.client("config", "unset", key)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_for_everything(two: Two, near: Daemon, web: Web, proxy: Proxy, image: Path, scheme: str) -> None:
    data = image.read_bytes()
    fingerprint = hashlib.sha256(data).hexdigest()
    proxy.user = "me:pa@ss"
    near.client("config", "set", "core.proxy_https", f"{scheme}://me:pa%40ss@127.0.0.1:{proxy.port}")
    # By URL, the name being one that only the proxy knows.
    at = "https://images.test:8443"
    web.heads["/image"] = {"Incus-Image-Hash": fingerprint, "Incus-Image-URL": at + "/file"}
    web.files["/file"] = data
    near.client("image", "import", at + "/image")
    assert images(near.client).keys() == {fingerprint} and proxy.asked == ["images.test:8443"] * 2
    near.client("image", "delete", fingerprint)
    # The hash is still checked.
    web.heads["/image"]["Incus-Image-Hash"] = HASH
    done = near.client.run("image", "import", at + "/image", check=False)
    assert done.returncode == 1 and fingerprint in done.stderr and files_of(near) == []
    # From another server and to it; the server is known by its certificate as ever.
    pem = json.loads(two.far.client("query", "/1.0"))["environment"]["certificate"]
    source = {"type": "image", "mode": "pull", "server": "https://far.test:8443", "certificate": pem, "protocol": "incus", "alias": "split"}
    done_op = ask(near.client, {"source": source})
    assert done_op["status"] == "Success", done_op
    wrong = ask(near.client, {"source": source | {"certificate": web.certificate}})
    assert wrong["status"] == "Failure" and "trust" in wrong["err"]
    (have,) = images(near.client)
    two.far.client("project", "create", "sink")
    try:
        token = json.loads(two.far.client("query", "-X", "POST", "/1.0/images?project=sink", "-d", json.dumps({"source": {"type": "image", "mode": "push", "fingerprint": have}})))
        target = {"target": "https://far.test:8443", "certificate": pem, "secret": token["metadata"]["secret"], "project": "sink"}
        before = len(proxy.asked)
        done_op = ask(near.client, target, f"/1.0/images/{have}/export")
        assert done_op["status"] == "Success" and images(two.far.client, "--project", "sink").keys() == {have} and set(proxy.asked[before:]) == {"far.test:8443"}
        two.far.client("image", "delete", have, "--project", "sink")
    finally:
        two.far.client("project", "delete", "sink")


def test_what_needs_no_proxy(two: Two, near: Daemon, web: Web, proxy: Proxy) -> None:
    near.client("config", "set", "core.proxy_https", f"127.0.0.1:{proxy.port}")
    near.client("image", "copy", "far:busybox", "local:")
    assert proxy.asked == []
    near.client("config", "set", "core.proxy_ignore_hosts", "other, .test")
    done = near.client.run("image", "import", "https://images.test:8443/image", check=False)
    assert done.returncode == 1 and "address" in done.stderr and proxy.asked == []


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_proxies_that_do_not_help(two: Two, near: Daemon, web: Web, proxy: Proxy, scheme: str) -> None:
    at = "https://images.test:8443/image"
    near.client("config", "set", "core.proxy_https", f"{scheme}://127.0.0.1:{proxy.port}")
    proxy.user = "me:too"
    assert "wants a user" in near.client.run("image", "import", at, check=False).stderr
    near.client("config", "set", "core.proxy_https", f"{scheme}://me:wrong@127.0.0.1:{proxy.port}")
    told = near.client.run("image", "import", at, check=False).stderr
    assert "user" in told and "password" in told and "wrong" not in told
    proxy.user = ""
    assert "unknown.test:443" in (told := near.client.run("image", "import", "https://unknown.test/x", check=False).stderr) and str(proxy.port) in told
    near.client("config", "set", "core.proxy_https", "http://127.0.0.1:1")
    assert "proxy 127.0.0.1:1" in near.client.run("image", "import", at, check=False).stderr
    for bad in ("ftp://h", "http://h:x", "https://h"):
        done = near.client.run("config", "set", "core.proxy_https", bad, check=False)
        assert done.returncode == 1 and "core.proxy_https" in done.stderr, bad


def test_no_way_inside_through_a_proxy(two: Two, near: Daemon, web: Web, proxy: Proxy) -> None:
    near.client("config", "set", "core.proxy_https", f"127.0.0.1:{proxy.port}")
    at = "https://images.test:8443"
    for to in ("https://10.0.0.1/x", "https://169.254.169.254/x", "https://[fd00::1]/x"):
        web.heads["/image"] = {"Incus-Image-Hash": HASH, "Incus-Image-URL": at + "/away"}
        web.redirects["/away"] = to
        done = near.client.run("image", "import", at + "/image", check=False)
        assert done.returncode == 1 and "cannot connect" in done.stderr and set(proxy.asked) == {"images.test:8443"}, done.stderr


def test_the_environment_names_a_proxy(two: Two, web: Web, proxy: Proxy, image: Path) -> None:
    data = image.read_bytes()
    fingerprint = hashlib.sha256(data).hexdigest()
    at = "https://images.test:8443"
    web.heads["/image"] = {"Incus-Image-Hash": fingerprint, "Incus-Image-URL": at + "/file"}
    web.files["/file"] = data
    third = Daemon("third", SSL_CERT_FILE=str(two.ca / "cert.pem"), HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
    try:
        third.client("image", "import", at + "/image")
        assert images(third.client).keys() == {fingerprint} and len(proxy.asked) == 2
        # What is set comes first.
        third.client("config", "set", "core.proxy_https", "http://127.0.0.1:1")
        assert third.client.run("image", "import", at + "/image", check=False).returncode == 1 and len(proxy.asked) == 2
        # Also the command goes through it to its servers.
        third.client("remote", "add", "through", two.far.client("config", "trust", "add", "third").splitlines()[-1])
        settings = third.conf / "config.yml"
        settings.write_text(settings.read_text().replace(f"https://127.0.0.1:{proxy.names['far.test']}", "https://far.test:8443"))
        assert "busybox" in third.client("image", "list", "through:") and "far.test:8443" in proxy.asked
    finally:
        third.close()


# ---- by the clock


def two_images(image: Path) -> tuple[bytes, bytes]:
    first = image.read_bytes()
    return first, gzip.compress(gzip.decompress(first), 1, mtime=1)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def age(d: Daemon, fingerprint: str, days: int, project: str = "default") -> None:
    ago = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime(time.time() - days * 86400))
    done = d.client("admin", "sql", "global", f"UPDATE images SET last_use_date='{ago}' WHERE fingerprint='{fingerprint}' AND project_id = (SELECT id FROM projects WHERE name='{project}')")
    assert "Rows affected: 1" in done


def restart(d: Daemon) -> None:
    assert d.process
    d.client("admin", "shutdown", "--force", "--timeout", "60")
    d.process.wait(60)
    d.start()


def test_cached_images_go_when_nobody_uses_them(two: Two, near: Daemon, image: Path, split_image: tuple[Path, Path]) -> None:
    near.client("project", "create", "p1", "-c", "features.profiles=false", "-c", "images.remote_cache_expiry=3")
    two.far.client("project", "create", "p1", "-c", "features.images=false")  # a project that is asked for is asked for at both servers
    try:
        near.client("create", "far:busybox", "c1")
        near.client("create", "far:busybox", "c2", "--project", "p1")
        # Imported on purpose: an instance of the server's makes no cached one of it.
        (split,) = (f for f in images(two.far.client) if f != two.fingerprint)
        near.client("image", "copy", "far:split", "local:")
        near.client("create", "far:split", "c3")
        here = images(near.client)
        assert here[two.fingerprint]["cached"] and not here[split]["cached"] and here[split]["last_used_at"] > "2020"
        age(near, two.fingerprint, 2)
        age(near, two.fingerprint, 2, "p1")
        age(near, split, 100)
        # An instance made of it is a use.
        before = images(near.client)[two.fingerprint]["last_used_at"]
        near.client("create", two.fingerprint, "c4")
        assert images(near.client)[two.fingerprint]["last_used_at"] > before
        near.client("config", "set", "images.remote_cache_expiry", "1")
        wait_for(lambda: any(o["description"] == "Cleaning up expired images" for o in json.loads(near.client("query", "/1.0/operations?recursion=1")).get("success", [])))
        assert images(near.client).keys() == {two.fingerprint, split}
        age(near, two.fingerprint, 2)
        near.client("config", "set", "images.auto_update_interval", "7")
        wait_for(lambda: two.fingerprint not in images(near.client))
        assert images(near.client).keys() == {split} and images(near.client, "--project", "p1").keys() == {two.fingerprint} and two.fingerprint in files_of(near)
        age(near, two.fingerprint, 4, "p1")
        restart(near)
        wait_for(lambda: images(near.client, "--project", "p1") == {})
        wait_for(lambda: files_of(near) == [split, split + ".rootfs"])
        # Instances stay whole.
        near.client("start", "c1")
        assert near.client("exec", "c1", "--", "echo", "it runs") == "it runs\n"
    finally:
        for key in ("images.remote_cache_expiry", "images.auto_update_interval"):
            near.client("config", "unset", key)
        near.client("delete", "-f", "c1", "c3", "c4")
        near.client("delete", "-f", "c2", "--project", "p1")
        near.client("project", "delete", "p1")
        two.far.client("project", "delete", "p1")


def test_images_are_kept_up_to_date(two: Two, near: Daemon, web: Web, image: Path) -> None:
    first, second = two_images(image)
    old, new = (hashlib.sha256(b).hexdigest() for b in (first, second))
    web.images, web.aliases = {old: Lie(first), new: Lie(second)}, {"name": old, "gone": old}
    source = {k: v for k, v in web.pull("")["source"].items() if k != "fingerprint"}
    create = {"source": source | {"alias": "name"}}
    assert ask(near.client, create | {"name": "c1"}, "/1.0/instances")["status"] == "Success"
    near.client("project", "create", "still", "-c", "features.profiles=false", "-c", "images.auto_update_interval=0")
    try:
        assert ask(near.client, {"source": source | {"alias": "name"}, "auto_update": True}, "/1.0/images?project=still")["status"] == "Success"
        assert ask(near.client, {"source": source | {"alias": "gone"}, "auto_update": True, "aliases": [{"name": "lost"}]}, "/1.0/images")["status"] == "Success"
        assert images(near.client)[old]["cached"]
        # The source is away: nothing breaks, and the log says so.
        web.aliases = {}
        restart(near)
        wait_for(lambda: b"stays as it is" in (near.folder / "out").read_bytes())
        assert images(near.client).keys() == {old}
        near.client("query", "-X", "DELETE", f"/1.0/images/{old}")
        wait_for(lambda: images(near.client) == {})
        web.aliases = {"name": old}
        assert ask(near.client, create | {"name": "c2"}, "/1.0/instances")["status"] == "Success"
        near.client("image", "alias", "create", "mine", old)
        web.aliases = {"name": new}
        # Until the update comes, instances are made of what is here.
        assert ask(near.client, create | {"name": "c3"}, "/1.0/instances")["status"] == "Success"
        assert images(near.client).keys() == {old}
        age(near, old, 2)
        used = images(near.client)[old]["last_used_at"]
        restart(near)
        wait_for(lambda: images(near.client).keys() == {new})
        i = images(near.client)[new]
        assert (i["cached"], i["auto_update"], i["last_used_at"], [a["name"] for a in i["aliases"]]) == (True, True, used, ["mine"])
        assert images(near.client, "--project", "still").keys() == {old}
        # Without updates, what the source has is what is taken.
        near.client("config", "set", "images.auto_update_interval", "0")
        web.aliases = {"name": old}
        assert ask(near.client, create | {"name": "c4"}, "/1.0/instances")["status"] == "Success"
        assert images(near.client).keys() == {old, new}
    finally:
        near.client("config", "unset", "images.auto_update_interval")
        for c in ("c1", "c2", "c3", "c4"):
            near.client.run("delete", c, check=False)
        for f in images(near.client, "--project", "still"):
            near.client("image", "delete", f, "--project", "still")
        near.client("project", "delete", "still")


def test_an_update_gives_no_image_of_another_project(two: Two, near: Daemon, web: Web, image: Path) -> None:
    """The updater works for nobody: a server that names what another project has must show it."""
    first, second = two_images(image)
    old, private = (hashlib.sha256(b).hexdigest() for b in (first, second))
    web.images, web.aliases = {old: Lie(first), private: Lie(b"not the image", record={"size": 13})}, {"name": old}
    source = {k: v for k, v in web.pull("")["source"].items() if k != "fingerprint"}
    near.client("project", "create", "tenant", "-c", "features.profiles=false")
    (near.folder / "second").write_bytes(second)
    near.client("image", "import", str(near.folder / "second"))
    try:
        assert ask(near.client, {"source": source | {"alias": "name"}, "auto_update": True}, "/1.0/images?project=tenant")["status"] == "Success"
        web.aliases = {"name": private}
        web.asked.clear()
        restart(near)
        web.wait_for(f"/1.0/images/{private}/export")
        wait_for(lambda: f"{old} of project tenant stays as it is".encode() in (near.folder / "out").read_bytes())
        assert images(near.client, "--project", "tenant").keys() == {old}
        near.client("image", "delete", old, "--project", "tenant")
    finally:
        near.client("project", "delete", "tenant")


def test_settings_of_a_project_for_images(two: Two, near: Daemon) -> None:
    near.client("project", "create", "p1", "-c", "features.profiles=false", "-c", "images.compression_algorithm=xz -1", "-c", "images.auto_update_cached=false")
    two.far.client("project", "create", "p1", "-c", "features.images=false")
    try:
        # Public, and named by its alias: that is what can be kept up to date.
        (split,) = (f for f in images(two.far.client) if f != two.fingerprint)
        near.client("create", "far:split", "c1", "--project", "p1")
        near.client("create", "far:split", "c1")
        assert not images(near.client, "--project", "p1")[split]["auto_update"] and images(near.client)[split]["auto_update"]
        near.client("create", "far:busybox", "c2")
        assert not images(near.client)[two.fingerprint]["auto_update"]
        near.client("delete", "c2")
        near.client("config", "set", "images.compression_algorithm", "zstd -3")
        for project, magic in (("p1", b"\xfd7zXZ"), ("default", b"\x28\xb5\x2f\xfd")):
            near.client("publish", "c1", "--alias", "made", "--project", project)
            target = json.loads(near.client("query", f"/1.0/images/aliases/made?project={project}"))["target"]
            assert (near.dir / "images" / target).read_bytes().startswith(magic)
        for bad in ("squeeze", "gzip -11", "gzip; reboot"):
            assert near.client.run("config", "set", "images.compression_algorithm", bad, check=False).returncode == 1
    finally:
        near.client("config", "unset", "images.compression_algorithm")
        near.client("delete", "c1")
        near.client("delete", "c1", "--project", "p1")
        for f in images(near.client, "--project", "p1"):
            near.client("image", "delete", f, "--project", "p1")
        near.client("project", "delete", "p1")
        two.far.client("project", "delete", "p1")


def test_an_image_that_goes_while_it_is_used(two: Two, near: Daemon, tmp_path: Path) -> None:
    """An instance is whole or not there, and nothing of the image stays behind."""
    (tmp_path / "rootfs/many").mkdir(parents=True)
    for n in range(5000):
        (tmp_path / f"rootfs/many/{n}").write_text("x")
    (tmp_path / "metadata.yaml").write_text("architecture: x86_64\ncreation_date: 1700000000\n")
    packed = tmp_path / "many.tar.gz"
    subprocess.run(["tar", "-C", tmp_path, "--numeric-owner", "-czf", packed, "metadata.yaml", "rootfs"], check=True)
    whole = 0
    for tenths in (0, 1, 2, 3, 5, 8):
        near.client("image", "import", str(packed), "--alias", "many")
        making = subprocess.Popen([near.client.program, "create", "many", "c1"], env={**os.environ, **near.env}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(tenths / 10)
        near.client("image", "delete", "many")
        made = making.wait(60) == 0
        whole += made
        assert (near.client("list", "-f", "csv", "-c", "n") == "c1\n") == made
        if made:
            assert len(list((near.dir / "storage-pools/default/containers/c1/rootfs/many").iterdir())) == 5000
            near.client("delete", "c1")
        assert list((near.dir / "storage-pools/default/images").iterdir()) == [] and json.loads(near.client("query", "/internal/check"))["problems"] == []
    assert whole > 0  # else it was never used
