# SPDX-License-Identifier: Apache-2.0
"""Images between servers: pull, push and relay between two daemons of this tree, servers that lie, and the web."""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DAEMON, OFFICIAL, Client
from image_servers import HASH, Lie, Two, Web, ask, files_of, images, near, split_image, two, web  # noqa: F401
from servers import Daemon, free_port

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")


@pytest.mark.parametrize("mode", ["pull", "push", "relay"])
def test_copy(two: Two, near: Daemon, mode: str) -> None:
    for name, extra in [("busybox", ["--copy-aliases"]), ("split", ["--public", "-p", "default"])]:
        assert near.client("image", "copy", f"far:{name}", "local:", "--mode", mode, "--alias", f"{name}-{mode}", *extra).endswith("Image copied successfully!\n")
    here = images(near.client)
    assert here.keys() == {f for f in images(two.far.client)}
    i = here[two.fingerprint]
    assert {a["name"] for a in i["aliases"]} == {f"busybox-{mode}", "busybox"} and not i["public"]
    # The server's own word comes along, but not over the upload that a relay is.
    assert mode == "relay" or mode == "push" or i["properties"]["note"] == "from far"
    split = next(i for f, i in here.items() if f != two.fingerprint)
    assert split["public"] and split["type"] == "container" and len(files_of(near)) == 3
    near.client("launch", f"split-{mode}", "c1")
    assert near.client("exec", "c1", "--", "echo", "it runs") == "it runs\n"
    near.client("delete", "-f", "c1")
    # Once more changes nothing, where the target can know it.
    if mode == "pull":
        near.client("image", "copy", "far:busybox", "local:")
        assert len(images(near.client)) == 2


def test_a_secret_opens_once(two: Two, near: Daemon) -> None:
    far_op = json.loads(two.far.client("query", "-X", "POST", f"/1.0/images/{two.fingerprint}/secret"))
    secret = far_op["metadata"]["secret"]
    address = next(line.split(",")[1] for line in near.client("remote", "list", "-f", "csv").splitlines() if line.startswith("far,"))
    pem = json.loads(two.far.client("query", "/1.0"))["environment"]["certificate"]
    body: dict[str, Any] = {"source": {"type": "image", "mode": "pull", "server": address, "certificate": pem, "protocol": "incus", "fingerprint": two.fingerprint}}
    wrong = ask(near.client, body | {"source": body["source"] | {"secret": "0" * 64}})
    assert "not found" in wrong["err"]
    without = ask(near.client, body)
    assert "not found" in without["err"]
    good = ask(near.client, body | {"source": body["source"] | {"secret": secret}, "aliases": [{"name": "one", "description": "said"}]})
    assert good["status"] == "Success" and good["metadata"]["fingerprint"] == two.fingerprint
    assert json.loads(near.client("query", "/1.0/images/aliases/one"))["description"] == "said"
    near.client("image", "delete", "one")
    time.sleep(6)  # how long a secret stays open from its first use on
    again = ask(near.client, body | {"source": body["source"] | {"secret": secret}})
    assert "not found" in again["err"]


def test_launch_from_another_server(two: Two, near: Daemon) -> None:
    near.client("launch", "far:busybox", "c1")
    i = images(near.client)[two.fingerprint]
    assert i["cached"] and i["aliases"] == [] and near.client("exec", "c1", "--", "echo", "it runs") == "it runs\n"
    near.client("create", "far:busybox", "c2")
    near.client("stop", "-f", "c1")
    near.client("rebuild", "far:split", "c1")
    assert len(images(near.client)) == 2
    near.client("delete", "c1", "c2")
    done = near.client.run("launch", "far:nosuch", "c3", check=False)
    assert done.returncode == 1 and "not found" in done.stderr
    assert near.client("list", "-f", "csv") == ""


