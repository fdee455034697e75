# SPDX-License-Identifier: Apache-2.0
"""The records of the REST API as dataclasses. Times are aware datetimes; None means "never" or "not known"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Type, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Config = Dict[str, str]
Devices = Dict[str, Dict[str, str]]


def _as(name: str) -> Dict[str, str]:
    return {"json": name}


def parse_time(text: Optional[str]) -> Optional[datetime]:
    """RFC 3339 as the API writes it; year 1 and the epoch, which stand for "never", give None. Python keeps microseconds."""
    if not text or text.startswith(("0001-", "1970-01-01T00:00:00")):
        return None
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    text = re.sub(r"\.(\d{1,5})(?=\D|$)", lambda m: "." + m[1].ljust(6, "0"), text)
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def format_time(when: Optional[datetime]) -> Optional[str]:
    """The opposite of parse_time(); a datetime without a zone is local time."""
    if when is None:
        return None
    return when.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _list_of(one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda v: [one(x) for x in v or ()]


def _dict_of(one: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda v: {k: one(x) for k, x in (v or {}).items()}


def _converter(hint: Any) -> Callable[[Any], Any]:
    origin, args = get_origin(hint), get_args(hint)
    if origin is list:
        return _list_of(_converter(args[0]))
    if origin is dict:
        return _dict_of(_converter(args[1]))
    if origin is Union:
        inner = _converter(next(a for a in args if a is not type(None)))
        return lambda v: None if v is None else inner(v)
    if hint is datetime:
        return parse_time
    if is_dataclass(hint):
        return lambda v: parse(hint, v or {})
    return lambda v: v


_plans: Dict[Any, Dict[str, Any]] = {}


def _plan(cls: Any) -> Dict[str, Any]:
    """How each JSON field of a record is converted; made once a class."""
    plan = _plans.get(cls)
    if plan is None:
        hints = get_type_hints(cls)
        plan = _plans[cls] = {f.metadata.get("json", f.name): (f.name, _converter(hints[f.name])) for f in fields(cls)}
    return plan


def parse(cls: Type[T], document: Mapping[str, Any]) -> T:
    """A record from its JSON object; absent and null fields get their defaults, unknown ones are ignored."""
    plan = _plan(cls)
    found = {}
    for key, value in document.items():
        entry = plan.get(key)
        if entry is not None and value is not None:
            found[entry[0]] = entry[1](value)
    return cls(**found)


@dataclass
class OperationInfo:
    """GET /1.0/operations/{id}."""

    id: str = ""
    class_: str = field(default="", metadata=_as("class"))
    description: str = ""
    created_at: Optional[datetime] = None
    updated_at: Optional[datetime] = None
    status: str = ""
    status_code: int = 0
    resources: Dict[str, List[str]] = field(default_factory=dict)
    metadata: Any = None
    may_cancel: bool = False
    err: str = ""
    error_code: int = 0
    error_name: str = ""
    location: str = ""


@dataclass
class Event:
    """One event of GET /1.0/events: `type` is "lifecycle", "operation" or "logging"."""

    type: str = ""
    timestamp: Optional[datetime] = None
    metadata: Any = None
    location: str = ""
    project: str = ""


@dataclass
class ServerInfo:
    """GET /1.0."""

    config: Config = field(default_factory=dict)
    api_extensions: List[str] = field(default_factory=list)
    api_status: str = ""
    api_version: str = ""
    auth: str = ""
    public: bool = False
    auth_methods: List[str] = field(default_factory=list)
    auth_user_name: str = ""
    auth_user_method: str = ""
    environment: Dict[str, Any] = field(default_factory=dict)


@dataclass
class ProjectInfo:
    """GET /1.0/projects/{name}."""

    config: Config = field(default_factory=dict)
    description: str = ""
    name: str = ""
    used_by: List[str] = field(default_factory=list)


@dataclass
class ProfileInfo:
    """GET /1.0/profiles/{name}."""

    config: Config = field(default_factory=dict)
    description: str = ""
    devices: Devices = field(default_factory=dict)
    name: str = ""
    used_by: List[str] = field(default_factory=list)
    project: str = ""


@dataclass
class StoragePoolInfo:
    """GET /1.0/storage-pools/{name}."""

    config: Config = field(default_factory=dict)
    description: str = ""
    name: str = ""
    driver: str = ""
    used_by: List[str] = field(default_factory=list)
    status: str = ""
    locations: List[str] = field(default_factory=list)


@dataclass
class Space:
    """Used and total, of bytes or inodes."""

    used: int = 0
    total: int = 0


@dataclass
class StoragePoolResources:
    """GET /1.0/storage-pools/{name}/resources."""

    space: Space = field(default_factory=Space)
    inodes: Space = field(default_factory=Space)


@dataclass
class StorageVolumeInfo:
    """GET /1.0/storage-pools/{name}/volumes."""

    config: Config = field(default_factory=dict)
    description: str = ""
    name: str = ""
    type: str = ""
    used_by: List[str] = field(default_factory=list)
    location: str = ""
    content_type: str = ""
    project: str = ""
    created_at: Optional[datetime] = None


@dataclass
class StorageVolumeSnapshotInfo:
    """GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/snapshots/{snapshot}."""

    config: Config = field(default_factory=dict)
    description: str = ""
    name: str = ""
    content_type: str = ""
    created_at: Optional[datetime] = None
    expires_at: Optional[datetime] = None


@dataclass
class Usage:
    """Bytes that a volume has; a total of 0: no limit."""

    used: int = 0
    total: int = 0


@dataclass
class StorageVolumeState:
    """GET /1.0/storage-pools/{name}/volumes/{type}/{volume}/state."""

    usage: Usage = field(default_factory=Usage)


@dataclass
class BackupInfo:
    """GET .../backups/{backup}; instance_only and volume_only: without snapshots."""

    name: str = ""
    created_at: Optional[datetime] = None
    expires_at: Optional[datetime] = None
    instance_only: bool = False
    volume_only: bool = False
    optimized_storage: bool = False


@dataclass
class RecoverVolume:
    """Something on disk that the store does not know (POST /internal/recover/validate)."""

    pool: str = ""
    project: str = ""
    type: str = ""
    name: str = ""
    snapshot_count: int = field(default=0, metadata={"json": "snapshotCount"})


@dataclass
class RecoverReport:
    """POST /internal/recover/validate; `missing`: what must be there first, in words."""

    volumes: List[RecoverVolume] = field(default_factory=list, metadata={"json": "UnknownVolumes"})
    missing: List[str] = field(default_factory=list, metadata={"json": "DependencyErrors"})


@dataclass
class ImageAlias:
    """An alias as an image shows it."""

    name: str = ""
    description: str = ""
    type: str = ""


@dataclass
class ImageAliasInfo:
    """GET /1.0/images/aliases/{name}; `target` is a fingerprint."""

    description: str = ""
    target: str = ""
    name: str = ""
    type: str = ""


@dataclass
class ImageOrigin:
    """The server that an image was fetched from."""

    alias: str = ""
    certificate: str = ""
    protocol: str = ""
    server: str = ""
    image_type: str = ""


@dataclass
class ImageInfo:
    """GET /1.0/images/{fingerprint}; `size` in bytes."""

    auto_update: bool = False
    properties: Config = field(default_factory=dict)
    public: bool = False
    expires_at: Optional[datetime] = None
    profiles: List[str] = field(default_factory=list)
    aliases: List[ImageAlias] = field(default_factory=list)
    architecture: str = ""
    cached: bool = False
    filename: str = ""
    fingerprint: str = ""
    size: int = 0
    type: str = ""
    created_at: Optional[datetime] = None
    last_used_at: Optional[datetime] = None
    uploaded_at: Optional[datetime] = None
    project: str = ""
    update_source: Optional[ImageOrigin] = None


@dataclass
class SnapshotInfo:
    """GET /1.0/instances/{name}/snapshots/{snapshot}; `size` in bytes, -1 when not known."""

    architecture: str = ""
    config: Config = field(default_factory=dict)
    created_at: Optional[datetime] = None
    devices: Devices = field(default_factory=dict)
    ephemeral: bool = False
    expanded_config: Config = field(default_factory=dict)
    expanded_devices: Devices = field(default_factory=dict)
    expires_at: Optional[datetime] = None
    last_used_at: Optional[datetime] = None
    name: str = ""
    profiles: List[str] = field(default_factory=list)
    stateful: bool = False
    size: int = -1
    description: str = ""


@dataclass
class StateAddress:
    """An address of a network interface."""

    family: str = ""
    address: str = ""
    netmask: str = ""
    scope: str = ""


@dataclass
class StateCounters:
    """Counters of a network interface."""

    bytes_received: int = 0
    bytes_sent: int = 0
    packets_received: int = 0
    packets_sent: int = 0
    errors_received: int = 0
    errors_sent: int = 0
    packets_dropped_outbound: int = 0
    packets_dropped_inbound: int = 0


@dataclass
class StateNetwork:
    """A network interface of a running instance."""

    addresses: List[StateAddress] = field(default_factory=list)
    counters: StateCounters = field(default_factory=StateCounters)
    hwaddr: str = ""
    host_name: str = ""
    mtu: int = 0
    state: str = ""
    type: str = ""


@dataclass
class StateDisk:
    """Bytes that a disk takes, and may take (0: no limit)."""

    usage: int = 0
    total: int = 0


@dataclass
class StateMemory:
    """Memory in bytes."""

    usage: int = 0
    usage_peak: int = 0
    total: int = 0
    swap_usage: int = 0
    swap_usage_peak: int = 0


@dataclass
class StateCpu:
    """Nanoseconds of CPU time since start, and those a second it may use (0: all)."""

    usage: int = 0
    allocated_time: int = 0


@dataclass
class InstanceState:
    """GET /1.0/instances/{name}/state."""

    status: str = ""
    status_code: int = 0
    disk: Dict[str, StateDisk] = field(default_factory=dict)
    memory: StateMemory = field(default_factory=StateMemory)
    network: Dict[str, StateNetwork] = field(default_factory=dict)
    pid: int = 0
    processes: int = 0
    cpu: StateCpu = field(default_factory=StateCpu)
    started_at: Optional[datetime] = None


@dataclass
class FileInfo:
    """A path in an instance. `type` is "file", "directory" or "symlink"; owner as the guest sees it."""

    type: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0
    size: int = 0
    modified_at: Optional[datetime] = None


@dataclass
class InstanceInfo:
    """GET /1.0/instances/{name}. `status` is "Stopped", "Running", "Frozen" or "Error"."""

    architecture: str = ""
    config: Config = field(default_factory=dict)
    created_at: Optional[datetime] = None
    description: str = ""
    devices: Devices = field(default_factory=dict)
    ephemeral: bool = False
    expanded_config: Config = field(default_factory=dict)
    expanded_devices: Devices = field(default_factory=dict)
    last_used_at: Optional[datetime] = None
    location: str = ""
    name: str = ""
    profiles: List[str] = field(default_factory=list)
    project: str = ""
    stateful: bool = False
    status: str = ""
    status_code: int = 0
    type: str = ""


@dataclass
class InstanceFull(InstanceInfo):
    """GET /1.0/instances?recursion=2: an instance with its state and snapshots."""

    state: Optional[InstanceState] = None
    snapshots: List[SnapshotInfo] = field(default_factory=list)


@dataclass(frozen=True)
class ExecResult:
    """What a captured command left. Exit codes: 126 not executable, 127 not found, 128+n killed by signal n."""

    exit_code: int
    stdout: bytes
    stderr: bytes
