# SPDX-License-Identifier: Apache-2.0
"""The objects of the package, on a host in memory and on a real one."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import incus

SAMPLE = '''
import incus
with incus.open("embed:///var/tmp/demo") as host:
    host.images.import_file("image.tar.gz", alias="busy").wait()
    c = host.instances.launch("c1", image="busy")     # running and ready
    r = c.exec(["uname", "-a"]); print(r.exit_code, r.stdout, r.stderr)   # int, bytes, bytes
    c.snapshots.create("s0"); c.restore("s0")
    print(c.state().status, [i.name for i in host.instances.list()])
    c.stop(force=True); c.delete()
'''


@pytest.fixture
def instance(host: incus.Host) -> incus.Instance:
    return host.instances.launch("c1", image="pytest")


@pytest.mark.parametrize("door", ["test", "embed"])
def test_the_program_of_the_documentation(
    door: str, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if door == "embed" and os.geteuid() != 0:
        pytest.skip("runs real containers: needs root")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.tar.gz").symlink_to(image_file)
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o711)
    for above in folder.parents:
        if above.is_relative_to("/tmp/") and above.owner() == "root" and len(above.parts) > 2:
            above.chmod(0o711)
    really_open = incus.open

    def open_with_handler(uri: str) -> incus.Host:
        made = really_open(uri)
        if uri.startswith("test:"):
            made.on_exec(lambda name, request, input: incus.ExecResult(0, b"Linux\n", b""))
        return made

    monkeypatch.setattr(incus, "open", open_with_handler)
    uri = "test://" if door == "test" else f"embed://{folder}"
    exec(SAMPLE.replace("embed:///var/tmp/demo", uri), {})
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("0 b'Linux") and out[0].endswith("b''")
    assert out[1] == "Running ['c1']"


def test_states(host: incus.Host, instance: incus.Instance) -> None:
    assert instance.status == "Running"
    state = instance.state()
    assert state.status_code == 103 and state.pid > 0 and state.processes != 0
    instance.pause()
    assert instance.status == "Frozen"
    instance.resume()
    instance.restart(force=True)
    instance.wait_ready("exec", timeout=30)
    with pytest.raises(incus.Conflict):
        instance.start()
    with pytest.raises(incus.Error, match="(?i)running"):
        instance.delete()
    operation = instance.stop(force=True, wait=False)
    assert operation.wait(timeout=60).status == "Success"
    assert operation.done() and operation.id in [one.id for one in host.operations.infos()] + [operation.id]
    assert instance.state().status == "Stopped"
    with pytest.raises(incus.Error):
        instance.exec(["uname"])
    instance.start()
    instance.delete(force=True)
    with pytest.raises(incus.NotFound, match="c1") as caught:
        instance.info()
    assert caught.value.code == 3 and caught.value.http_status == 404 and isinstance(caught.value, LookupError)


def test_exec(instance: incus.Instance) -> None:
    result = instance.exec(["sh", "-c", "echo out; echo bad >&2; exit 3"])
    assert result == incus.ExecResult(3, b"out\n", b"bad\n")
    with pytest.raises(incus.CommandFailed, match="exit code 3: bad"):
        instance.exec(["sh", "-c", "echo out; echo bad >&2; exit 3"], check=True)
    data = bytes(range(256)) * 1000
    assert instance.exec(["cat"], input=data).stdout == data
    result = instance.exec(["sh", "-c", "echo $A; pwd; id -u; id -g"], env={"A": "b c"}, cwd="/tmp", user=1000, group=1000)
    assert result.stdout == b"b c\n/tmp\n1000\n1000\n"
    assert instance.exec(["no-such-command"]).exit_code == 127
    with pytest.raises(TypeError):
        instance.exec("uname -a")


def test_exec_session(instance: incus.Instance) -> None:
    read_end, write_end = os.pipe()
    with instance.exec_session(["uname"], stdout=write_end) as session:
        os.close(write_end)
        assert session.wait(timeout=30) == 0
        assert session.wait() == 0
    assert os.read(read_end, 100) == b"Linux\n"
    os.close(read_end)
    with instance.exec_session(["sleep", "2"]) as session:
        with pytest.raises(incus.Timeout):
            session.wait(timeout=0.05)
    with pytest.raises(incus.InvalidArgument):
        instance.exec_session(["uname"], stdout=12345)


def test_configuration(host: incus.Host) -> None:
    c = host.instances.create("c1", image="pytest", config={"user.a": "1"}, description="mine")
    assert c.status == "Stopped" and c.config["user.a"] == "1"
    c.set_config({"user.b": "2", "user.a": None})
    assert c.config.get("user.b") == "2" and "user.a" not in c.config
    c.update(description="yours", config={**c.config, "user.c": "3"})
    info = c.info()
    assert info.description == "yours" and info.config["user.c"] == "3" and info.profiles == ["default"]
    assert info.created_at is not None and datetime.now(timezone.utc) - info.created_at < timedelta(hours=1)
    assert info.last_used_at is None
    with pytest.raises(incus.InvalidArgument, match="no.such.key"):
        c.set_config({"no.such.key": "1"})
    c.set_device("nothing", {"type": "none"})
    assert c.devices["nothing"] == {"type": "none"}
    c.remove_device("nothing")
    assert "nothing" not in c.devices
    with pytest.raises(incus.NotFound):
        c.remove_device("nothing")
    c.rename("c2")
    assert c.name == "c2" and host.instances.get("c2").info().name == "c2"
    with pytest.raises(incus.AlreadyExists):
        host.instances.create("c2", image="pytest")
    with pytest.raises(incus.InvalidArgument):
        host.instances.create("a/b", image="pytest")


def test_snapshots_and_copies(host: incus.Host, instance: incus.Instance) -> None:
    first = instance.snapshots.create("s0")
    instance.snapshots.create(expires_at=datetime.now(timezone.utc) + timedelta(days=1))
    names = [s.name for s in instance.snapshots.list()]
    assert len(names) == 2 and names[0] == "s0"
    assert instance.snapshots.get(names[1]).info().expires_at is not None
    with pytest.raises(incus.AlreadyExists):
        instance.snapshots.create("s0")
    first.rename("s9")
    assert first.info().name == "s9"
    first.set_expiry(datetime(2099, 1, 1, tzinfo=timezone.utc))
    assert first.info().expires_at == datetime(2099, 1, 1, tzinfo=timezone.utc)
    first.set_expiry(None)
    assert first.info().expires_at is None
    instance.restore(first)
    copy = host.instances.copy(first, "c2")
    assert copy.status == "Stopped"
    whole = host.instances.copy(instance, "c3")
    assert len(whole.snapshots.list()) == 2
    assert len(host.instances.copy("c1", "c4", instance_only=True).snapshots.list()) == 0
    first.delete()
    with pytest.raises(incus.NotFound):
        instance.snapshots.get("s9")
    full = {i.name: i for i in host.instances.full()}
    assert full["c1"].state is not None and full["c1"].state.status == "Running" and len(full["c1"].snapshots) == 1
    assert sorted(i.name for i in host.instances.infos()) == ["c1", "c2", "c3", "c4"]


def test_images(host: incus.Host, tmp_path: Path, image_file: Path) -> None:
    image = host.images.get("pytest")
    info = image.info()
    assert len(info.fingerprint) == 64 and info.properties["os"] == "busybox" and info.size == image_file.stat().st_size
    assert host.images.get(info.fingerprint[:12]).fingerprint == info.fingerprint
    assert [i.fingerprint for i in host.images.infos()] == [i.name for i in host.images.list()] == [info.fingerprint]
    written = image.export(tmp_path / "out.tar.gz")
    assert written == [str(tmp_path / "out.tar.gz")] and Path(written[0]).read_bytes() == image_file.read_bytes()
    with pytest.raises(incus.AlreadyExists):
        image.export(tmp_path / "out.tar.gz")
    with pytest.raises(incus.Error):
        host.images.import_file(image_file).wait()
    host.images.aliases.create("second/one", info.fingerprint, "more")
    assert host.images.aliases.get("second/one").description == "more"
    host.images.aliases.rename("second/one", "third")
    assert sorted(a.name for a in host.images.aliases.list()) == ["pytest", "third"]
    host.images.aliases.delete("third")
    image.update(properties={**info.properties, "x": "y"}, public=True)
    assert image.info().properties["x"] == "y" and image.info().public
    image.update(properties=info.properties, public=False)
    (tmp_path / "bad.tar.gz").write_bytes(b"not an image")
    with pytest.raises(incus.Error):
        host.images.import_file(tmp_path / "bad.tar.gz").wait()
    with pytest.raises(incus.NotFound):
        host.images.import_file(tmp_path / "none.tar.gz")


def test_volumes(host: incus.Host) -> None:
    host.instances.create("c1", image="pytest").delete()  # the first one makes the pool "default"
    pool = host.storage_pools.get("default")
    other = host.storage_pools.create("other", "dir")
    volume = pool.create_volume("data", config={"user.a": "1"}, description="d")
    assert volume.info().config == {"user.a": "1"} and volume.info().description == "d"
    volume.create_snapshot("s0")
    volume.update(config={"user.a": "2"})
    copy = volume.copy("data", pool="other")
    assert [s.name for s in copy.snapshots()] == ["data/s0"]
    assert copy.snapshots()[0].config == {"user.a": "1"}
    volume.rename_snapshot("s0", "s1")
    volume.copy("data", pool="other", refresh=True)
    assert [s.name for s in copy.snapshots()] == ["data/s1"]
    assert volume.copy("then", snapshot="s1").info().config == {"user.a": "1"}
    volume.restore("s1")
    with pytest.raises(incus.NotFound):
        volume.restore("none")
    volume.delete_snapshot("s1")
    with pytest.raises(incus.AlreadyExists):
        volume.move(pool="other")
    copy.delete()
    moved = volume.move("moved", pool="other")
    assert (moved.pool, moved.name, moved.info().config) == ("other", "moved", {"user.a": "2"})
    with pytest.raises(incus.NotFound):
        volume.info()
    moved.delete()
    pool.volume("then").delete()
    other.delete()


def test_backups(host: incus.Host, tmp_path: Path) -> None:
    c = host.instances.create("c1", image="pytest")
    c.snapshots.create("s0")
    pool = host.storage_pools.get("default")
    volume = pool.create_volume("data", description="d")
    assert volume.state().usage.used >= 0 and host.recover_validate().volumes == []
    if host.uri.startswith("test://"):
        for owner in (c, volume):
            with pytest.raises(incus.NotSupported):
                owner.backups.create()
            assert owner.backups.list() == []
        volume.delete()
        return
    made = c.backups.create(compression="none")
    assert made.name == "backup0" and [b.name for b in c.backups.infos()] == ["backup0"]
    when = datetime(2040, 1, 2, tzinfo=timezone.utc)
    alone = c.backups.create("b1", expires_at=when, without_snapshots=True)
    assert alone.info().instance_only and alone.info().expires_at == when and made.info().expires_at is None
    alone.rename("b2")
    assert sorted(b.name for b in c.backups.list()) == ["b2", "backup0"]
    path = tmp_path / "c1.backup"
    assert made.export(path) == path.stat().st_size
    with pytest.raises(FileExistsError):
        made.export(path)
    copy = host.instances.import_backup(path, "c2")
    assert [s.name for s in copy.snapshots.list()] == ["s0"]
    with pytest.raises(incus.AlreadyExists):
        host.instances.import_backup(path)
    with (tmp_path / "alone").open("w+b") as file:
        alone.export(file)
        file.seek(0)
        assert host.instances.import_backup(file, "c3").snapshots.list() == []
    alone.delete()
    with pytest.raises(incus.NotFound):
        alone.export(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
    volume.create_snapshot("s0")
    volume.backups.create("b1").export(tmp_path / "data.backup")
    again = pool.import_volume(tmp_path / "data.backup", "again")
    assert [s.name for s in again.snapshots()] == ["again/s0"] and again.info().description == "d"
    (tmp_path / "medium").write_bytes(bytes(1 << 20))
    medium = pool.import_iso(tmp_path / "medium", "cd")
    assert medium.info().content_type == "iso"
    for one in (volume, again, medium):
        one.delete()


def test_moves_and_expiries(host: incus.Host) -> None:
    c = host.instances.create("c1", image="pytest")
    other = host.storage_pools.create("other", "dir")
    moved = c.move("c2", pool="other")
    assert moved.name == "c2" and moved.info().expanded_devices["root"]["pool"] == "other"
    with pytest.raises(incus.NotFound):
        c.info()
    copy = host.instances.copy(moved, "c4")
    moved.snapshots.create("s0")
    assert [x.name for x in host.instances.copy(moved, "c4", refresh=True).snapshots.list()] == ["s0"]
    copy.delete()
    moved.move("c3").delete()
    volume = other.create_volume("data")
    volume.create_snapshot("s0")
    when = datetime(2040, 1, 2, tzinfo=timezone.utc)
    volume.set_snapshot_expiry("s0", when)
    assert volume.snapshots()[0].expires_at == when
    volume.set_snapshot_expiry("s0", None)
    assert volume.snapshots()[0].expires_at is None
    volume.delete()
    other.delete()


def test_profiles_pools_and_projects(host: incus.Host) -> None:
    profile = host.profiles.create("limits", config={"limits.memory": "256MiB"}, description="small")
    try:
        assert profile.info().config == {"limits.memory": "256MiB"}
        profile.update(description="smaller")
        assert profile.info().config == {"limits.memory": "256MiB"}
        profile.rename("tight")
        assert sorted(p.name for p in host.profiles.list()) == ["default", "tight"] == sorted(p.name for p in host.profiles.infos())
        c = host.instances.create("c1", image="pytest", profiles=["default", "tight"])
        assert c.info().expanded_config["limits.memory"] == "256MiB"
        with pytest.raises(incus.Error):
            profile.delete()
        c.delete()
    finally:
        profile.delete()
    with pytest.raises(incus.NotFound):
        host.profiles.get("tight")
    pool = host.storage_pools.get("default")
    assert pool.info().driver in ("dir", "overlay") and pool.info().status == "Created"
    assert pool.resources().space.total > 0
    assert "image" in {v.type for v in pool.volumes()} or pool.volumes() == []
    other = host.storage_pools.create("other", "dir")
    assert [p.name for p in host.storage_pools.list()] == ["default", "other"]
    other.update(description="second")
    assert other.info().description == "second"
    other.delete()
    assert host.projects.names() == ["default"] and host.projects.get("default").name == "default"
    with pytest.raises(incus.NotFound):
        host.project("nowhere").instances.get("c1")


def test_iterating_events_ends_with_the_host() -> None:
    host = incus.open("test://")
    events = host.events()
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(events), daemon=True)
    reader.start()
    host.close()
    reader.join(20)
    assert not reader.is_alive()


def test_timeouts_that_are_no_spans(host: incus.Host) -> None:
    c = host.instances.launch("c1", image="pytest", timeout=float("inf"))
    op = c._scope.session.begin("PUT", c._path + "/state", {"action": "stop", "force": True, "timeout": -1}, query=c._scope.query)
    incus.Operation(op).wait(float("inf"))
    with pytest.raises(ValueError):
        incus.Operation(op).wait(float("nan"))
    # A wait ends after the event of the operation's end was sent: nothing of it comes later.
    with host.events(["operation"]) as events:
        assert events.next(-1.0) is None
        with pytest.raises(ValueError):
            events.next(float("nan"))
    c.delete()


def test_events(host: incus.Host) -> None:
    with host.events(["lifecycle"]) as events:
        c = host.instances.create("c1", image="pytest")
        found = []
        while "instance-created" not in found:
            event = events.next(timeout=10)
            assert event is not None, found
            found.append(event.metadata["action"])
            assert event.type == "lifecycle" and event.timestamp is not None
        assert not events.overflowed()
        c.delete()
        assert next(iter(events)).metadata["source"].startswith("/1.0/")
    assert events.next(timeout=0) is None


def test_requests(host: incus.Host) -> None:
    info = host.info()
    assert info.api_version == "1.0" and "kernel" in info.environment
    assert host.request("GET", "/1.0")["api_version"] == "1.0"
    done = host.request("POST", "/1.0/instances", {"name": "c1", "source": {"type": "none"}})
    assert host.request("GET", f"/1.0/operations/{done['id']}/wait")["status"] == "Success"
    assert host.operations.get(done["id"]).wait(timeout=30).id == done["id"]
    with pytest.raises(incus.NotFound):
        host.request("GET", "/1.0/nowhere")
    with pytest.raises(incus.NotSupported):
        host.request("PUT", "/1.0/images")
    with pytest.raises(incus.NotFound):
        host.operations.get("00000000-0000-0000-0000-000000000000")


def test_other_threads_run_meanwhile(instance: incus.Instance) -> None:
    """Four commands that sleep take no longer than one does, and Python goes on meanwhile."""
    turns = 0
    threads = [threading.Thread(target=instance.exec, args=(["sleep", "1"],)) for _ in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        turns += 1
        threads[0].join(0.01)
    assert turns > 10


def test_closed_hosts() -> None:
    host = incus.open("test://")
    c = host.instances.create("c1", source={"type": "none"})
    assert repr(host) == "<incus.Host 'test://'>" and not host.closed
    pid = os.fork()
    if pid == 0:
        try:
            c.info()
        except incus.Unavailable:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    host.close()
    host.close()
    assert host.closed
    for call in (c.info, host.info, host.events, lambda: host.on_exec(None)):
        with pytest.raises(incus.Unavailable):
            call()  # type: ignore[operator]


def test_wrong_ways_to_open(tmp_path: Path) -> None:
    with pytest.raises(incus.InvalidArgument):
        incus.open("gopher://x")
    with pytest.raises(incus.NotSupported), incus.open("test://") as host:
        c = host.instances.create("c1", source={"type": "none"})
        c.start()
        c.exec(["true"])


@contextmanager
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    with incus.open("test://", log=lambda level, line: lines.append(f"{level} {line}")) as host:
        host.instances.create("c1", source={"type": "none"}).delete()
        yield lines


def test_handler_that_fails_is_a_failed_command() -> None:
    def broken(name: str, request: object, input: bytes) -> int:
        raise ZeroDivisionError("in the handler")

    with incus.open("test://") as host:
        host.on_exec(broken)
        c = host.instances.create("c1", source={"type": "none"})
        c.start()
        result = c.exec(["x"])
        assert result.exit_code == 126 and b"in the handler" in result.stderr
        host.on_exec(lambda name, request, input: 5)
        assert c.exec(["x"]).exit_code == 5
        host.on_exec(None)
        with pytest.raises(incus.NotSupported):
            c.exec(["x"])


def test_log_lines_reach_python() -> None:
    with logged() as lines:
        pass
    assert all(line.split()[0] in ("10", "20", "30", "40") for line in lines)
