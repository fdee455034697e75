# SPDX-License-Identifier: Apache-2.0
"""Instances and their snapshots. Times are seconds. What takes long blocks, or with wait=False gives an Operation."""

from __future__ import annotations

import json
from datetime import datetime
from types import TracebackType
from typing import IO, Any, Dict, List, Literal, Mapping, Optional, Sequence, Type, Union, overload

from . import _native
from ._session import Scope, name_of, part
from .errors import CommandFailed, Conflict
from .backup import Backups, Opened, Source
from .operation import Operation
from .records import Config, Devices, ExecResult, FileInfo, InstanceFull, InstanceInfo, InstanceState, SnapshotInfo, format_time, parse

Level = Literal["exec", "booted", "network"]
FileLike = Union[int, IO[Any], None]
_levels: Dict[str, int] = {"exec": 0, "booted": 1, "network": 2}


def _level(name: str) -> int:
    if name not in _levels:
        raise ValueError(f"invalid level of readiness {name!r}: must be one of {', '.join(_levels)}")
    return _levels[name]


def _finish(native: _native.Operation, wait: bool) -> Optional[Operation]:
    op = Operation(native)
    if not wait:
        return op
    op.wait()
    return None


def _file_options(uid: Optional[int], gid: Optional[int], mode: Optional[int], append: bool) -> str:
    return json.dumps({"uid": uid, "gid": gid, "mode": mode, "append": append})


def _command(command: Sequence[str]) -> List[str]:
    if isinstance(command, (str, bytes)):
        raise TypeError("a command is a list of arguments; for a shell's words use ['sh', '-c', words]")
    return list(command)


class ExecSession:
    """A running command. A context manager; closing (or dropping) it ends the command with SIGKILL."""

    def __init__(self, native: _native.Exec) -> None:
        self._native = native

    def wait(self, timeout: Optional[float] = None) -> int:
        """Blocks until the command ends and gives its exit code; Timeout after `timeout` seconds, then it goes on."""
        return self._native.wait(timeout)

    def signal(self, number: int) -> None:
        """Sends a signal to the command."""
        self._native.signal(int(number))

    def resize(self, width: int, height: int) -> None:
        """New size of its terminal in characters."""
        self._native.resize(width, height)

    def close(self) -> None:
        """Kills it if it still runs; idempotent."""
        self._native.close()

    def __enter__(self) -> ExecSession:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()


class Snapshot:
    """A point in time of an instance: a cheap handle that does not prove that the snapshot exists."""

    def __init__(self, scope: Scope, instance: str, name: str) -> None:
        self._scope = scope
        self._instance = instance
        self._name = name

    @property
    def name(self) -> str:
        """Its name, without the instance's."""
        return self._name

    @property
    def _path(self) -> str:
        return f"/1.0/instances/{part(self._instance)}/snapshots/{part(self._name)}"

    def info(self) -> SnapshotInfo:
        """The record (GET .../snapshots/{snapshot})."""
        return self._scope.session.record(SnapshotInfo, self._path, self._scope.query)

    def rename(self, new_name: str) -> None:
        """Renames it; the handle follows."""
        _finish(self._scope.session.begin("POST", self._path, {"name": new_name}, query=self._scope.query), True)
        self._name = new_name

    def set_expiry(self, when: Optional[datetime]) -> None:
        """When it is to be deleted; None: never."""
        _finish(self._scope.session.begin("PUT", self._path, {"expires_at": format_time(when)}, query=self._scope.query), True)

    @overload
    def delete(self) -> None: ...
    @overload
    def delete(self, *, wait: Literal[True]) -> None: ...
    @overload
    def delete(self, *, wait: Literal[False]) -> Operation: ...
    def delete(self, *, wait: bool = True) -> Optional[Operation]:
        """Deletes it."""
        return _finish(self._scope.session.begin("DELETE", self._path, query=self._scope.query), wait)

    def __repr__(self) -> str:
        return f"<incus.Snapshot {self._instance!r}/{self._name!r}>"


