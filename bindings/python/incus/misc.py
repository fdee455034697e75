# SPDX-License-Identifier: Apache-2.0
"""Profiles, storage pools and projects."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Mapping, Optional

from ._session import Scope, Session, name_of, part
from .backup import Backups, Opened, Source
from .operation import Operation
from .records import (
    ProfileInfo,
    ProjectInfo,
    StoragePoolInfo,
    StoragePoolResources,
    StorageVolumeInfo,
    StorageVolumeSnapshotInfo,
    StorageVolumeState,
    format_time,
)


class Profile:
    """A named set of configuration and devices: a cheap handle that does not prove that the profile exists."""

    def __init__(self, scope: Scope, name: str) -> None:
        self._scope = scope
        self._name = name

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def _path(self) -> str:
        return f"/1.0/profiles/{part(self._name)}"

    def info(self) -> ProfileInfo:
        """The record (GET /1.0/profiles/{name})."""
        return self._scope.session.record(ProfileInfo, self._path, self._scope.query)

    def update(
        self,
        *,
        config: Optional[Mapping[str, str]] = None,
        devices: Optional[Mapping[str, Mapping[str, str]]] = None,
        description: Optional[str] = None,
    ) -> None:
        """Replaces what is given and keeps the rest; PreconditionFailed when somebody else changed it meanwhile."""
        now, etag, _ = self._scope.session.call("GET", self._path, query=self._scope.query)
        body: Dict[str, Any] = {k: now.get(k) for k in ("config", "devices", "description")}
        given = {"config": config, "devices": devices, "description": description}
        body.update({k: v for k, v in given.items() if v is not None})
        self._scope.session.call("PUT", self._path, body, query=self._scope.query, if_match=etag)

    def rename(self, new_name: str) -> None:
        """Renames it (not "default"); the handle follows."""
        self._scope.session.call("POST", self._path, {"name": new_name}, query=self._scope.query)
        self._name = new_name

    def delete(self) -> None:
        """Deletes it; refused while an instance applies it."""
        self._scope.session.call("DELETE", self._path, query=self._scope.query)

    def __repr__(self) -> str:
        return f"<incus.Profile {self._name!r}>"


class Profiles:
    """The profiles of a project (`host.profiles`)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(
        self,
        name: str,
        *,
        config: Optional[Mapping[str, str]] = None,
        devices: Optional[Mapping[str, Mapping[str, str]]] = None,
        description: str = "",
    ) -> Profile:
        """Makes one."""
        body = {"name": name, "config": config or {}, "devices": devices or {}, "description": description}
        self._scope.session.call("POST", "/1.0/profiles", body, query=self._scope.query)
        return Profile(self._scope, name)

    def get(self, name: str) -> Profile:
        """One of them; NotFound."""
        profile = Profile(self._scope, name)
        profile.info()
        return profile

    def list(self) -> List[Profile]:
        """Handles of all of them."""
        return [Profile(self._scope, name) for name in self._scope.session.names("/1.0/profiles", self._scope.query)]

    def infos(self) -> List[ProfileInfo]:
        """All of them as records, in one call."""
        return self._scope.session.records(ProfileInfo, "/1.0/profiles", self._scope.query)


