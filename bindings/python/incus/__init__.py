# SPDX-License-Identifier: Apache-2.0
"""System containers as objects.

    import incus

    with incus.open("embed:///var/tmp/demo") as host:
        host.images.import_file("image.tar.gz", alias="busy").wait()
        c = host.instances.launch("c1", image="busy")
        print(c.exec(["uname", "-a"]).stdout)
        c.delete(force=True)
"""

from . import errors
from ._native import version as __version__
from .backup import Backup, Backups
from .errors import (
    AlreadyExists,
    Busy,
    Cancelled,
    CommandFailed,
    Conflict,
    Corrupt,
    Error,
    Forbidden,
    Internal,
    InvalidArgument,
    NoSpace,
    NotFound,
    NotSupported,
    PermissionDenied,
    PreconditionFailed,
    Timeout,
    TooLarge,
    Unavailable,
)
from .event import EventListener
from .host import Host, ProjectView, open
from .image import Aliases, Image, Images
from .instance import ExecSession, Instance, Instances, Snapshot, Snapshots
from .misc import Profile, Profiles, Projects, StoragePool, StoragePools, StorageVolume
from .operation import Operation, Operations
from .records import (
    BackupInfo,
    Event,
    ExecResult,
    FileInfo,
    ImageAliasInfo,
    ImageInfo,
    ImageOrigin,
    InstanceFull,
    InstanceInfo,
    InstanceState,
    OperationInfo,
    ProfileInfo,
    ProjectInfo,
    RecoverReport,
    RecoverVolume,
    ServerInfo,
    SnapshotInfo,
    StoragePoolInfo,
    StoragePoolResources,
    StorageVolumeInfo,
    StorageVolumeSnapshotInfo,
    StorageVolumeState,
)

__all__ = [
    "Aliases",
    "AlreadyExists",
    "Backup",
    "BackupInfo",
    "Backups",
    "Busy",
    "Cancelled",
    "CommandFailed",
    "Conflict",
    "Corrupt",
    "Error",
    "Event",
    "EventListener",
    "ExecResult",
    "FileInfo",
    "ExecSession",
    "Forbidden",
    "Host",
    "Image",
    "ImageAliasInfo",
    "ImageInfo",
    "ImageOrigin",
    "Images",
    "Instance",
    "InstanceFull",
    "InstanceInfo",
    "InstanceState",
    "Instances",
    "Internal",
    "InvalidArgument",
    "NoSpace",
    "NotFound",
    "NotSupported",
    "Operation",
    "OperationInfo",
    "Operations",
    "PermissionDenied",
    "PreconditionFailed",
    "Profile",
    "ProfileInfo",
    "Profiles",
    "ProjectInfo",
    "ProjectView",
    "Projects",
    "RecoverReport",
    "RecoverVolume",
    "ServerInfo",
    "Snapshot",
    "SnapshotInfo",
    "Snapshots",
    "StoragePool",
    "StoragePoolInfo",
    "StoragePoolResources",
    "StoragePools",
    "StorageVolume",
    "StorageVolumeInfo",
    "StorageVolumeSnapshotInfo",
    "StorageVolumeState",
    "Timeout",
    "TooLarge",
    "Unavailable",
    "__version__",
    "errors",
    "open",
]