def test_refresh(two: Two, near: Daemon, web: "Web", image: Path, tmp_path: Path) -> None:
    first, second = image.read_bytes(), gzip.compress(gzip.decompress(image.read_bytes()), 1, mtime=1)
    old, new = (hashlib.sha256(b).hexdigest() for b in (first, second))
    assert old != new
    web.images, web.aliases = {old: Lie(first), new: Lie(second)}, {"name": old}
    assert ask(near.client, web.pull("name") | {"aliases": [{"name": "kept", "description": "said"}], "public": True})["status"] == "Success"
    near.client("image", "refresh", "kept")
    assert images(near.client).keys() == {old}
    web.aliases["name"] = new
    assert "refreshed" in near.client("image", "refresh", "kept")
    (i,) = images(near.client).values()
    assert (i["fingerprint"], i["public"], i["aliases"][0]["name"], i["aliases"][0]["description"]) == (new, True, "kept", "said")
    assert i["update_source"]["alias"] == "name" and files_of(near) == [new]
    # A server that is not what it was changes nothing.
    web.aliases["name"] = old
    web.images[old] = Lie(b"something else")
    done = near.client.run("image", "refresh", "kept", check=False)
    assert done.returncode == 1 and images(near.client).keys() == {new}


def test_project_of_another_server(two: Two, near: Daemon) -> None:
    near.client("image", "copy", "far:elsewhere", "local:", "--project", "other", "--target-project", "default", "--alias", "came")
    assert two.fingerprint in images(near.client)


def test_publish_elsewhere(two: Two, near: Daemon) -> None:
    near.client("create", "far:busybox", "c1")
    near.client("file", "push", "-", "c1/root/mark", input="made")
    try:
        near.client("publish", "c1", "far:", "--alias", "made")
        assert "made" in two.far.client("image", "alias", "list", "-f", "csv")
        near.client("delete", "c1")
        near.client("create", "far:made", "c1")
        assert near.client("file", "pull", "c1/root/mark", "-") == "made"
    finally:
        two.far.client.run("image", "delete", "made", check=False)
        near.client("delete", "c1")


def test_progress_and_cancel(two: Two, near: Daemon, web: "Web") -> None:
    web.images = {"f" * 64: Lie(stall=True, body=b"x" * 100000, size=10_000_000)}
    begun = json.loads(near.client("query", "-X", "POST", "/1.0/images", "-d", json.dumps(web.pull("f" * 64))))
    path, deadline = f"/1.0/operations/{begun['id']}", time.monotonic() + 60
    while "download_progress" not in (json.loads(near.client("query", path))["metadata"] or {}):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert re.fullmatch(r"\d+% \(.*B/s\)", json.loads(near.client("query", path))["metadata"]["download_progress"])
    near.client("operation", "delete", begun["id"])
    done = json.loads(near.client("query", path + "/wait?timeout=20"))
    assert done["status"] == "Cancelled" and files_of(near) == []


def test_killed_in_the_middle(two: Two, near: Daemon, web: "Web") -> None:
    web.images = {"f" * 64: Lie(stall=True, body=b"x" * 100000, size=10_000_000)}
    near.client("query", "-X", "POST", "/1.0/images", "-d", json.dumps(web.pull("f" * 64)))
    assert near.process
    web.wait_for("/export")
    near.process.kill()
    near.process.wait()
    near.start()
    assert files_of(near) == [] and images(near.client) == {}


# ---- servers that lie


LIES: dict[str, tuple[Lie, str]] = {
    "another fingerprint": (Lie(fingerprint="b" * 64), "answers with"),
    "a path for a fingerprint": (Lie(fingerprint="../../etc/passwd"), "fingerprint"),
    "no image behind the fingerprint": (Lie(b"no image at all"), ""),
    "endless": (Lie(b"", size=1000, endless=True), "announced"),
    "longer than announced": (Lie(b"x" * 5000, record={"size": 100}), "announced"),
    "cut off": (Lie(b"x" * 100, size=5000), "cannot read the answer"),
    "larger than the disk": (Lie(b"x", record={"size": 1 << 60}), "room"),
    "a damaged form": (Lie(b"--x\r\nnonsense", content_type="multipart/form-data; boundary=x"), "damaged"),
    "a form without a boundary": (Lie(b"--x\r\nnonsense", content_type="multipart/form-data"), ""),
    "an odd record": (Lie(record={"properties": [1, 2]}), "properties"),
    "a property of two lines": (Lie(record={"properties": {"a": "b\nc"}}), ""),
}