class StorageVolume:
    """A custom volume: a cheap handle that does not prove that it exists. `backups` are those that the host keeps of it."""

    def __init__(self, session: Session, pool: str, name: str, project: str = "default") -> None:
        self._session = session
        self._pool, self._name, self._project = pool, name, project
        self._path = f"/1.0/storage-pools/{part(pool)}/volumes/custom/{part(name)}"
        self._query = {"project": project}
        self.backups = Backups(session, project, [pool, name])

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return self._pool

    def info(self) -> StorageVolumeInfo:
        """The record."""
        return self._session.record(StorageVolumeInfo, self._path, self._query)

    def state(self) -> StorageVolumeState:
        """Bytes used (GET .../state)."""
        return self._session.record(StorageVolumeState, self._path + "/state", self._query)

    def update(self, *, config: Optional[Mapping[str, str]] = None, description: Optional[str] = None) -> None:
        """Replaces what is given and keeps the rest."""
        now, etag, _ = self._session.call("GET", self._path, query=self._query)
        body: Dict[str, Any] = {k: now.get(k) for k in ("config", "description")}
        given = {"config": config, "description": description}
        body.update({k: v for k, v in given.items() if v is not None})
        self._session.call("PUT", self._path, body, query=self._query, if_match=etag)

    def _wait(self, method: str, path: str, body: Any = None, project: str = "") -> None:
        op = self._session.call(method, path, body, query={"project": project or self._project})[2]
        if op is not None:
            op.wait(None)

    def copy(
        self,
        name: str,
        *,
        pool: str = "",
        project: str = "",
        snapshot: str = "",
        volume_only: bool = False,
        refresh: bool = False,
        exclude_older: bool = False,
    ) -> StorageVolume:
        """Copies it, or a snapshot of it; `refresh` brings a copy that is there up to date, and `exclude_older` leaves out the source's snapshots
        from before the newest that both have."""
        source = {
            "type": "copy",
            "pool": self._pool,
            "project": self._project,
            "name": f"{self._name}/{snapshot}" if snapshot else self._name,
            "volume_only": volume_only,
            "refresh": refresh,
            "refresh_exclude_older": exclude_older,
        }
        pool, project = pool or self._pool, project or self._project
        self._wait("POST", f"/1.0/storage-pools/{part(pool)}/volumes/custom", {"name": name, "source": source}, project)
        return StorageVolume(self._session, pool, name, project)

    def move(self, name: str = "", *, pool: str = "", project: str = "") -> StorageVolume:
        """Moves it with its snapshots, and who uses it along; returns it where it is now."""
        body = {"name": name or self._name}
        if pool and pool != self._pool:
            body["pool"] = pool
        if project and project != self._project:
            body["project"] = project
        self._wait("POST", self._path, body)
        return StorageVolume(self._session, pool or self._pool, body["name"], project or self._project)

    def create_snapshot(self, name: str = "", *, description: str = "") -> None:
        """Makes a snapshot, named after snapshots.pattern when it is given no name."""
        self._wait("POST", self._path + "/snapshots", {"name": name, "description": description})

    def snapshots(self) -> List[StorageVolumeSnapshotInfo]:
        """Its snapshots, oldest first; their names are VOLUME/SNAPSHOT."""
        return self._session.records(StorageVolumeSnapshotInfo, self._path + "/snapshots", self._query)

    def restore(self, snapshot: str) -> None:
        """Puts its content back to a snapshot; configuration stays. Refused while a running instance uses it."""
        self._wait("PUT", self._path, {"restore": snapshot})

    def set_snapshot_expiry(self, snapshot: str, when: Optional[datetime]) -> None:
        """When a snapshot is to be deleted (PATCH .../snapshots/{snapshot}); None: never."""
        self._wait("PATCH", f"{self._path}/snapshots/{part(snapshot)}", {"expires_at": format_time(when) or "0001-01-01T00:00:00Z"})

    def rename_snapshot(self, snapshot: str, name: str) -> None:
        """Renames a snapshot."""
        self._wait("POST", f"{self._path}/snapshots/{part(snapshot)}", {"name": name})

    def delete_snapshot(self, snapshot: str) -> None:
        """Deletes a snapshot."""
        self._wait("DELETE", f"{self._path}/snapshots/{part(snapshot)}")

    def delete(self) -> None:
        """Deletes it with its snapshots; refused while something uses it."""
        self._wait("DELETE", self._path)

    def __repr__(self) -> str:
        return f"<incus.StorageVolume {self._pool + '/' + self._name!r}>"


