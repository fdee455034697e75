# SPDX-License-Identifier: Apache-2.0
"""Backups of instances and custom volumes."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from typing import IO, Any, Dict, List, Mapping, Optional, Union

from ._session import Session, name_of, part
from .operation import Operation
from .records import BackupInfo, format_time

Path = Union[str, "os.PathLike[str]"]
Source = Union[int, IO[bytes], Path]


class Backup:
    """A backup that the host keeps of an instance or custom volume: a cheap handle that does not prove that it exists. Thread-safe."""

    def __init__(self, backups: Backups, name: str) -> None:
        self._backups = backups
        self._name = name

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def _path(self) -> str:
        return f"{self._backups._path}/{part(self._name)}"

    def info(self) -> BackupInfo:
        """The record (GET .../backups/{backup})."""
        return self._backups._session.record(BackupInfo, self._path, self._backups._query)

    def rename(self, new_name: str) -> None:
        """Renames it; the handle follows."""
        self._backups._wait("POST", self._path, {"name": new_name})
        self._name = new_name

    def delete(self) -> None:
        """Deletes it."""
        self._backups._wait("DELETE", self._path)

    def export(self, to: Source) -> int:
        """Writes it, in pieces, to a descriptor or file of the caller, or to a path that must not exist yet (it appears when it is whole);
        how many bytes (GET .../backups/{backup}/export)."""
        if isinstance(to, (str, os.PathLike)):
            return self._export_new(os.fspath(to))
        return self._export(to if isinstance(to, int) else to.fileno())

    def _export_new(self, path: str) -> int:
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        try:
            fd = os.open(os.path.dirname(path) or ".", os.O_TMPFILE | os.O_WRONLY, 0o600)
        except OSError as e:
            if e.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            # File systems that have no files without a name.
            with open(path, "xb") as file:
                try:
                    return self._export(file.fileno())
                except BaseException:
                    os.unlink(path)
                    raise
        try:
            size = self._export(fd)
            # With a directory given it follows the link that stands for the descriptor.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
            return size
        finally:
            os.close(fd)

    def _export(self, fd: int) -> int:
        b = self._backups
        return b._session.native.export_backup(b._query["project"], b._owner, self._name, fd)

    def __repr__(self) -> str:
        return f"<incus.Backup {'/'.join(self._backups._owner)!r} {self._name!r}>"


class Backups:
    """The backups of an instance (`instance.backups`) or of a custom volume (`volume.backups`)."""

    def __init__(self, session: Session, project: str, owner: List[str]) -> None:
        self._session = session
        self._query = {"project": project}
        self._owner = owner
        names = [part(n) for n in owner]
        of = f"instances/{names[0]}" if len(owner) == 1 else f"storage-pools/{names[0]}/volumes/custom/{names[1]}"
        self._path = f"/1.0/{of}/backups"

    def _wait(self, method: str, path: str, body: Any = None) -> Mapping[str, List[str]]:
        return Operation(self._session.begin(method, path, body, query=self._query)).wait().resources

    def create(
        self, name: str = "", *, compression: str = "", expires_at: Optional[datetime] = None, without_snapshots: bool = False, optimized: bool = False
    ) -> Backup:
        """Makes one, named "backup%d" when it is given no name. `compression` is "none", "gzip", "zstd -7" and so on; "" is what
        backups.compression_algorithm says."""
        body: Dict[str, Any] = {
            "name": name,
            "compression_algorithm": compression,
            "instance_only" if len(self._owner) == 1 else "volume_only": without_snapshots,
            "optimized_storage": optimized,
        }
        if expires_at is not None:
            body["expires_at"] = format_time(expires_at)
        made = self._wait("POST", self._path, body).get("backups") or []
        return Backup(self, name or name_of(made[0]))

    def get(self, name: str) -> Backup:
        """One of them; NotFound."""
        backup = Backup(self, name)
        backup.info()
        return backup

    def list(self) -> List[Backup]:
        """Handles of all of them."""
        return [Backup(self, name) for name in self._session.names(self._path, self._query)]

    def infos(self) -> "List[BackupInfo]":
        """All of them as records, in one call."""
        return self._session.records(BackupInfo, self._path, self._query)


class Opened:
    """A descriptor of what the caller named: its own file or descriptor, or a path that is opened and closed again."""

    def __init__(self, source: Source) -> None:
        self._file: Optional[IO[bytes]] = open(source, "rb") if isinstance(source, (str, os.PathLike)) else None
        self.fd = self._file.fileno() if self._file else source if isinstance(source, int) else source.fileno()  # type: ignore[union-attr]

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()