class Snapshots:
    """The snapshots of an instance (`instance.snapshots`)."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    @property
    def _path(self) -> str:
        return self._instance._path + "/snapshots"

    def create(self, name: str = "", *, expires_at: Optional[datetime] = None) -> Snapshot:
        """Makes one; without a name it is named after the instance's `snapshots.pattern`."""
        scope = self._instance._scope
        body = {"name": name, "expires_at": format_time(expires_at)}
        done = Operation(scope.session.begin("POST", self._path, body, query=scope.query)).wait()
        if not name:
            urls = done.resources.get("instances_snapshots") or done.resources.get("snapshots") or []
            name = name_of(urls[0]) if urls else self.infos()[-1].name
        return self.handle(name)

    def handle(self, name: str) -> Snapshot:
        """A handle without asking whether it exists."""
        return Snapshot(self._instance._scope, self._instance.name, name)

    def get(self, name: str) -> Snapshot:
        """One of them; NotFound."""
        snapshot = self.handle(name)
        snapshot.info()
        return snapshot

    def list(self) -> List[Snapshot]:
        """Handles of all of them, oldest first."""
        return [self.handle(one.name) for one in self.infos()]

    def infos(self) -> List[SnapshotInfo]:
        """All of them as records, in one call."""
        scope = self._instance._scope
        return scope.session.records(SnapshotInfo, self._path, scope.query)


