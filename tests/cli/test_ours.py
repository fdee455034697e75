# SPDX-License-Identifier: Apache-2.0
"""The `incus` command on this tree's daemon: every verb, as it succeeds and as it fails. Nothing of the official packages is needed."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROGRAM, Client
from servers import Daemon, daemon_with

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")


@pytest.fixture(scope="module")
def daemon(image: Path) -> Iterator[Daemon]:
    with daemon_with(image, "ours") as d:
        d.client("launch", "busybox", "c1", "-c", "user.a=b", "--description", "first")
        d.client("create", "busybox", "c2")
        yield d


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("Error: ") and done.stdout == "", (done.stdout, done.stderr)
    for w in words:
        assert w in done.stderr


REFUSALS: list[tuple[list[str], str]] = [
    (["launch", "nosuch", "c3"], "not found"),
    (["launch", "busybox", "c1"], "already exists"),
    (["create", "busybox", "bad/name"], "name"),
    (["create", "busybox", "c3", "-c", "no.such.key=1"], "no.such.key"),
    (["create", "busybox", "c3", "-p", "nosuch"], "nosuch"),
    (["create", "busybox", "c3", "-s", "nosuch"], "nosuch"),
    (["create", "busybox", "c3", "-d", "nosuch,a=b"], "nosuch"),
    (["list", "-c", "nX"], "X"),
    (["list", "-f", "bad"], "bad"),
    (["info", "nosuch"], "not found"),
    (["start", "nosuch"], "not found"),
    (["start", "c1"], "running"),
    (["stop", "c2"], "stopped"),
    (["pause", "c2"], "c2"),
    (["resume", "c1"], "c1"),
    (["restart", "c2"], "c2"),
    (["delete", "nosuch"], "not found"),
    (["delete", "c1"], "running"),
    (["exec", "nosuch", "true"], "not found"),
    (["exec", "c2", "true"], "not running"),
    (["console", "nosuch", "--show-log"], "not found"),
    (["file", "pull", "c1/no/such", "-"], "no such file"),
    (["file", "pull", "c1/etc", "-"], "irectory"),
    (["file", "push", "/no/such", "c1/tmp/x"], "/no/such"),
    (["file", "delete", "c1/no/such"], "no such file"),
    (["config", "set", "c1", "limits.memory=lots"], "lots"),
    (["config", "set", "nosuch", "user.a=b"], "not found"),
    (["config", "set", "no.such=1"], "no.such"),
    (["config", "device", "add", "c1", "d0", "nosuch"], "nosuch"),
    (["config", "device", "remove", "c1", "nosuch"], "exist"),
    (["config", "device", "get", "c1", "nosuch", "x"], "exist"),
    (["config", "trust", "show", "abcdef"], "not found"),
    (["config", "trust", "remove", "abcdef"], "not found"),
    (["config", "template", "show", "c1", "nosuch"], "nosuch"),
    (["config", "template", "delete", "c1", "nosuch"], "nosuch"),
    (["profile", "show", "nosuch"], "not found"),
    (["profile", "delete", "nosuch"], "not found"),
    (["profile", "delete", "default"], "default"),
    (["profile", "create", "default"], "already exists"),
    (["profile", "assign", "c2", "nosuch"], "nosuch"),
    (["profile", "device", "add", "default", "eth9", "nosuch"], "nosuch"),
    (["project", "show", "nosuch"], "not found"),
    (["project", "delete", "default"], "default"),
    (["project", "switch", "nosuch"], "not found"),
    (["image", "info", "nosuch"], "not found"),
    (["image", "delete", "nosuch"], "not found"),
    (["image", "export", "nosuch"], "not found"),
    (["image", "import", "/no/such.tar"], "/no/such.tar"),
    (["image", "import", "http://127.0.0.1/x"], "https"),
    (["image", "import", "https://127.0.0.1:1/x"], "127.0.0.1"),
    (["image", "refresh", "busybox"], "imported here"),
    (["image", "copy", "busybox", "local:"], "different"),
    (["image", "alias", "create", "busybox", "nosuch"], "nosuch"),
    (["image", "alias", "delete", "nosuch"], "not found"),
    (["snapshot", "delete", "c1", "nosuch"], "not found"),
    (["snapshot", "restore", "c1", "nosuch"], "not found"),
    (["snapshot", "create", "c1", "a/b"], "a/b"),
    (["copy", "nosuch", "c3"], "not found"),
    (["copy", "c1", "c2"], "already exists"),
    (["move", "c1", "c3"], "running"),
    (["rename", "c2", "c1"], "already exists"),
    (["storage", "show", "nosuch"], "not found"),
    (["storage", "create", "s9", "nosuch"], "nosuch"),
    (["storage", "delete", "default"], "default"),
    (["storage", "volume", "show", "default", "nosuch"], "not found"),
    (["storage", "volume", "delete", "default", "nosuch"], "not found"),
    (["operation", "show", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"], "not found"),
    (["operation", "delete", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"], "not found"),
    (["warning", "show", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"], "not found"),
    (["query", "/1.0/nosuch"], "/1.0/nosuch"),
    (["query", "-X", "PUT", "/1.0/instances/nosuch", "-d", "{}"], "not found"),
    (["remote", "switch", "nosuch"], "nosuch"),
    (["remote", "remove", "nosuch"], "nosuch"),
    (["remote", "rename", "nosuch", "x"], "nosuch"),
    (["remote", "add", "far", "https://127.0.0.1:1"], "127.0.0.1"),
    (["remote", "add", "far", "bm90IGEgdG9rZW4="], ""),
    (["rebuild", "busybox", "c1"], "stopped"),
    (["rebuild", "nosuch", "c2"], "not found"),
    (["publish", "nosuch"], "not found"),
    (["admin", "sql", "global", "SELECT nonsense"], "nonsense"),
    (["admin", "sql", "nosuch", "SELECT 1"], "database type"),
    (["admin", "init", "--auto", "--minimal"], "--minimal"),
    (["admin", "init", "--preseed", "x.yaml"], "number of arguments"),
    (["nonsense"], "nonsense"),
    (["list", "--nonsense"], "nonsense"),
]


@pytest.mark.parametrize(("args", "word"), REFUSALS, ids=[" ".join(r[0]) for r in REFUSALS])
def test_refusals(ours: Client, args: list[str], word: str) -> None:
    done = ours.run(*args, check=False)
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    assert "Error: " in done.stderr and word.lower() in done.stderr.lower(), done.stderr


def test_lists(ours: Client) -> None:
    assert ours("list", "-f", "csv", "-c", "n,s,t,user.a:A,d,S") == "c1,RUNNING,CONTAINER,b,first,0\nc2,STOPPED,CONTAINER,,,0\n"
    assert ours("list", "-f", "csv,header", "-c", "nP") == "NAME,PROFILES\nc1,default\nc2,default\n"
    assert ours("list", "-f", "table", "-c", "n") == "+------+\n| NAME |\n+------+\n| c1   |\n+------+\n| c2   |\n+------+\n"
    assert ours("list", "-f", "compact", "-c", "ns").split() == ["NAME", "STATE", "c1", "RUNNING", "c2", "STOPPED"]
    assert [i["name"] for i in json.loads(ours("list", "-f", "json"))] == ["c1", "c2"]
    assert re.findall(r"^  name: (.*)$", ours("list", "-f", "yaml"), re.M) == ["c1", "c2"]
    for args, names in [
        (["status=running"], "c1\n"),
        (["status=stopped"], "c2\n"),
        (["user.a=b"], "c1\n"),
        (["^c2$"], "c2\n"),
        (["name=c1", "c2"], ""),
        (["type=container"], "c1\nc2\n"),
        (["nothing"], ""),
    ]:
        assert ours("list", *args, "-f", "csv", "-c", "n") == names, args
    assert "c1" in ours("list", "--all-projects") and "c1" in ours("list", "--fast")


def test_info(ours: Client) -> None:
    text = ours("info", "c1")
    assert text.startswith("Name: c1\nDescription: first\nStatus: RUNNING\nType: container\n") and "Processes: " in text
    assert "Status: STOPPED" in ours("info", "c2")
    assert "api_extensions:" in ours("info") and "CPU" in ours("info", "--resources")
    assert ours("info", "c1", "--show-log").startswith("Name: c1")


def test_states(ours: Client) -> None:
    ours("start", "c2")
    ours("pause", "c2")
    assert ours("list", "c2", "-f", "csv", "-c", "s") == "FROZEN\n"
    ours("resume", "c2")
    assert ours("list", "c2", "-f", "csv", "-c", "s") == "RUNNING\n"
    ours("restart", "-f", "c2")
    ours("stop", "c2", "--timeout", "30")
    assert ours("list", "c2", "-f", "csv", "-c", "s") == "STOPPED\n"
    ours("launch", "busybox", "gone", "-e", "-c", "limits.processes=100", "--no-profiles", "-s", "default")
    ours("stop", "-f", "gone")
    assert ours("list", "gone", "-f", "csv") == ""
    assert ours("create", "--empty", "hollow") == "Creating hollow\n"
    done = ours.run("delete", "hollow", "nosuch", check=False)
    assert done.returncode == 1 and "nosuch" in done.stderr
    ours.run("delete", "hollow", check=False)
    ours("launch", "busybox", "c9", input="config: {user.piped: 'yes'}\n")
    assert ours("config", "get", "c9", "user.piped") == "yes\n"
    ours("delete", "-f", "c9")
    said = ours("launch", "busybox")
    name = said.split("Instance name is: ")[1].split()[0]
    ours("stop", "--all", "-f")
    assert set(ours("list", "-f", "csv", "-c", "s").split()) == {"STOPPED"}
    ours("delete", name)
    ours("start", "c1")


def test_exec(ours: Client) -> None:
    done = ours.run("exec", "c1", "--env", "A=b c", "--cwd", "/tmp", "--", "sh", "-c", 'cat; echo "$A"; pwd; echo bad >&2; exit 7', input="in\n", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("in\nb c\n/tmp\n", "bad\n", 7)
    assert ours.run("exec", "c1", "--", "nosuch", check=False).returncode == 127
    assert ours.run("exec", "c1", "--", "/etc", check=False).returncode == 126
    assert ours.run("exec", "c1", "--", "sh", "-c", "kill -9 $$", check=False).returncode == 137
    assert ours("exec", "c1", "-n", "--", "cat", input="not read") == ""
    assert ours("exec", "c1", "--user", "7", "--group", "8", "--", "sh", "-c", "id -u; id -g") == "7\n8\n"
    assert ours("exec", "c1", "-t", "--", "sh", "-c", "test -t 1 && echo terminal") == "terminal\n"
    assert ours.run("exec", "c1", "-T", "--", "test", "-t", "1", check=False).returncode == 1
    big = "0123456789abcdef\n" * 65536
    assert ours("exec", "c1", "--", "cat", input=big) == big
    assert ours("shell", "c1", input="echo $((6*7)); exit\n").strip().endswith("42")


def test_exec_ends_with_its_client(ours: Client) -> None:
    p = subprocess.Popen([PROGRAM, "exec", "c1", "--", "sleep", "4711"], env={**os.environ, **ours.env}, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while "4711" not in ours("exec", "c1", "--", "ps"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    p.send_signal(signal.SIGTERM)
    p.wait(30)
    while "4711" in ours("exec", "c1", "--", "ps"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def on_terminal(client: Client, *args: str, keys: bytes, until: bytes) -> tuple[bytes, int]:
    """Runs on a terminal of its own; types when `until` came (empty: at once)."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(client.program, ["incus", *args], {**os.environ, **client.env, "TERM": "xterm"})
    seen, typed, deadline = b"", False, time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not typed and until in seen:
                os.write(fd, keys)
                typed = True
            if select.select([fd], [], [], 0.2)[0]:
                try:
                    piece = os.read(fd, 65536)
                except OSError:
                    break
                if not piece:
                    break
                seen += piece
        else:
            os.kill(pid, signal.SIGKILL)
            pytest.fail(f"incus {' '.join(args)} did not end: {seen!r}")
    finally:
        os.close(fd)
    return seen, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_terminals(ours: Client) -> None:
    seen, code = on_terminal(ours, "shell", "c1", keys=b"echo $((6*7)); exit 3\n", until=b"#")
    assert b"42" in seen and code == 3
    seen, code = on_terminal(ours, "console", "c1", keys=b"\x01q", until=b"<ctrl>+a q")
    assert code == 0
    seen, code = on_terminal(ours, "top", keys=b"q\n", until=b"Enter ends")
    assert code == 0 and b"c1" in seen