@pytest.mark.parametrize("what", LIES)
def test_servers_that_lie(two: Two, near: Daemon, web: Web, what: str) -> None:
    lie, word = LIES[what]
    web.images = {HASH: lie}
    done = ask(near.client, web.pull(HASH))
    assert done["status"] == "Failure" and word in str(done["err"]), done
    assert files_of(near) == []


def test_wrong_hash(two: Two, near: Daemon, web: Web, image: Path) -> None:
    web.images = {HASH: Lie(image.read_bytes())}
    done = ask(near.client, web.pull(HASH))
    assert done["status"] == "Failure" and hashlib.sha256(image.read_bytes()).hexdigest() in str(done["err"])
    assert files_of(near) == []


def test_a_silent_server(two: Two, near: Daemon, web: Web) -> None:
    web.images = {HASH: Lie(b"x" * 10, size=1000, stall=True)}
    done = ask(near.client, web.pull(HASH))
    assert done["status"] == "Failure" and "in time" in str(done["err"])


def test_who_names_a_fingerprint_has_not_the_image(two: Two, near: Daemon, web: Web, image: Path) -> None:
    """A server that claims to have what another project has here opens nothing to who may not use that project."""
    near.client("image", "import", str(image), "--alias", "private")
    fingerprint = hashlib.sha256(image.read_bytes()).hexdigest()
    near.client("project", "create", "tenant")
    conf = near.folder / "tenant"
    conf.mkdir()
    tenant = Client(near.client.program, {**near.env, "INCUS_CONF": str(conf), "INCUS_DIR": str(conf)})
    token = near.client("config", "trust", "add", "tenant", "--restricted", "--projects", "tenant").splitlines()[-1]
    try:
        tenant("remote", "add", "here", token, "--project", "tenant")
        tenant("remote", "switch", "here")
        web.images = {fingerprint: Lie(b"not the image", record={"size": 13})}
        for body in (web.pull(fingerprint), {"source": {"type": "image", "fingerprint": fingerprint}}, {"source": {"type": "image", "fingerprint": fingerprint, "project": "default"}}):
            done = ask(tenant, body, "/1.0/images?project=tenant")
            assert done["status"] in ("Failure", "Refused"), done
        assert images(near.client, "--project", "tenant") == {}
        # With the image itself it is another matter.
        web.images = {fingerprint: Lie(image.read_bytes())}
        assert ask(tenant, web.pull(fingerprint), "/1.0/images?project=tenant")["status"] == "Success"
        tenant("image", "delete", fingerprint)
    finally:
        near.client("config", "trust", "remove", near.client("config", "trust", "list", "-f", "csv", "-c", "nf").split("tenant,")[1].split()[0])
        near.client("project", "delete", "tenant")