class Instance:
    """A system container: a cheap handle that does not prove that the instance exists. Thread-safe."""

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope = scope
        self._name = name
        self.snapshots = Snapshots(self)

    @property
    def backups(self) -> Backups:
        """The backups that the host keeps of it."""
        return Backups(self._scope.session, self._scope.project, [self._name])

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def project(self) -> str:
        """Its project."""
        return self._scope.project

    @property
    def _path(self) -> str:
        return f"/1.0/instances/{part(self._name)}"

    def info(self) -> InstanceInfo:
        """The record (GET /1.0/instances/{name})."""
        return self._scope.session.record(InstanceInfo, self._path, self._scope.query)

    def state(self) -> InstanceState:
        """Status, pid, cpu, memory, disks, networks (GET .../state)."""
        return self._scope.session.record(InstanceState, self._path + "/state", self._scope.query)

    @property
    def status(self) -> str:
        """ "Stopped", "Running", "Frozen" or "Error"."""
        return self.info().status

    def _change(self, action: str, wait: bool, force: bool = False, timeout: Optional[float] = None) -> Optional[Operation]:
        body = {"action": action, "force": force, "timeout": -1 if timeout is None else max(0, round(timeout + 0.499))}
        return _finish(self._scope.session.begin("PUT", self._path + "/state", body, query=self._scope.query), wait)

    @overload
    def start(self) -> None: ...
    @overload
    def start(self, *, wait: Literal[True]) -> None: ...
    @overload
    def start(self, *, wait: Literal[False]) -> Operation: ...
    def start(self, *, wait: bool = True) -> Optional[Operation]:
        """Starts it; returns when its init runs. See wait_ready()."""
        return self._change("start", wait)

    @overload
    def stop(self, *, force: bool = False, timeout: Optional[float] = None) -> None: ...
    @overload
    def stop(self, *, force: bool = False, timeout: Optional[float] = None, wait: Literal[True]) -> None: ...
    @overload
    def stop(self, *, force: bool = False, timeout: Optional[float] = None, wait: Literal[False]) -> Operation: ...
    def stop(self, *, force: bool = False, timeout: Optional[float] = None, wait: bool = True) -> Optional[Operation]:
        """Asks the guest to stop within `timeout` seconds (600 by default; Timeout when it did not), or with `force` kills it."""
        return self._change("stop", wait, force, timeout)

    @overload
    def restart(self, *, force: bool = False, timeout: Optional[float] = None) -> None: ...
    @overload
    def restart(self, *, force: bool = False, timeout: Optional[float] = None, wait: Literal[True]) -> None: ...
    @overload
    def restart(self, *, force: bool = False, timeout: Optional[float] = None, wait: Literal[False]) -> Operation: ...
    def restart(self, *, force: bool = False, timeout: Optional[float] = None, wait: bool = True) -> Optional[Operation]:
        """Stops it as stop() does and starts it again."""
        return self._change("restart", wait, force, timeout)

    def pause(self) -> None:
        """Freezes every process."""
        self._change("freeze", True)

    def resume(self) -> None:
        """Ends a pause."""
        self._change("unfreeze", True)

    def wait_ready(self, level: Level = "booted", timeout: float = 60.0) -> None:
        """Blocks until it is ready: a command can be run ("exec"), its init is done ("booted"), it has a global address ("network").

        Timeout when it was not in time, Conflict when it stopped."""
        _level(level)
        query = {**self._scope.query, "level": level, "timeout": str(int(timeout * 1000))}
        self._scope.session.call("GET", self._path + "/ready", query=query)

    @overload
    def delete(self, *, force: bool = False) -> None: ...
    @overload
    def delete(self, *, force: bool = False, wait: Literal[True]) -> None: ...
    @overload
    def delete(self, *, force: bool = False, wait: Literal[False]) -> Operation: ...
    def delete(self, *, force: bool = False, wait: bool = True) -> Optional[Operation]:
        """Deletes it; with `force` it is killed first if it runs."""
        if force:
            try:
                self.stop(force=True)
            except Conflict:
                pass  # it does not run
        return _finish(self._scope.session.begin("DELETE", self._path, query=self._scope.query), wait)

    def rename(self, new_name: str) -> None:
        """Renames it, only while it is stopped; the handle follows."""
        _finish(self._scope.session.begin("POST", self._path, {"name": new_name}, query=self._scope.query), True)
        self._name = new_name

    def move(self, name: str = "", *, pool: str = "", project: str = "", instance_only: bool = False) -> Instance:
        """Moves it, while it is stopped, to another name, pool or project (POST /1.0/instances/{name}), with its snapshots unless `instance_only`;
        returns it where it is now. Conflict while it runs, AlreadyExists, NotFound (pool, project)."""
        body: Dict[str, Any] = {"name": name or self._name}
        if pool or project or instance_only:
            body.update(migration=True, pool=pool, project=project, instance_only=instance_only)
        _finish(self._scope.session.begin("POST", self._path, body, query=self._scope.query), True)
        return Instance(Scope(self._scope.session, project or self._scope.project), body["name"])

    @overload
    def restore(self, snapshot: Union[str, Snapshot]) -> None: ...
    @overload
    def restore(self, snapshot: Union[str, Snapshot], *, wait: Literal[True]) -> None: ...
    @overload
    def restore(self, snapshot: Union[str, Snapshot], *, wait: Literal[False]) -> Operation: ...
    def restore(self, snapshot: Union[str, Snapshot], *, wait: bool = True) -> Optional[Operation]:
        """Puts disk and configuration back to a snapshot."""
        name = snapshot.name if isinstance(snapshot, Snapshot) else snapshot
        return _finish(self._scope.session.begin("PUT", self._path, {"restore": name}, query=self._scope.query), wait)

    @property
    def config(self) -> Config:
        """Its own configuration, without that of its profiles. Change it with set_config()."""
        return self.info().config

    @property
    def devices(self) -> Devices:
        """Its own devices, without those of its profiles."""
        return self.info().devices

    def set_config(self, changes: Mapping[str, Optional[str]]) -> None:
        """Sets keys; None unsets one. Applied at once where it runs and the kernel allows."""
        body = {"config": {k: "" if v is None else v for k, v in changes.items()}}
        self._scope.session.call("PATCH", self._path, body, query=self._scope.query)

    def set_device(self, name: str, device: Mapping[str, str]) -> None:
        """Adds or changes a device, such as {"type": "disk", "source": "/srv", "path": "/srv"}."""
        self._scope.session.call("PATCH", self._path, {"devices": {name: dict(device)}}, query=self._scope.query)

    def remove_device(self, name: str) -> None:
        """Removes one of its own devices; NotFound."""
        body, etag, _ = self._scope.session.call("GET", self._path, query=self._scope.query)
        if name not in (body.get("devices") or {}):
            from .errors import NotFound

            raise NotFound(f"instance {self._name!r} has no device {name!r} of its own")
        del body["devices"][name]
        self._put(body, etag)

    def update(
        self,
        *,
        config: Optional[Mapping[str, str]] = None,
        devices: Optional[Mapping[str, Mapping[str, str]]] = None,
        profiles: Optional[Sequence[str]] = None,
        description: Optional[str] = None,
        ephemeral: Optional[bool] = None,
    ) -> None:
        """Replaces what is given and keeps the rest (PUT); PreconditionFailed when somebody else changed it meanwhile."""
        body, etag, _ = self._scope.session.call("GET", self._path, query=self._scope.query)
        given = {"config": config, "devices": devices, "profiles": profiles, "description": description, "ephemeral": ephemeral}
        body.update({k: v for k, v in given.items() if v is not None})
        self._put(body, etag)

    def _put(self, body: Dict[str, Any], etag: str) -> None:
        kept = ("architecture", "config", "description", "devices", "ephemeral", "profiles", "stateful")
        body = {k: body.get(k) for k in kept}
        _finish(self._scope.session.begin("PUT", self._path, body, query=self._scope.query, if_match=etag), True)

    def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes = b"",
        env: Optional[Mapping[str, str]] = None,
        cwd: str = "",
        user: int = 0,
        group: int = 0,
        check: bool = False,
    ) -> ExecResult:
        """Runs a command (a list of arguments, no shell) and captures what it writes.

        With `check` an exit code other than 0 raises CommandFailed."""
        request = {"command": _command(command), "environment": dict(env or {}), "cwd": cwd, "user": user, "group": group}
        result = ExecResult(*self._scope.session.native.exec_run(self._scope.project, self._name, json.dumps(request), bytes(input)))
        if check and result.exit_code != 0:
            raise CommandFailed(command, result.exit_code, result.stdout, result.stderr)
        return result

    def exec_session(
        self,
        command: Sequence[str],
        *,
        stdin: FileLike = None,
        stdout: FileLike = None,
        stderr: FileLike = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: str = "",
        user: int = 0,
        group: int = 0,
        interactive: bool = False,
        width: int = 80,
        height: int = 24,
    ) -> ExecSession:
        """Runs a command on descriptors or files of the caller (None: /dev/null), which are duplicated.

        With `interactive` it gets a terminal whose bytes come on stdin and stdout."""
        request = {"command": _command(command), "environment": dict(env or {}), "cwd": cwd, "user": user, "group": group, "interactive": interactive}
        if interactive:
            request.update(width=width, height=height)
        fds = [-1 if f is None else f if isinstance(f, int) else f.fileno() for f in (stdin, stdout, stderr)]
        return ExecSession(self._scope.session.native.exec_start(self._scope.project, self._name, json.dumps(request), *fds))

    def read_file(self, path: str) -> bytes:
        """The content of a file of the guest, running or stopped. Links are resolved inside it. NotFound."""
        return self._scope.session.native.file_read(self._scope.project, self._name, path)

    def write_file(
        self, path: str, data: bytes, *, uid: Optional[int] = None, gid: Optional[int] = None, mode: Optional[int] = None, append: bool = False
    ) -> None:
        """Makes or replaces a file; owner and mode (as in 0o644) are those of a new one. With `append` the file must be there."""
        self._scope.session.native.file_write(self._scope.project, self._name, path, bytes(data), _file_options(uid, gid, mode, append))

    def pull_file(self, path: str, to: Union[int, IO[bytes]]) -> int:
        """Writes a file's content to a descriptor or file of the caller; how many bytes."""
        return self._scope.session.native.file_pull(self._scope.project, self._name, path, to if isinstance(to, int) else to.fileno())

    def push_file(
        self, path: str, source: Union[int, IO[bytes]], *, uid: Optional[int] = None, gid: Optional[int] = None, mode: Optional[int] = None
    ) -> None:
        """As write_file(), of what a descriptor or file of the caller gives until its end."""
        fd = source if isinstance(source, int) else source.fileno()
        self._scope.session.native.file_push(self._scope.project, self._name, path, fd, _file_options(uid, gid, mode, False))

    def file_info(self, path: str) -> FileInfo:
        """Type, owner, mode, size and time of a path; a link is not followed. NotFound."""
        return parse(FileInfo, json.loads(self._scope.session.native.file_info(self._scope.project, self._name, path)))

    def list_directory(self, path: str) -> List[str]:
        """The names in a directory, sorted."""
        names: List[str] = json.loads(self._scope.session.native.file_list(self._scope.project, self._name, path))
        return names

    def make_directory(self, path: str, *, uid: Optional[int] = None, gid: Optional[int] = None, mode: Optional[int] = None) -> None:
        """Makes a directory; one that is there stays as it is."""
        self._scope.session.native.file_make_directory(self._scope.project, self._name, path, _file_options(uid, gid, mode, False))

    def make_symlink(self, path: str, target: str) -> None:
        """Makes a symbolic link. AlreadyExists."""
        self._scope.session.native.file_make_symlink(self._scope.project, self._name, path, target)

    def remove_file(self, path: str, *, recursive: bool = False) -> None:
        """Removes a file, a link or an empty directory (Conflict when it is not empty); with `recursive` a directory with all in it."""
        self._scope.session.native.file_remove(self._scope.project, self._name, path, recursive)

    def console_log(self) -> bytes:
        """What its console printed since it started, the last 128 KiB at most."""
        return self._scope.session.native.console_log(self._scope.project, self._name)

    def clear_console_log(self) -> None:
        """Empties the console log."""
        self._scope.session.call("DELETE", self._path + "/console", query={**self._scope.query, "type": "log"})

    def __repr__(self) -> str:
        return f"<incus.Instance {self._name!r}>"