class StoragePool:
    """A place that volumes live in: a cheap handle that does not prove that the pool exists."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._path = f"/1.0/storage-pools/{part(name)}"

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    def info(self) -> StoragePoolInfo:
        """The record (GET /1.0/storage-pools/{name})."""
        return self._session.record(StoragePoolInfo, self._path)

    def update(self, *, config: Optional[Mapping[str, str]] = None, description: Optional[str] = None) -> None:
        """Replaces what is given and keeps the rest."""
        now, etag, _ = self._session.call("GET", self._path)
        body: Dict[str, Any] = {k: now.get(k) for k in ("config", "description")}
        given = {"config": config, "description": description}
        body.update({k: v for k, v in given.items() if v is not None})
        self._session.call("PUT", self._path, body, if_match=etag)

    def resources(self) -> StoragePoolResources:
        """Space in bytes and inodes."""
        return self._session.record(StoragePoolResources, self._path + "/resources")

    def volumes(self) -> List[StorageVolumeInfo]:
        """Its volumes."""
        return self._session.records(StorageVolumeInfo, self._path + "/volumes")

    def volume(self, name: str, project: str = "default") -> StorageVolume:
        """A custom volume: a cheap handle that does not prove that it exists."""
        return StorageVolume(self._session, self._name, name, project)

    def create_volume(
        self, name: str, *, config: Optional[Mapping[str, str]] = None, description: str = "", project: str = "default"
    ) -> StorageVolume:
        """Makes an empty custom volume."""
        body = {"name": name, "config": config or {}, "description": description}
        self._session.call("POST", self._path + "/volumes/custom", body, query={"project": project})
        return self.volume(name, project)

    def _import(self, source: Source, name: str, project: str, iso: bool) -> StorageVolume:
        with Opened(source) as fd:
            done = Operation(self._session.native.import_volume(project, self._name, fd, name, iso)).wait()
        return self.volume(name or name_of(done.resources["storage_volumes"][0]), project)

    def import_volume(self, source: Source, name: str = "", *, project: str = "default") -> StorageVolume:
        """Makes a custom volume of a backup (a path, or a file or descriptor that is read to its end), called as it was when no name is given.
        AlreadyExists, Corrupt, InvalidArgument when it is no backup of a volume."""
        return self._import(source, name, project, False)

    def import_iso(self, source: Source, name: str, *, project: str = "default") -> StorageVolume:
        """Makes a custom volume of content iso of a file."""
        return self._import(source, name, project, True)

    def delete(self) -> None:
        """Deletes it; refused while anything but cached images uses it."""
        self._session.call("DELETE", self._path)

    def __repr__(self) -> str:
        return f"<incus.StoragePool {self._name!r}>"


class StoragePools:
    """The storage pools (`host.storage_pools`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create(self, name: str, driver: str, *, config: Optional[Mapping[str, str]] = None, description: str = "") -> StoragePool:
        """Makes one; `driver` is "dir" or "overlay"."""
        body = {"name": name, "driver": driver, "config": config or {}, "description": description}
        self._session.call("POST", "/1.0/storage-pools", body)
        return StoragePool(self._session, name)

    def get(self, name: str) -> StoragePool:
        """One of them; NotFound."""
        pool = StoragePool(self._session, name)
        pool.info()
        return pool

    def list(self) -> List[StoragePool]:
        """Handles of all of them."""
        return [StoragePool(self._session, name) for name in self._session.names("/1.0/storage-pools")]

    def infos(self) -> List[StoragePoolInfo]:
        """All of them as records, in one call."""
        return self._session.records(StoragePoolInfo, "/1.0/storage-pools")


class Projects:
    """The projects (`host.projects`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def names(self) -> List[str]:
        """Their names."""
        return self._session.names("/1.0/projects")

    def get(self, name: str) -> ProjectInfo:
        """One of them; NotFound."""
        return self._session.record(ProjectInfo, f"/1.0/projects/{part(name)}")

    def infos(self) -> List[ProjectInfo]:
        """All of them as records, in one call."""
        return self._session.records(ProjectInfo, "/1.0/projects")