@pytest.mark.parametrize("said", [".profile", "../up", "..", "/tmp/incus-absolute", HASH + "/../x", "meta-.profile", HASH + "\\x41"])
def test_a_server_names_no_file_of_ours(two: Two, near: Daemon, web: Web, tmp_path: Path, said: str) -> None:
    """Exported files are named after the image, not as a server likes."""
    conf, home = tmp_path / "conf", tmp_path / "home"
    (conf / "servercerts").mkdir(parents=True)
    home.mkdir()
    (conf / "servercerts/evil.crt").write_text(web.certificate)
    (conf / "config.yml").write_text(f"default-remote: evil\nremotes:\n  evil:\n    addr: https://127.0.0.1:{web.port}\n    auth_type: tls\n    protocol: incus\n    public: false\naliases: {{}}\n")
    client = Client(near.client.program, {"INCUS_CONF": str(conf), "TZ": "UTC"})
    web.images = {HASH: Lie(b"evil", headers={"Content-Disposition": f'inline;filename="{said}"'})}
    web.aliases = {"name": HASH}
    done = subprocess.run([client.program, "image", "export", "name"], cwd=home, env={**os.environ, **client.env}, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, (done.stderr, web.asked)
    assert [p.name for p in home.iterdir()] == [HASH] and {p.name for p in tmp_path.iterdir()} == {"conf", "home"}
    # Nor is a fingerprint what it says.
    web.images["x"] = Lie(b"evil", fingerprint="../../up")
    done = client.run("image", "export", "x", str(home), check=False)
    assert done.returncode == 1 and len(list(home.iterdir())) == 1


def test_a_pinned_server_is_that_one(two: Two, near: Daemon, web: Web) -> None:
    web.images = {HASH: Lie()}
    other = json.loads(two.far.client("query", "/1.0"))["environment"]["certificate"]
    done = ask(near.client, web.pull(HASH, certificate=other))
    assert done["status"] == "Failure" and web.asked == [], done
    done = ask(near.client, web.pull(HASH, certificate=str(two.near.folder / "conf/client.crt")))
    assert "PEM" in str(done["err"]) and web.asked == []


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "file:///etc", "unix:///run/x", "https://user@127.0.0.1", "https://127.0.0.1:1/path", "https://", "nothing"])
def test_addresses_that_are_none(two: Two, near: Daemon, server: str) -> None:
    done = ask(near.client, {"source": {"type": "image", "mode": "pull", "server": server, "protocol": "incus", "alias": "x"}})
    assert done["status"] in ("Failure", "Refused") and "invalid" in str(done["err"]), done


def test_simplestreams_is_said_to_be_missing(two: Two, near: Daemon) -> None:
    done = ask(near.client, {"source": {"type": "image", "mode": "pull", "server": "https://127.0.0.1:1", "protocol": "simplestreams", "alias": "x"}})
    assert "simplestreams" in str(done["err"])


def test_a_push_without_the_secret_is_not_even_read(two: Two, near: Daemon, image: Path) -> None:
    address = next(line.split(",")[1] for line in near.client("remote", "list", "-f", "csv").splitlines() if line.startswith("far,"))
    given: list[list[str]] = [[], ["-H", "X-Incus-secret: " + "0" * 64, "-H", f"X-Incus-fingerprint: {HASH}"]]
    for headers in given:
        done = subprocess.run(
            ["curl", "-sk", "--max-time", "20", "-X", "POST", address + "/1.0/images", *headers, "-H", "Content-Type: application/octet-stream", "-H", "Expect: 100-continue", "--data-binary", f"@{image}"],
            capture_output=True,
            text=True,
        )
        assert json.loads(done.stdout)["error_code"] == 403, done


# ---- the web


def test_from_the_web(two: Two, near: Daemon, web: Web, image: Path) -> None:
    data = image.read_bytes()
    fingerprint = hashlib.sha256(data).hexdigest()
    at = f"https://localhost:{web.port}"
    web.heads["/image"] = {"Incus-Image-Hash": fingerprint, "Incus-Image-URL": at + "/moved"}
    web.redirects["/moved"] = "/file"
    web.files["/file"] = data
    assert fingerprint in near.client("image", "import", at + "/image", "--alias", "web", "note=x")
    assert near.client("image", "get-property", "web", "note") == "x\n" and files_of(near) == [fingerprint]
    near.client("image", "delete", "web")
    web.heads["/image"]["Incus-Image-Hash"] = HASH
    done = near.client.run("image", "import", at + "/image", check=False)
    assert done.returncode == 1 and fingerprint in done.stderr and files_of(near) == []