class Instances:
    """The instances of a project (`host.instances`)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    @staticmethod
    def _request(
        config: Optional[Mapping[str, str]],
        devices: Optional[Mapping[str, Mapping[str, str]]],
        profiles: Optional[Sequence[str]],
        ephemeral: bool,
        description: str,
    ) -> Dict[str, Any]:
        return {
            "config": dict(config or {}),
            "devices": {k: dict(v) for k, v in (devices or {}).items()},
            "profiles": None if profiles is None else list(profiles),
            "ephemeral": ephemeral,
            "description": description,
        }

    def launch(
        self,
        name: str = "",
        *,
        image: str,
        config: Optional[Mapping[str, str]] = None,
        devices: Optional[Mapping[str, Mapping[str, str]]] = None,
        profiles: Optional[Sequence[str]] = None,
        ephemeral: bool = False,
        description: str = "",
        level: Level = "booted",
        timeout: float = 60.0,
    ) -> Instance:
        """Makes an instance of an image (alias or fingerprint), starts it and waits until it is ready. Without a name it gets a random one."""
        request = self._request(config, devices, profiles, ephemeral, description)
        made = self._scope.session.native.launch(self._scope.project, name, image, json.dumps(request), _level(level), timeout)
        return Instance(self._scope, made)

    def create(
        self,
        name: str = "",
        *,
        image: str = "",
        source: Optional[Mapping[str, Any]] = None,
        config: Optional[Mapping[str, str]] = None,
        devices: Optional[Mapping[str, Mapping[str, str]]] = None,
        profiles: Optional[Sequence[str]] = None,
        ephemeral: bool = False,
        description: str = "",
        start: bool = False,
    ) -> Instance:
        """Makes an instance: of an image (alias or fingerprint), of a `source` as in the REST API, or empty when neither is given."""
        request = self._request(config, devices, profiles, ephemeral, description)
        request.update(name=name, start=start, source=dict(source) if source else self._image(image) if image else {"type": "none"})
        done = Operation(self._scope.session.begin("POST", "/1.0/instances", request, query=self._scope.query)).wait()
        return Instance(self._scope, name or name_of(done.resources["instances"][0]))

    def _image(self, name: str) -> Mapping[str, str]:
        found = self._scope.session.get(f"/1.0/images/{part(name)}", self._scope.query)
        return {"type": "image", "fingerprint": found["fingerprint"]}

    def copy(
        self, source: Union[str, Instance, Snapshot], name: str = "", *, instance_only: bool = False, refresh: bool = False, exclude_older: bool = False
    ) -> Instance:
        """Copies an instance (with its snapshots unless `instance_only`) or a snapshot, given as object, "NAME" or "NAME/SNAPSHOT".

        `refresh` brings disk and snapshots of a stopped copy that is there up to date; its configuration stays. `exclude_older` leaves out the
        source's snapshots from before the newest that both have."""
        if isinstance(source, Snapshot):
            source = f"{source._instance}/{source.name}"
        elif isinstance(source, Instance):
            source = source.name
        how = {"type": "copy", "source": source, "instance_only": instance_only, "refresh": refresh, "refresh_exclude_older": exclude_older}
        request = {"name": name, "source": how}
        done = Operation(self._scope.session.begin("POST", "/1.0/instances", request, query=self._scope.query)).wait()
        return Instance(self._scope, name or name_of(done.resources["instances"][0]))

    def import_backup(self, source: Source, name: str = "", *, pool: str = "") -> Instance:
        """Makes an instance of a backup (a path, or a file or descriptor that is read to its end; POST /1.0/instances with its bytes), called as it
        was and in the pool it was in when they are not given. AlreadyExists, Corrupt, InvalidArgument when it is no backup of an instance."""
        with Opened(source) as fd:
            done = Operation(self._scope.session.native.import_instance(self._scope.project, fd, name, pool)).wait()
        return Instance(self._scope, name or name_of(done.resources["instances"][0]))

    def handle(self, name: str) -> Instance:
        """A handle without asking whether it exists."""
        return Instance(self._scope, name)

    def get(self, name: str) -> Instance:
        """One of them; NotFound."""
        instance = self.handle(name)
        instance.info()
        return instance

    def list(self) -> List[Instance]:
        """Handles of all of them."""
        return [Instance(self._scope, name) for name in self._scope.session.names("/1.0/instances", self._scope.query)]

    def infos(self) -> List[InstanceInfo]:
        """All of them as records, in one call."""
        return self._scope.session.records(InstanceInfo, "/1.0/instances", self._scope.query)

    def full(self) -> List[InstanceFull]:
        """All of them with state and snapshots, in one call."""
        return self._scope.session.records(InstanceFull, "/1.0/instances", self._scope.query, recursion=2)