def test_console_log(ours: Client) -> None:
    ours("exec", "c1", "--", "sh", "-c", "echo marked >/dev/console")
    deadline = time.monotonic() + 30
    while "marked" not in ours("console", "c1", "--show-log"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    refused(ours.run("console", "c2", "--show-log", "-t", "bad", check=False))


def test_files(ours: Client, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content\n")
    ours("file", "push", str(tmp_path / "a"), "c1/root/new/dir/a", "-p", "--mode", "0640", "--uid", "5", "--gid", "6")
    assert ours("exec", "c1", "--", "stat", "-c", "%a %u %g", "/root/new/dir/a") == "640 5 6\n"
    assert ours("file", "pull", "c1/root/new/dir/a", "-") == "content\n"
    ours("file", "push", "-", "c1/tmp/piped", input="from stdin")
    assert ours("exec", "c1", "--", "cat", "/tmp/piped") == "from stdin"
    tree = tmp_path / "tree"
    (tree / "sub/empty").mkdir(parents=True)
    (tree / "sub/x").write_text("x" * 100000)
    (tree / "y").symlink_to("sub/x")
    ours("file", "push", "-r", str(tree), "c1/tmp/")
    ours("file", "pull", "-r", "c1/tmp/tree", str(tmp_path / "back"), "-p")
    assert (tmp_path / "back/tree/sub/x").read_text() == "x" * 100000
    assert (tmp_path / "back/tree/sub/empty").is_dir() and os.readlink(tmp_path / "back/tree/y") == "/tmp/tree/sub/x"  # as the official client has it
    ours("file", "create", "c1/tmp/made", "--mode", "0600")
    ours("file", "create", "c1/tmp/made-dir/", "--type", "directory")
    ours("file", "create", "--type", "symlink", "c1/tmp/made-link", "made")
    assert ours("exec", "c1", "--", "readlink", "/tmp/made-link") == "made\n"
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho edited >"$1"\n')
    editor.chmod(0o755)
    Client(ours.program, {**ours.env, "EDITOR": str(editor)}).run("file", "edit", "c1/tmp/made")
    on_terminal(Client(ours.program, {**ours.env, "EDITOR": str(editor)}), "file", "edit", "c1/tmp/piped", keys=b"", until=b"")
    assert ours("exec", "c1", "--", "cat", "/tmp/piped") == "edited\n"
    ours("file", "delete", "c1/tmp/made", "c1/tmp/made-link")
    ours("file", "delete", "-f", "c1/tmp/tree")
    assert ours.run("exec", "c1", "--", "ls", "/tmp/tree", check=False).returncode == 1
    # A stopped one too.
    ours("file", "push", str(tmp_path / "a"), "c2/root/a")
    assert ours("file", "pull", "c2/root/a", "-") == "content\n"


def test_modes_that_are_not_pulled(ours: Client, tmp_path: Path) -> None:
    """What is set-uid in a guest is not on this machine, which a guest could otherwise give programs of root's."""
    ours("exec", "c1", "--", "sh", "-c", "mkdir -p /tmp/suid/d && cp /bin/busybox /tmp/suid/a && chmod 6755 /tmp/suid/a && chmod 3777 /tmp/suid/d")
    ours("file", "pull", "c1/tmp/suid/a", str(tmp_path / "a"))
    ours("file", "pull", "-r", "c1/tmp/suid", str(tmp_path))
    assert [oct(os.stat(tmp_path / p).st_mode & 0o7777) for p in ("a", "suid/a", "suid/d")] == ["0o755", "0o755", "0o777"]


def test_names_with_braces(ours: Client, tmp_path: Path) -> None:
    """Names stand in the line that shows progress, which only a terminal sees."""
    (tmp_path / "{a}{}").write_bytes(b"x" * (5 << 20))
    for command in (["push", str(tmp_path / "{a}{}"), "c1/tmp/{b}"], ["pull", "c1/tmp/{b}", str(tmp_path / "{c}")]):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(PROGRAM, ["incus", "file", *command], {**os.environ, **ours.env})
        try:
            while os.read(terminal, 65536):
                pass
        except OSError:
            pass  # its end
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(terminal)
    assert (tmp_path / "{c}").stat().st_size == 5 << 20


def test_alias_with_a_mark_for_a_word(ours: Client) -> None:
    ours("alias", "add", "again", "query @ARG1@")
    try:
        done = ours.run("again", "@ARG1@", check=False, timeout=20)
        assert done.returncode == 1 and "must start with /" in done.stderr
    finally:
        ours("alias", "remove", "again")


def test_numbers_and_words_that_are_none(ours: Client) -> None:
    assert "out of range" in ours.run("stop", "c2", "--timeout", "99999999999999999999", check=False).stderr
    done = ours.run("config", "edit", "c2", input="ephemeral: perhaps\n", check=False)
    assert done.returncode == 1 and "bool" in done.stderr


def test_config(ours: Client) -> None:
    ours("config", "set", "c1", "limits.memory=64MiB", "user.x=1=2")
    assert ours("config", "get", "c1", "user.x") == "1=2\n"
    ours("config", "unset", "c1", "user.x")
    assert ours("config", "get", "c1", "user.x") == "\n"
    ours("config", "set", "c1", "-p", "description=said")
    assert ours("config", "get", "c1", "-p", "description") == "said\n"
    shown = ours("config", "show", "c1")
    assert "limits.memory: 64MiB" in shown and "volatile.uuid" in ours("config", "show", "c1", "--expanded")
    ours("config", "edit", "c1", input=shown.replace("64MiB", "96MiB"))
    assert ours("config", "get", "c1", "limits.memory", "-e") == "96MiB\n"
    refused(ours.run("config", "edit", "c1", input="config: [", check=False))
    assert ours("config", "device", "add", "c1", "d0", "none") == "Device d0 added to c1\n"
    assert ours("config", "device", "list", "c1") == "d0\n"
    assert "type: none" in ours("config", "device", "show", "c1")
    ours("config", "device", "add", "c1", "d1", "none")
    assert ours("config", "device", "remove", "c1", "d0", "d1") == "Device d0, d1 removed from c1\n"
    ours("config", "set", "user.server=yes")
    assert ours("config", "get", "user.server") == "yes\n" and "user.server" in ours("config", "show")
    ours("config", "unset", "user.server")


def test_devices_of_profiles(ours: Client) -> None:
    ours("profile", "create", "dev")
    ours("profile", "device", "add", "dev", "data", "disk", "source=/tmp", "path=/mnt/data")
    ours("profile", "add", "c2", "dev")
    assert ours("config", "device", "override", "c2", "data", "readonly=true") == "Device data overridden for c2\n"
    assert ours("config", "device", "get", "c2", "data", "readonly") == "true\n"
    ours("config", "device", "unset", "c2", "data", "readonly")
    ours("config", "device", "set", "c2", "data", "readonly=false")
    refused(ours.run("config", "device", "override", "c2", "data", check=False), "exists")
    ours("config", "device", "remove", "c2", "data")
    ours("profile", "remove", "c2", "dev")
    ours("profile", "delete", "dev")


def test_metadata_and_templates(ours: Client) -> None:
    shown = ours("config", "metadata", "show", "c2")
    assert "os: busybox" in shown
    ours("config", "metadata", "edit", "c2", input=shown.replace("os: busybox", "os: other"))
    assert "os: other" in ours("config", "metadata", "show", "c2")
    ours("config", "template", "create", "c2", "t.tpl")
    ours("config", "template", "edit", "c2", "t.tpl", input="hello")
    assert ours("config", "template", "show", "c2", "t.tpl") == "hello"
    assert "t.tpl" in ours("config", "template", "list", "c2", "-f", "csv")
    ours("config", "template", "delete", "c2", "t.tpl")


def test_profiles(ours: Client) -> None:
    assert ours("profile", "create", "web", "--description", "x", input="config: {user.k: '1'}") == "Profile web created\n"
    assert ours("profile", "get", "web", "user.k") == "1\n"
    ours("profile", "set", "web", "user.k=2")
    ours("profile", "unset", "web", "user.k")
    ours("profile", "edit", "web", input="config: {user.k: true}\ndescription: y\n")
    assert 'description: "y"' in ours("profile", "show", "web")
    assert ours("profile", "device", "add", "web", "n0", "none") == "Device n0 added to web\n"
    assert ours("profile", "device", "list", "web") == "n0\n"
    ours("profile", "copy", "web", "web2")
    assert ours("profile", "assign", "c2", "default,web") == "Profiles default,web applied to c2\n"
    assert ours("profile", "add", "c2", "web2") == "Profile web2 added to c2\n"
    assert ours("list", "c2", "-f", "csv", "-c", "P") == '"default\nweb\nweb2"\n'
    refused(ours.run("profile", "delete", "web", check=False), "use")
    assert ours("profile", "remove", "c2", "web2") == "Profile web2 removed from c2\n"
    ours("profile", "assign", "c2", "default")
    assert ours("profile", "rename", "web2", "web3") == "Profile web2 renamed to web3\n"
    assert ours("profile", "delete", "web3") == "Profile web3 deleted\n"
    assert {line.split(",")[0] for line in ours("profile", "list", "-f", "csv").splitlines()} == {"default", "web"}
    ours("profile", "delete", "web")


def test_projects(ours: Client) -> None:
    assert ours("project", "create", "px", "-c", "features.images=false", "-c", "features.profiles=false") == "Project px created\n"
    ours("project", "switch", "px")
    assert ours("project", "get-current") == "px\n"
    ours("create", "busybox", "inside")
    ours("project", "switch", "default")
    assert ours("list", "--project", "px", "-f", "csv", "-c", "n") == "inside\n"
    assert "inside" in ours("list", "--all-projects", "-f", "csv", "-c", "ne")
    ours("project", "set", "px", "user.a=1")
    assert ours("project", "get", "px", "user.a") == "1\n"
    ours("project", "unset", "px", "user.a")
    ours("project", "edit", "px", input=ours("project", "show", "px").replace('description: ""', "description: said"))
    assert "description: said" in ours("project", "show", "px")
    assert "px" in ours("project", "list") and "RESOURCE" in ours("project", "info", "px")
    refused(ours.run("project", "delete", "px", check=False))
    ours("delete", "inside", "--project", "px")
    assert ours("project", "rename", "px", "py") == "Project px renamed to py\n"
    assert ours("project", "delete", "py") == "Project py deleted\n"


def test_images(ours: Client, image: Path, tmp_path: Path) -> None:
    fingerprint = ours("image", "list", "-f", "csv", "-c", "F").strip()
    assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    assert f"Fingerprint: {fingerprint}" in ours("image", "info", "busybox")
    assert "busybox" in ours("image", "list", "busybox") and ours("image", "list", "nothing", "-f", "csv") == ""
    ours("image", "export", "busybox", str(tmp_path / "out"))
    assert (tmp_path / "out.tar.gz").read_bytes() == image.read_bytes()
    refused(ours.run("image", "import", str(image), check=False), "already exists")
    ours("image", "alias", "create", "bb", fingerprint, "--description", "again")
    assert "bb" in ours("image", "alias", "list", "-f", "csv")
    ours("image", "alias", "rename", "bb", "bc")
    ours("image", "alias", "delete", "bc")
    ours("image", "edit", "busybox", input=ours("image", "show", "busybox").replace("public: false", "public: true"))
    assert "public: true" in ours("image", "show", "busybox")
    ours("image", "set-property", "busybox", "extra", "1")
    assert ours("image", "get-property", "busybox", "extra") == "1\n"
    ours("image", "unset-property", "busybox", "extra")
    ours("image", "edit", "busybox", input=ours("image", "show", "busybox").replace("public: true", "public: false"))
    ours("publish", "c2", "--alias", "made", "user=me")
    ours("image", "export", "made", str(tmp_path / "made"))
    ours("image", "delete", "made")
    packed = next(tmp_path.glob("made*"))
    assert "with fingerprint: " in ours("image", "import", str(packed), "extra=1", "--alias", "back", "--public")
    assert ours("image", "get-property", "back", "extra") == "1\n"
    ours("image", "delete", "back")


def test_image_between_projects(ours: Client) -> None:
    ours("project", "create", "pi")
    try:
        assert "Image copied successfully!" in ours("image", "copy", "busybox", "local:", "--target-project", "pi", "--alias", "there", "--copy-aliases")
        assert ours("image", "list", "--project", "pi", "-f", "csv", "-c", "L").split() == ['"busybox', 'there"']
        ours("image", "delete", "there", "--project", "pi")
        ours("image", "show", "busybox")
    finally:
        ours("project", "delete", "pi", "--force", input="yes\n")


def test_snapshots(ours: Client) -> None:
    ours("snapshot", "create", "c2", "a", "--no-expiry")
    refused(ours.run("snapshot", "create", "c2", "a", check=False), "already exists")
    ours("snapshot", "create", "c2", "a", "--reuse")
    ours("snapshot", "rename", "c2", "a", "b")
    assert ours("snapshot", "list", "c2", "-f", "csv", "-c", "n") == "b\n"
    assert "expires_at" in ours("snapshot", "show", "c2", "b")
    ours("snapshot", "create", "c2")
    assert ours("snapshot", "list", "c2", "-f", "csv", "-c", "n") == "b\nsnap0\n"
    ours("snapshot", "restore", "c2", "b")
    ours("copy", "c2/b", "from-snapshot")
    ours("delete", "from-snapshot")
    ours("snapshot", "delete", "c2", "b")
    ours("snapshot", "delete", "c2", "snap0")


def test_copies(ours: Client) -> None:
    ours("snapshot", "create", "c2", "s0")
    ours("copy", "c2", "k1", "-c", "user.k=1")
    assert ours("list", "k1", "-f", "csv", "-c", "S,user.k:K") == "1,1\n"
    ours("copy", "c2", "k2", "--instance-only")
    assert ours("list", "k2", "-f", "csv", "-c", "S") == "0\n"
    ours("rename", "k1", "k3")
    ours("move", "k3", "k4")
    assert ours("list", "^k", "-f", "csv", "-c", "n") == "k2\nk4\n"
    ours("delete", "k2", "k4")
    ours("snapshot", "delete", "c2", "s0")


def test_storage(ours: Client) -> None:
    assert ours("storage", "create", "s2", "dir", "user.a=b") == "Storage pool s2 created\n"
    assert ours("storage", "get", "s2", "user.a") == "b\n"
    ours("storage", "set", "s2", "user.a=c")
    ours("storage", "unset", "s2", "user.a")
    assert "driver: dir" in ours("storage", "show", "s2") and "s2" in ours("storage", "list") and "space used" in ours("storage", "info", "s2")
    assert ours("storage", "volume", "create", "s2", "v1", "user.x=1") == "Storage volume v1 created\n"
    assert ours("storage", "volume", "get", "s2", "v1", "user.x") == "1\n"
    ours("storage", "volume", "set", "s2", "v1", "user.x=2")
    assert "custom" in ours("storage", "volume", "list", "s2", "-f", "csv")
    ours("storage", "volume", "attach", "s2", "v1", "c1", "/mnt/v")
    assert " /mnt/v " in ours("exec", "c1", "--", "cat", "/proc/mounts")
    refused(ours.run("storage", "volume", "delete", "s2", "v1", check=False))
    ours("storage", "volume", "detach", "s2", "v1", "c1")
    assert " /mnt/v " not in ours("exec", "c1", "--", "cat", "/proc/mounts")
    ours("storage", "volume", "snapshot", "create", "s2", "v1", "one")
    assert "one" in ours("storage", "volume", "snapshot", "list", "s2", "v1", "-f", "csv")
    ours("storage", "volume", "snapshot", "delete", "s2", "v1", "one")
    ours("storage", "volume", "rename", "s2", "v1", "v2")
    refused(ours.run("storage", "delete", "s2", check=False))
    assert ours("storage", "volume", "delete", "s2", "v2") == "Storage volume v2 deleted\n"
    assert ours("storage", "delete", "s2") == "Storage pool s2 deleted\n"


def test_operations_and_warnings(ours: Client) -> None:
    p = subprocess.Popen([PROGRAM, "exec", "c1", "--", "sleep", "100"], env={**os.environ, **ours.env}, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while "Executing command" not in (listed := ours("operation", "list", "-f", "csv")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        uuid = next(line for line in listed.splitlines() if "Executing command" in line).split(",")[0]
        assert "Executing command" in ours("operation", "show", uuid)
    finally:
        p.kill()
        p.wait()
    ours("query", "-X", "POST", "/internal/debug/warnings", "-d", json.dumps({"type_code": 1, "message": "from a test", "project": "default"}))
    (uuid,) = [w["uuid"] for w in json.loads(ours("warning", "list", "--all", "-f", "json")) if w["last_message"] == "from a test"]
    assert "from a test" in ours("warning", "show", uuid)
    ours("warning", "acknowledge", uuid)
    ours("warning", "delete", uuid)
    assert "from a test" not in ours("warning", "list", "--all")


def test_monitor(ours: Client) -> None:
    p = subprocess.Popen([PROGRAM, "monitor", "--type", "lifecycle", "--format", "json"], env={**os.environ, **ours.env}, stdout=subprocess.PIPE)
    assert p.stdout
    try:
        seen, deadline = b"", time.monotonic() + 60
        while b"instance-updated" not in seen:
            assert time.monotonic() < deadline
            ours("config", "set", "c2", f"user.now={time.monotonic()}")
            if select.select([p.stdout], [], [], 0.2)[0]:
                seen += os.read(p.stdout.fileno(), 65536)
        assert json.loads(seen.splitlines()[0])["type"] == "lifecycle"
    finally:
        p.send_signal(signal.SIGINT)
        p.wait(30)
        p.stdout.close()


def test_query(ours: Client) -> None:
    assert json.loads(ours("query", "/1.0"))["auth"] == "trusted"
    assert "/1.0/projects/default" in json.loads(ours("query", "--raw", "/1.0/projects"))["metadata"]
    ours("query", "-X", "PATCH", "/1.0/instances/c2", "-d", '{"config":{"user.q":"1"}}')
    assert ours("config", "get", "c2", "user.q") == "1\n"
    op = ours("query", "-X", "POST", "/1.0/instances/c2/snapshots", "-d", '{"name":"q"}', "--wait")
    assert json.loads(op)["status"] == "Success"
    ours("snapshot", "delete", "c2", "q")


def test_trust_and_remotes(daemon: Daemon, tmp_path: Path) -> None:
    ours, port = daemon.client, daemon.listen()
    token = ours("config", "trust", "add", "laptop").splitlines()[-1]
    assert "laptop" in ours("config", "trust", "list-tokens", "-f", "csv")
    conf = tmp_path / "conf"
    conf.mkdir()
    far = Client(PROGRAM, {**ours.env, "INCUS_CONF": str(conf), "INCUS_DIR": str(tmp_path / "none")})
    far("remote", "add", "farm", token)
    refused(far.run("remote", "add", "farm", token, check=False), "exists")
    (tmp_path / "conf2").mkdir()
    stranger = Client(PROGRAM, {**far.env, "INCUS_CONF": str(tmp_path / "conf2")})
    refused(stranger.run("remote", "add", "farm", token, check=False))
    assert "farm" not in stranger("remote", "list", "-f", "csv")
    assert f"https://127.0.0.1:{port}" in far("remote", "list", "-f", "csv")
    assert far("list", "farm:", "-f", "csv", "-c", "n") == "c1\nc2\n"
    assert far("exec", "farm:c1", "--", "echo", "over https") == "over https\n"
    far("file", "push", "-", "farm:c1/tmp/far", input="far")
    assert far("file", "pull", "farm:c1/tmp/far", "-") == "far"
    far("remote", "switch", "farm")
    assert far("remote", "get-default") == "farm\n" and far("list", "c1", "-f", "csv", "-c", "n") == "c1\n"
    refused(far.run("remote", "remove", "farm", check=False), "default")
    far("remote", "switch", "local")
    far("remote", "rename", "farm", "barn")
    far("remote", "set-url", "barn", f"https://localhost:{port}")
    assert far("list", "barn:c1", "-f", "csv", "-c", "n") == "c1\n"
    far("remote", "remove", "barn")
    fingerprint = ours("config", "trust", "list", "-f", "csv", "-c", "f").strip()
    assert "restricted: false" in ours("config", "trust", "show", fingerprint)
    ours("config", "trust", "edit", fingerprint, input=ours("config", "trust", "show", fingerprint).replace("laptop", "desk"))
    ours("config", "trust", "remove", fingerprint)
    ours("config", "trust", "add", "spare")
    ours("config", "trust", "revoke-token", "spare")
    ours("config", "unset", "core.https_address")


def test_rebuild(ours: Client) -> None:
    ours("create", "busybox", "r1")
    ours("file", "push", "-", "r1/root/mark", input="x")
    ours("rebuild", "busybox", "r1")
    assert ours.run("file", "pull", "r1/root/mark", "-", check=False).returncode == 1
    ours("start", "r1")
    ours("rebuild", "busybox", "r1", "--force")
    assert ours("list", "r1", "-f", "csv", "-c", "s") == "RUNNING\n"
    ours("stop", "-f", "r1")
    ours("rebuild", "--empty", "r1")
    ours("delete", "r1")


def test_network_of_the_host(ours: Client) -> None:
    assert "lo" in ours("network", "list", "-f", "csv")
    assert "Name: lo" in ours("network", "info", "lo") and "name: lo" in ours("network", "show", "lo")


def test_version_help_and_completion(ours: Client) -> None:
    assert ours("--version").strip() and "Server version:" in ours("version")
    for shell in ("bash", "zsh", "fish"):
        assert "incus" in ours("completion", shell)
    assert "c1" in ours("completion", "words", "start", "").split()
    assert ours("alias", "list", "-f", "csv") is not None
    ours("alias", "add", "ll", "list -f csv -c n")
    assert ours("ll") == "c1\nc2\n"
    ours("alias", "rename", "ll", "lm")
    ours("alias", "remove", "lm")


def test_admin(ours: Client) -> None:
    assert "profiles:" in ours("admin", "init", "--dump")
    ours("admin", "init", "--preseed", input="config: {user.seed: '1'}\nprojects: [{name: seeded, description: x}]\nprofiles: [{name: seeded, config: {user.p: '1'}}]\n")
    assert ours("config", "get", "user.seed") == "1\n" and ours("profile", "get", "seeded", "user.p") == "1\n"
    refused(ours.run("admin", "init", "--preseed", input="nonsense: {", check=False))
    ours("profile", "delete", "seeded")
    ours("project", "delete", "seeded")
    ours("config", "unset", "user.seed")
    ours("admin", "waitready", "--timeout", "10")
    assert "| default |" in ours("admin", "sql", "global", "SELECT name FROM projects")
    assert "Rows affected: 0" in ours("admin", "sql", "global", "UPDATE projects SET description = 'x' WHERE name = 'nosuch'")


def test_what_is_not_there_yet_is_said(daemon: Daemon, tmp_path: Path) -> None:
    daemon.listen()
    token = daemon.client("config", "trust", "add", "self").splitlines()[-1]
    daemon.client("remote", "add", "self", token)
    for args in (["copy", "c2", "self:c3"], ["move", "c2", "self:c3"]):
        done = daemon.client.run(*args, check=False)
        assert done.returncode == 1 and "between servers" in done.stderr, (args, done.stderr)
    daemon.client("remote", "remove", "self")
    daemon.client("config", "unset", "core.https_address")
    for args in (["launch", "images:debian/12", "c3"], ["image", "copy", "images:debian/12", "local:"]):
        done = daemon.client.run(*args, check=False)
        assert done.returncode == 1 and "simplestreams" in done.stderr, (args, done.stderr)


def test_shutdown(image: Path) -> None:
    d = Daemon("shutdown")
    try:
        d.client("admin", "init", "--minimal")
        d.client("image", "import", str(image), "--alias", "busybox")
        d.client("launch", "busybox", "c1", "-c", "boot.host_shutdown_timeout=1")
        d.client("admin", "shutdown", "--timeout", "60")
        assert d.process and d.process.wait(60) == 0
    finally:
        d.close()