@pytest.mark.parametrize("to", ["file:///etc/passwd", "http://127.0.0.1/x", "//user@127.0.0.1/", "gopher://x", "unix:/run/x", "https://127.0.0.1:99999/"])
def test_redirections_that_are_not_followed(two: Two, near: Daemon, web: Web, to: str) -> None:
    at = f"https://localhost:{web.port}"
    web.heads["/image"] = {"Incus-Image-Hash": HASH, "Incus-Image-URL": to}
    done = near.client.run("image", "import", at + "/image", check=False)
    assert done.returncode == 1 and "not followed" in done.stderr
    web.heads["/image"]["Incus-Image-URL"] = at + "/away"
    web.redirects["/away"] = to
    done = near.client.run("image", "import", at + "/image", check=False)
    assert done.returncode == 1 and "not followed" in done.stderr
    web.redirects["/away"] = "/away"
    done = near.client.run("image", "import", at + "/image", check=False)
    assert done.returncode == 1 and "redirects more than" in done.stderr


def test_no_image_on_the_web(two: Two, near: Daemon, web: Web) -> None:
    at = f"https://localhost:{web.port}"
    web.files["/page"] = b"a page"
    for path, word in [("/page", "Incus-Image"), ("/nothing", "404")]:
        done = near.client.run("image", "import", at + path, check=False)
        assert done.returncode == 1 and word in done.stderr


# ---- the official daemon


@pytest.fixture(scope="module")
def official(two: Two, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    if not OFFICIAL.exists() or not DAEMON.exists():
        pytest.skip("the official client and daemon are not installed (Debian: incus-base, incus-client)")
    folder = Path("/var/tmp" if shutil.disk_usage("/var/tmp").free > 1 << 30 else "/tmp") / f"incus-images-{os.getpid()}"
    folder.mkdir(mode=0o711)
    env = {"INCUS_DIR": str(folder), "INCUS_CONF": str(tmp_path_factory.mktemp("conf")), "TZ": "UTC", "INCUS_OFFLINE": "1"}
    with open(folder / "out", "w") as out:
        daemon = subprocess.Popen(
            ["unshare", "-pmui", "--fork", "--kill-child", "--mount-proc", str(DAEMON), "--group", "root"], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        client = Client(OFFICIAL, env)
        deadline = time.monotonic() + 60
        while client.run("query", "/1.0", check=False).returncode != 0:
            assert daemon.poll() is None and time.monotonic() < deadline, (folder / "out").read_text()
            time.sleep(0.1)
        client("config", "set", "core.https_address", f"127.0.0.1:{free_port()}")
        client("image", "import", str(image), "--alias", "theirs")
        two.near.client("remote", "add", "theirs", client("config", "trust", "add", "near").splitlines()[-1])
        two.near.client("remote", "add", "self", two.near.client("config", "trust", "add", "self").splitlines()[-1])
        yield client
        two.near.client("remote", "remove", "theirs")
        two.near.client("remote", "remove", "self")
    finally:
        daemon.kill()
        daemon.wait()
        subprocess.run(f"mount | awk '{{print $3}}' | grep ^{folder} | tac | xargs -r umount -l", shell=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("mode", ["pull", "push", "relay"])
@pytest.mark.parametrize("who", ["ours", "official"])
def test_from_and_to_the_official_daemon(two: Two, near: Daemon, official: Client, mode: str, who: str) -> None:
    """Both clients, each with one of ours and the official daemon, both ways."""
    client = near.client if who == "ours" else Client(OFFICIAL, {**near.env})
    # The official client names a target behind a unix socket by an address that no server finds.
    here = "self:" if (who, mode) == ("official", "push") else "local:"
    client("image", "copy", "theirs:theirs", here, "--mode", mode, "--alias", "came")
    (fingerprint,) = images(near.client)
    assert {a["name"] for a in images(near.client)[fingerprint]["aliases"]} == {"came"}
    official("image", "delete", "theirs")
    client("image", "copy", "came", "theirs:", "--mode", mode, "--alias", "theirs")
    assert "theirs" in official("image", "alias", "list", "-f", "csv")
