# SPDX-License-Identifier: Apache-2.0
"""The host: what a program opens."""

from __future__ import annotations

import atexit
import json
import logging
import weakref
from types import TracebackType
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Type, Union

from . import _native
from ._session import Scope, Session
from .event import EventListener
from .image import Images
from .instance import Instances
from .misc import Profiles, Projects, StoragePools
from .operation import Operations
from .records import ExecResult, RecoverReport, ServerInfo, parse

ExecHandler = Callable[[str, Dict[str, Any], bytes], Union[ExecResult, int, None]]
"""Answers a command in a test:// host: gets the instance's name, the request ("command", "environment", "user", ...) and stdin."""

_open_hosts: "weakref.WeakSet[Host]" = weakref.WeakSet()
_levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class ProjectView:
    """What a host holds in one project."""

    def __init__(self, session: Session, name: str) -> None:
        scope = Scope(session, name)
        self.name = name
        self.instances = Instances(scope)
        self.images = Images(scope)
        self.profiles = Profiles(scope)


class Host:
    """An engine; made by incus.open(). A context manager; thread-safe; every blocking call lets other threads of Python run."""

    def __init__(self, native: _native.Host) -> None:
        self._session = Session(native)
        self._closed = False
        default = ProjectView(self._session, "default")
        self.instances = default.instances
        self.images = default.images
        self.profiles = default.profiles
        self.projects = Projects(self._session)
        self.storage_pools = StoragePools(self._session)
        self.operations = Operations(self._session)
        _open_hosts.add(self)

    @property
    def uri(self) -> str:
        """The URI it was opened with."""
        return self._session.native.uri()

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def close(self) -> None:
        """Ends the session; idempotent. Instances go on running unless the host was opened with auto_destroy."""
        self._closed = True
        self._session.native.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def info(self) -> ServerInfo:
        """What the host is and can do (GET /1.0)."""
        return self._session.record(ServerInfo, "/1.0")

    def project(self, name: str) -> ProjectView:
        """The instances, images and profiles of another project."""
        return ProjectView(self._session, name)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any call of the REST API: `body` and the result are what JSON gives in Python. An asynchronous call gives its operation's document."""
        return self._session.call(method, path, body)[0]

    def recover_validate(self, pools: Sequence[Mapping[str, Any]] = ()) -> RecoverReport:
        """Instances and custom volumes on disk that the store does not know, in its pools and in `pools` ("name", "driver", "config" each).
        Forbidden over https."""
        return parse(RecoverReport, self._session.call("POST", "/internal/recover/validate", {"pools": list(pools)})[0] or {})

    def recover_import(self, pools: Sequence[Mapping[str, Any]] = ()) -> None:
        """Gives rows to them, and to `pools`; Conflict while something is missing."""
        self._session.call("POST", "/internal/recover/import", {"pools": list(pools)})

    def events(self, types: Sequence[str] = (), capacity: int = 1024) -> EventListener:
        """Subscribes to events of these types ("lifecycle", "operation", "logging"; none: all); `capacity` are kept for a slow reader."""
        return EventListener(self._session.native.listen(",".join(types), capacity), lambda: self._closed)

    def on_exec(self, handler: Optional[ExecHandler], instance: str = "") -> None:
        """test:// only: `handler` answers commands in `instance` ("": in any). It returns an ExecResult, an exit code, or None for 0."""
        if handler is None:
            self._session.native.on_exec(instance, None)
            return
        answer = handler

        def adapt(name: str, request: str, input: bytes) -> "tuple[int, bytes, bytes]":
            result = answer(name, json.loads(request), input)
            if isinstance(result, ExecResult):
                return result.exit_code, result.stdout, result.stderr
            return (0 if result is None else int(result)), b"", b""

        self._session.native.on_exec(instance, adapt)

    def __repr__(self) -> str:
        return f"<incus.Host {self.uri!r}{' closed' if self._closed else ''}>"


def open(
    uri: str = "embed:",
    *,
    auto_destroy: bool = False,
    remove_directory: bool = False,
    storage_driver: str = "",
    takeover_timeout: float = 10.0,
    client_certificate: str = "",
    client_key: str = "",
    server_certificate: str = "",
    trust_token: str = "",
    connect_timeout: float = 10.0,
    log: Union[None, logging.Logger, Callable[[int, str], None]] = None,
) -> Host:
    """Opens an engine: "embed:///dir" in this process ("embed:" is $INCUS_DIR or /var/lib/incus), "test://" in memory, or one that a daemon serves:
    "unix:///path/unix.socket" ("unix:" finds the usual socket) or "https://host:8443".

    auto_destroy: its instances die with this process, even when it is killed; with remove_directory the state directory goes too.
    storage_driver: "dir" or "overlay" for the default pool. takeover_timeout: seconds to wait for what a dead process left.
    For https: client_certificate and client_key (PEM texts or paths; else client.crt and client.key of the configuration directory),
    server_certificate (fingerprint, PEM or path), trust_token. connect_timeout: seconds.
    log: a logger, or a function that gets a level of the logging module and a line, from any thread; it must not use the host."""
    options = {
        "auto_destroy": auto_destroy,
        "remove_directory": remove_directory,
        "storage_driver": storage_driver,
        "takeover_timeout": int(takeover_timeout * 1000),
        "client_certificate": client_certificate,
        "client_key": client_key,
        "server_certificate": server_certificate,
        "trust_token": trust_token,
        "connect_timeout": max(1, int(connect_timeout * 1000)),
    }
    if log is None:
        return Host(_native.Host(uri, json.dumps(options), None))
    target = log

    def write(level: int, line: str) -> None:
        if isinstance(target, logging.Logger):
            target.log(_levels[level], "%s", line)
        else:
            target(_levels[level], line)

    return Host(_native.Host(uri, json.dumps(options), write))


@atexit.register
def _close_all() -> None:
    # Threads of the library must not call into an interpreter that is going down.
    for host in list(_open_hosts):
        try:
            host.close()
        except Exception:  # the next open repairs what this close could not finish
            pass


__all__ = ["ExecHandler", "Host", "ProjectView", "open"]
