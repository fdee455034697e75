# SPDX-License-Identifier: Apache-2.0
"""What the `incus` command prints and does, against the official client on the same server, and on an engine without a daemon."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BUILD, OFFICIAL, PROGRAM, Client, Pair

FORMATS = ["table", "compact", "csv", "csv,header", "table,noheader", "json", "yaml"]
LISTS = [
    ["list"],
    ["list", "c1"],
    ["list", "status=running"],
    ["list", "user.a=b"],
    ["list", "--all-projects"],
    ["list", "--fast"],
    ["list", "-c", "nsatSPdelfbFc,user.a:A,volatile.base_image:BASE:8"],
    ["profile", "list"],
    ["project", "list"],
    ["image", "list"],
    ["image", "list", "-c", "LfFpdaetsu"],
    ["image", "alias", "list"],
    ["storage", "list"],
    ["storage", "volume", "list", "default"],
    ["network", "list"],
    ["snapshot", "list", "c1"],
    ["warning", "list", "--all"],
    ["config", "trust", "list"],
    ["config", "template", "list", "c1"],
    ["remote", "list"],
    ["alias", "list"],
]
SHOWS = [
    ["config", "show"],
    ["config", "show", "c1"],
    ["config", "show", "c1", "--expanded"],
    ["config", "show", "c10"],
    ["query", "/1.0/instances/c10"],
    ["config", "show", "c1/s0"],
    ["config", "get", "c1", "user.a"],
    ["config", "get", "c1", "limits.memory", "-e"],
    ["config", "get", "c1", "description", "-p"],
    ["config", "get", "c1", "profiles", "-p"],
    ["config", "metadata", "show", "c1"],
    ["config", "device", "list", "c1"],
    ["config", "device", "show", "c1"],
    ["profile", "show", "default"],
    ["profile", "show", "web"],
    ["profile", "get", "web", "user.note"],
    ["profile", "device", "show", "default"],
    ["project", "show", "p1"],
    ["project", "get", "p1", "features.images"],
    ["project", "get-current"],
    ["project", "info", "p1"],
    ["image", "info", "busybox"],
    ["image", "show", "busybox"],
    ["image", "get-property", "busybox", "os"],
    ["info", "c1"],
    ["info"],
    ["info", "--resources"],
    ["storage", "show", "default"],
    ["storage", "info", "default"],
    ["storage", "volume", "show", "default", "container/c1"],
    ["snapshot", "show", "c1", "s0"],
    ["network", "info", "lo"],
    ["query", "/1.0/profiles/web"],
    ["query", "/1.0/instances/c1/state"],
    ["query", "--raw", "/1.0/projects"],
    ["version"],
    ["remote", "get-default"],
    ["admin", "init", "--dump"],
    ["admin", "sql", "global", "SELECT name, description FROM profiles ORDER BY id"],
]
# Numbers that differ from one moment to the next.
MOVING = re.compile(r"(Processes|Free|Used|Average|Frequency|space used|Bytes \w+|Packets \w+): .*")


def same(ours: subprocess.CompletedProcess[str], theirs: subprocess.CompletedProcess[str], ordered: bool = True) -> None:
    a, b = MOVING.sub(r"\1", ours.stdout), MOVING.sub(r"\1", theirs.stdout)
    assert a == b if ordered else sorted(a.splitlines()) == sorted(b.splitlines())
    assert ours.returncode == theirs.returncode


@pytest.mark.parametrize("args", LISTS, ids=" ".join)
@pytest.mark.parametrize("how", FORMATS)
def test_lists_are_those_of_the_official_client(pair: Pair, args: list[str], how: str) -> None:
    same(pair.ours.run(*args, "--format", how), pair.official.run(*args, "--format", how))


@pytest.mark.parametrize("args", SHOWS, ids=" ".join)
def test_records_are_shown_as_by_the_official_client(pair: Pair, args: list[str]) -> None:
    # The official client shows an image's properties in any order.
    same(pair.ours.run(*args), pair.official.run(*args), ordered=args[:2] != ["image", "info"])


@pytest.mark.parametrize(
    "args",
    [
        ["list", "-c", "nX"],
        ["list", "-f", "bad"],
        ["list", "-f", "csv,bad"],
        ["list", "--all-projects", "--project", "p1"],
        ["list", "nobody:"],
        ["config", "get", "c1", "nothing", "-p"],
        ["config", "unset", "c1", "user.missing"],
        ["config", "device", "get", "c1", "none", "x"],
        ["config", "device", "remove", "c1", "root"],
        ["delete", "c2"],
        ["exec", "-t", "-T", "c2", "--", "true"],
        ["query", "-X", "BAD", "/1.0"],
        ["query", "1.0"],
        ["storage", "volume", "list", "default", "-c", "L"],
        ["profile", "remove", "c10", "web"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_refusals_say_the_same(pair: Pair, args: list[str]) -> None:
    ours, theirs = pair.ours.run(*args, check=False), pair.official.run(*args, check=False)
    assert ours.returncode == theirs.returncode != 0
    assert ours.stderr == theirs.stderr


def test_changes_are_seen_by_the_official_client(pair: Pair) -> None:
    ours, official = pair.ours, pair.official
    ours("config", "set", "c10", "limits.memory=1GiB", "user.x=1=2")
    assert official("config", "get", "c10", "limits.memory") == "1GiB\n"
    assert official("config", "get", "c10", "user.x") == "1=2\n"
    ours("config", "unset", "c10", "user.x")
    assert official("config", "get", "c10", "user.x") == "\n"
    ours("config", "set", "c10", "-p", "description=said")
    assert official("config", "get", "c10", "-p", "description") == "said\n"
    assert ours("config", "device", "add", "c10", "d0", "none") == "Device d0 added to c10\n"
    assert official("config", "device", "list", "c10") == "d0\n"
    assert ours("config", "device", "override", "c10", "root", "size=1GiB") == "Device root overridden for c10\n"
    assert official("config", "device", "get", "c10", "root", "size") == "1GiB\n"
    assert ours("config", "device", "remove", "c10", "d0", "root") == "Device d0, root removed from c10\n"
    assert ours("profile", "create", "tmp", "--description", "x", input="config: {user.k: '1'}") == "Profile tmp created\n"
    assert official("profile", "get", "tmp", "user.k") == "1\n"
    ours("profile", "edit", "tmp", input="config: {user.k: true}\ndescription: y\n")
    assert official("profile", "get", "tmp", "user.k") == "true\n"
    assert ours("profile", "assign", "c10", "default,tmp") == "Profiles default,tmp applied to c10\n"
    assert ours("profile", "remove", "c10", "tmp") == "Profile tmp removed from c10\n"
    assert ours("profile", "rename", "tmp", "tmp2") == "Profile tmp renamed to tmp2\n"
    assert ours("profile", "delete", "tmp2") == "Profile tmp2 deleted\n"
    ours("snapshot", "create", "c10", "a", "--no-expiry")
    ours("snapshot", "rename", "c10", "a", "b")
    assert official("snapshot", "list", "c10", "-f", "csv", "-c", "n") == "b\n"
    ours("snapshot", "restore", "c10", "b")
    ours("copy", "c10", "c11")
    ours("rename", "c11", "c12")
    assert official("list", "c12", "-f", "csv", "-c", "n") == "c12\n"
    ours("delete", "c12")
    ours("snapshot", "delete", "c10", "b")


def test_life_of_an_instance(pair: Pair) -> None:
    ours = pair.ours
    assert ours("launch", "busybox", "c20").startswith("Launching c20\n")
    assert "c20,RUNNING" in ours("list", "-c", "ns", "-f", "csv")
    done = ours.run("exec", "c20", "--env", "A=b c", "--cwd", "/tmp", "--", "sh", "-c", 'cat; echo "$A"; pwd; echo bad >&2; exit 7', input="in\n", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("in\nb c\n/tmp\n", "bad\n", 7)
    ours("pause", "c20")
    assert "FROZEN" in ours("list", "c20")
    ours("start", "c20")
    ours("restart", "-f", "c20")
    ours("stop", "-f", "c20")
    ours("delete", "c20")


@pytest.mark.parametrize("command", [["no-such-program"], ["/etc"], ["sh", "-c", "exit 127"], ["sh", "-c", "kill -9 $$"], ["false"]], ids=" ".join)
def test_exit_codes(pair: Pair, command: list[str]) -> None:
    ours, theirs = pair.ours.run("exec", "c2", "--", *command, check=False), pair.official.run("exec", "c2", "--", *command, check=False)
    assert (ours.returncode, ours.stderr) == (theirs.returncode, theirs.stderr)


def test_objects_of_the_administrator(pair: Pair, tmp_path: Path) -> None:
    ours, official = pair.ours, pair.official
    assert ours("project", "create", "px", "-c", "features.images=false") == "Project px created\n"
    ours("project", "switch", "px")
    assert official("project", "get-current") == "px\n"
    ours("project", "switch", "default")
    assert ours("project", "rename", "px", "py") == "Project px renamed to py\n"
    assert ours("project", "delete", "py") == "Project py deleted\n"
    assert ours("storage", "create", "s2", "dir", "user.a=b") == "Storage pool s2 created\n"
    assert official("storage", "get", "s2", "user.a") == "b\n"
    ours("create", "busybox", "m1")
    ours("move", "m1", "m2", "--storage", "s2")
    assert official("list", "m2", "-f", "csv", "-c", "nb") == "m2,s2\n"
    ours("copy", "m2", "m3", "-s", "default", "-c", "user.copied=1")
    assert official("config", "get", "m3", "user.copied") == "1\n"
    ours("copy", "c10", "m4")
    ours("copy", "c10", "m4", "--refresh")
    ours("delete", "m4")
    ours("rebuild", "busybox", "m2")
    ours("delete", "m2", "m3")
    ours("storage", "delete", "s2")
    preseed = "storage_pools: [{name: default, driver: dir}]\nprofiles: [{name: pre, description: from a preseed, config: {user.p: '1'}}]\n"
    ours("admin", "init", "--preseed", input=preseed)
    assert official("profile", "get", "pre", "user.p") == "1\n"
    ours("profile", "copy", "pre", "pre2")
    ours("profile", "delete", "pre")
    ours("profile", "delete", "pre2")
    ours("config", "template", "create", "c1", "t.tpl", input="hello {{ x }}\n")
    assert official("config", "template", "show", "c1", "t.tpl") == "hello {{ x }}\n"
    assert ours("config", "template", "show", "c1", "t.tpl") == "hello {{ x }}\n"
    ours("config", "template", "delete", "c1", "t.tpl")
    shown = ours("config", "show", "c10").replace("description: ", "description: edited #", 1)
    ours("config", "edit", "c10", input=shown)
    same(ours.run("config", "show", "c10"), official.run("config", "show", "c10"))


def test_files(pair: Pair, tmp_path: Path) -> None:
    ours = pair.ours
    source = tmp_path / "file"
    source.write_text("content\n")
    ours("file", "push", str(source), "c2/root/new/file", "-p", "--mode", "0640", "--uid", "0", "--gid", "0")
    assert ours("file", "pull", "c2/root/new/file", "-") == "content\n"
    assert ours("exec", "c2", "--", "stat", "-c", "%a %u", "/root/new/file") == "640 0\n"
    ours("file", "push", "-", "c2/root/new/piped", input="piped")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "a").write_text("a")
    (tree / "link").symlink_to("sub/a")
    ours("file", "push", "-r", str(tree), "c2/root/new")
    ours("file", "pull", "-r", "c2/root/new/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/tree/sub/a").read_text() == "a"
    assert ours("exec", "c2", "--", "readlink", "/root/new/tree/link") == "sub/a\n"
    assert os.readlink(tmp_path / "back/tree/link").endswith("sub/a")  # the official daemon tells an absolute path
    ours("file", "create", "--type=symlink", "c2/root/new/s", "/etc")
    ours("file", "delete", "-f", "c2/root/new")
    assert ours.run("file", "pull", "c2/root/new/file", "-", check=False).returncode == 1


def test_images(pair: Pair, image: Path, tmp_path: Path) -> None:
    ours, official = pair.ours, pair.official
    fingerprint = official("image", "list", "-f", "csv", "-c", "F").strip()
    ours("image", "export", "busybox", str(tmp_path))
    exported = [f for f in tmp_path.iterdir() if f.is_file()]
    assert len(exported) == 1 and exported[0].read_bytes() == image.read_bytes()
    ours("image", "set-property", "busybox", "k", "v")
    assert official("image", "get-property", "busybox", "k") == "v\n"
    ours("image", "unset-property", "busybox", "k")
    ours("image", "alias", "create", "third", fingerprint)
    ours("image", "alias", "rename", "third", "fourth")
    ours("image", "alias", "delete", "fourth")
    out = ours("publish", "c1/s0", "--alias", "published", "os=mine")
    published = out.split()[-1]
    assert official("image", "get-property", "published", "os") == "mine\n"
    ours("image", "delete", published)


def test_trust_by_token_over_the_network(pair: Pair, tmp_path: Path) -> None:
    inside = ("nsenter", "-t", str(pair.daemon), "-n")
    Client(pair.official.program, pair.official.env, inside)("config", "set", "core.https_address=127.0.0.1:8443")
    ours = Client(PROGRAM, {**pair.ours.env, "INCUS_CONF": str(tmp_path / "one")}, inside)
    first = pair.ours("config", "trust", "add", "laptop")
    assert first.startswith("Client laptop certificate add token:\n")
    assert pair.ours("config", "trust", "list-tokens", "-f", "csv", "-c", "n") == "laptop\n"
    same(pair.ours.run("config", "trust", "list-tokens"), pair.official.run("config", "trust", "list-tokens"))
    assert ours("remote", "add", "farm", first.split()[-1]) == "Client certificate now trusted by server: farm\n"
    assert ours("config", "get", "farm:c1", "user.a") == "b\n"
    assert ours("exec", "farm:c2", "--", "echo", "far") == "far\n"
    # The same settings serve the official client, and the trust store shows the same to both.
    assert Client(pair.official.program, ours.env, inside)("config", "get", "farm:c1", "user.a") == "b\n"
    same(pair.ours.run("config", "trust", "list", "-c", "ntcfdierp"), pair.official.run("config", "trust", "list", "-c", "ntcfdierp"))
    fingerprint = pair.official("config", "trust", "list", "-f", "csv", "-c", "f").strip()
    same(pair.ours.run("config", "trust", "show", fingerprint), pair.official.run("config", "trust", "show", fingerprint))
    # A token serves once.
    again = Client(PROGRAM, {**pair.ours.env, "INCUS_CONF": str(tmp_path / "two")}, inside)
    assert again.run("remote", "add", "farm", first.split()[-1], check=False).returncode == 1
    assert "farm" not in again("remote", "list")
    # Somebody who does not accept the server's certificate gets nowhere.
    refused = again.run("remote", "add", "farm", "127.0.0.1", input="n\n", check=False)
    assert refused.stderr == "Error: Server certificate NACKed by user\n"
    token = pair.ours("-q", "config", "trust", "add", "other").strip()
    again("remote", "add", "farm", "127.0.0.1", "--accept-certificate", "--token", token)
    assert again("list", "farm:c1", "-f", "csv", "-c", "n") == "c1\nc10\n"
    pair.ours("-q", "config", "trust", "add", "late")
    assert pair.ours("config", "trust", "revoke-token", "late") == "Certificate add token for late deleted\n"
    for f in pair.ours("config", "trust", "list", "-f", "csv", "-c", "f").split():
        pair.ours("config", "trust", "remove", f)
    assert again.run("list", "farm:", check=False).returncode == 1


def test_console_is_left_by_its_keys(pair: Pair) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(pair.ours.env)
        os.execv(PROGRAM, ["incus", "console", "c2"])
    seen, deadline = b"", time.monotonic() + 30
    while b"ctrl>+a q" not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    time.sleep(0.3)
    os.write(terminal, b"\x01q")
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.close(terminal)
    assert "RUNNING" in pair.ours("list", "c2")


def test_shell_on_a_terminal_follows_its_size(pair: Pair) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
        os.environ.update(pair.ours.env)
        os.environ["TERM"] = "xterm"
        os.execv(PROGRAM, ["incus", "exec", "c2", "--", "sh", "-c", "stty size; read x; stty size; exit 5"])
    def until(text: bytes) -> bytes:
        seen, deadline = b"", time.monotonic() + 30
        while not re.search(text, seen):
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 4096)
        return seen

    until(rb"20 70\r\n")
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    time.sleep(0.3)
    os.write(terminal, b"\n")
    until(rb"33 99\r\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(terminal)


def test_monitor_shows_lifecycle_events(pair: Pair) -> None:
    monitor = subprocess.Popen([PROGRAM, "monitor", "--type", "lifecycle", "-f", "json"], env={**os.environ, **pair.ours.env}, stdout=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        pair.ours("config", "set", "c10", "user.seen=1")
        assert monitor.stdout
        event = json.loads(monitor.stdout.readline())
        assert event["type"] == "lifecycle"
    finally:
        monitor.kill()
        monitor.wait()


def test_engine_without_a_daemon(embedded: Client, image: Path) -> None:
    """Import, launch, run, snapshot and delete, each by a process of its own."""
    out = embedded("image", "import", str(image), "--alias", "busybox")
    assert "Image imported with fingerprint: " in out
    assert embedded("create", "busybox", "c1", "-c", "user.a=b").startswith("Creating c1\n")
    assert embedded("config", "get", "c1", "user.a") == "b\n"
    assert embedded("list", "-f", "csv", "-c", "nsa") == f"c1,STOPPED,{os.uname().machine}\n"
    embedded("snapshot", "create", "c1", "s0")
    assert embedded("snapshot", "list", "c1", "-f", "csv", "-c", "n") == "s0\n"
    embedded("delete", "c1")
    assert embedded("list", "-f", "json") == "[]\n"


def test_aliases_of_the_user(embedded: Client) -> None:
    embedded("alias", "add", "names", "list -c n -f csv")
    embedded("create", "--empty", "c1")
    assert embedded("names") == "c1\n"
    assert embedded("alias", "list", "-f", "csv") == "names,list -c n -f csv\nshell,exec @ARGS@ -- su -l\n"
    embedded("alias", "remove", "names")
    assert embedded.run("names", check=False).stderr == 'Error: unknown command "names" for "incus"\n'


def test_remotes_are_kept_in_the_official_file(embedded: Client) -> None:
    embedded("remote", "add", "elsewhere", "https://images.example.org", "--protocol=simplestreams")
    embedded("remote", "rename", "elsewhere", "there")
    text = Path(embedded.env["INCUS_CONF"], "config.yml").read_text()
    assert "default-remote: local\n" in text
    assert "  there:\n    addr: https://images.example.org\n    protocol: simplestreams\n    public: true\n" in text
    embedded("remote", "remove", "there")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(embedded: Client, shell: str) -> None:
    assert "incus completion words" in embedded("completion", shell)
    assert embedded("completion", "words", "--", "config", "de") == "device\n"
    assert "--columns\n" in embedded("completion", "words", "--", "list", "--c")


def walk(client: Client, path: list[str]) -> int:
    text = client(*path, "--help")
    assert text.startswith("Description:\n") and "\nUsage:\n  incus " in text
    found = 1
    block = re.search(r"Available Commands:\n((?:  .*\n)+)", text)
    for line in block[1].splitlines() if block else []:
        found += walk(client, [*path, line.split()[0]])
    return found


def test_every_verb_has_help(embedded: Client) -> None:
    assert walk(embedded, []) > 120


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Client]:
    """A copy of the command beside a program called incusd, with a state directory of their own."""
    if os.geteuid() != 0:
        pytest.skip("only root starts a daemon")
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(PROGRAM, folder / "incus")
    (tmp_path / "conf").mkdir()
    (tmp_path / "state").mkdir()
    libraries = f"{BUILD / 'libincus'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    yield Client(folder / "incus", {"INCUS_DIR": str(tmp_path / "state"), "INCUS_CONF": str(tmp_path / "conf"), "LD_LIBRARY_PATH": libraries})
    if (folder / "pid").exists():
        os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


# Answers GET /1.0 and lists, which is all that `list` and `version` ask for.
SERVER = """#!/usr/bin/python3
import http.server, json, os, socketserver, sys, time
here = os.path.dirname(os.path.abspath(__file__))
open(here + "/pid", "w").write(str(os.getpid()))
open(here + "/argv", "a").write(" ".join(sys.argv[1:]) + "\\n")
time.sleep(0.3)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self): return "unix"
    def do_GET(self):
        one = {"api_extensions": [], "api_status": "stable", "api_version": "1.0", "auth": "trusted", "environment": {"server_version": "0.0.1", "server_clustered": False}}
        body = json.dumps({"type": "sync", "status": "Success", "status_code": 200, "metadata": one if self.path.split("?")[0] == "/1.0" else []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
Server(os.environ["INCUS_DIR"] + "/unix.socket", Handler).serve_forever()
"""


def test_first_command_starts_a_daemon(alone: Client) -> None:
    daemon = alone.program.parent / "incusd"
    daemon.write_text(SERVER)
    daemon.chmod(0o755)
    assert alone("list", "-f", "csv") == ""
    assert "Server version: 0.0.1\n" in alone("version")
    assert (daemon.parent / "argv").read_text() == "--transient\n"  # and no second one


def test_daemon_that_does_not_start_is_told(alone: Client) -> None:
    daemon = alone.program.parent / "incusd"
    daemon.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    daemon.chmod(0o755)
    done = alone.run("list", check=False)
    assert done.returncode == 1 and "no room" in done.stderr


def test_volumes_of_users(pair: Pair) -> None:
    ours, official = pair.ours, pair.official
    assert ours("storage", "volume", "create", "default", "v1", "user.a=b", "--description", "d") == "Storage volume v1 created\n"
    same(ours.run("storage", "volume", "show", "default", "v1"), official.run("storage", "volume", "show", "default", "v1"))
    ours("storage", "volume", "attach", "default", "v1", "c2", "data", "/srv")
    assert official("config", "device", "get", "c2", "data", "path") == "/srv\n"
    ours("storage", "volume", "detach", "default", "v1", "c2")
    ours("storage", "volume", "snapshot", "create", "default", "v1", "s0")
    same(ours.run("storage", "volume", "snapshot", "list", "default", "v1"), official.run("storage", "volume", "snapshot", "list", "default", "v1"))
    same(ours.run("storage", "volume", "snapshot", "show", "default", "v1/s0"), official.run("storage", "volume", "snapshot", "show", "default", "v1/s0"))
    same(ours.run("storage", "volume", "info", "default", "v1"), official.run("storage", "volume", "info", "default", "v1"))
    ours("storage", "volume", "snapshot", "restore", "default", "v1", "s0")
    ours("storage", "volume", "snapshot", "delete", "default", "v1", "s0")
    ours("storage", "volume", "rename", "default", "v1", "v2")
    assert ours("storage", "volume", "delete", "default", "v2") == "Storage volume v2 deleted\n"


FLAG = re.compile(r"^\s+(?:-(\w), )?\s*--([\w-]+)(\[=\S+\])?\s*(?:.*?\(default (.*?)\)\s*|.*)$", re.M)


def flags_of(text: str) -> set[tuple[str, ...]]:
    """Long name, short name, value when none is given, default."""
    block = re.search(r"\nFlags:\n((?:  .*\n?)+)", text)
    return {(m[2], m[1] or "", m[3] or "", m[4] or "") for m in FLAG.finditer(block[1] if block else "") if m[2] not in ("help", "sub-commands")}


def compare_flags(ours: Client, official: Client, path: list[str], found: list[str]) -> int:
    text = ours(*path, "--help", *([] if path else ["--all"]))
    seen = 0
    if path and path[0] != "completion":  # scripts are made by each client in its own way
        theirs = official(*path, "--help")
        found += [f"{' '.join(path)}: {f}" for f in sorted(flags_of(text) ^ flags_of(theirs))]
        seen = 1
    block = re.search(r"Available Commands:\n((?:  .*\n)+)", text)
    for line in block[1].splitlines() if block else []:
        seen += compare_flags(ours, official, [*path, line.split()[0]], found)
    return seen


def test_flags_are_those_of_the_official_client(embedded: Client) -> None:
    if not OFFICIAL.exists():
        pytest.skip("the official client is not installed (Debian: incus-client)")
    found: list[str] = []
    assert compare_flags(embedded, Client(OFFICIAL, embedded.env), [], found) > 150
    assert found == []
