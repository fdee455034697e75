# SPDX-License-Identifier: Apache-2.0
"""What the server announces in `api_extensions` is shown to work: each name has a test, and the key, field or request of it stands in that test."""

import base64
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Daemon, daemon_with

ROOT = Path(__file__).resolve().parents[2]

# name: (title of a test case or name of a test function, a pattern that must stand in its text)
SHOWN: dict[str, tuple[str, str]] = {
    "api_filtering": ("rest: lists are filtered and answer URLs or records", r"filter="),
    "auth_pki": ("trust: with server.ca only what it signed and did not revoke is looked at", r"server\.ca|ca\.crl"),
    "auth_user": ("trust over TLS: unknown, by token, restricted, shut out", r"auth_user_name"),
    "backup_compression": ("test_round", r"compression"),
    "backup_compression_algorithm": ("test_kept_on_the_server", r"compression_algorithm"),
    "backup_override_name": ("test_round", r'"import", str\(file\), "c2"'),
    "boot_host_shutdown_action": ("lifecycle: what a daemon stops, it remembers", r"boot\.host_shutdown_action"),
    "certificate_project": ("trust over TLS: unknown, by token, restricted, shut out", r'"restricted", true.*"projects"'),
    "certificate_self_renewal": ("trust: a restricted certificate may replace itself and nothing else", r'"certificate"'),
    "certificate_token": ("trust: a token is good once, for what it was made for, until it runs out", r"token"),
    "certificate_update": ("trust: certificates are added, listed, found by a beginning, changed and removed", r"certificate_(put|patch)"),
    "console": ("console: who is attached, and who is next", r"/console"),
    "console_force": ("console: who is attached, and who is next", r"force"),
    "container_backup": ("test_kept_on_the_server", r"instances/c1/backups"),
    "container_backup_override_pool": ("test_pool_that_is_gone", r'"-s", "second"'),
    "container_disk_shift": ("shifted owners, where idmapped mounts are not to be used", r"shift"),
    "container_edit_metadata": ("instances: metadata and templates", r"metadata"),
    "container_exec_recording": ("exec: nobody listens", r"record"),
    "container_exec_signal_handling": ("exec: signals, closing, and the end of the instance", r"signal"),
    "container_exec_user_group_cwd": ("exec: who, where and with what environment", r"cwd|user"),
    "container_full": ("instances: lists at every depth", r"recursion=2"),
    "container_host_shutdown_timeout": ("a machine that goes down stops its instances in their time, and starts them again in their order", r"boot\.host_shutdown_timeout"),
    "container_image_properties": ("images: instances outlive theirs", r"image\."),
    "container_incremental_copy": ("copies: refreshed, from the same pool and from another", r"refresh"),
    "container_last_used_at": ("a machine that goes down stops its instances in their time, and starts them again in their order", r"last_used_at"),
    "container_only_migration": ("instances: copies", r"instance_only"),
    "container_protection_delete": ("instances: deletion can be forbidden", r"security\.protection\.delete"),
    "container_protection_shift": ("owners of files are not changed where that is forbidden", r"security\.protection\.shift"),
    "container_stateless_copy": ("instances: a copy of a running one, and what is in the files", r"copy"),
    "container_syscall_filtering_allow_deny_syntax": ("an allow list of system calls excludes deny lists", r"security\.syscalls\.(allow|deny)"),
    "custom_block_volumes": ("volumes: disks", r'"content_type":"block"'),
    "custom_volume_backup": ("test_volume", r"export"),
    "custom_volume_iso": ("volumes: what disks and media cannot be", r'import_medium'),
    "custom_volume_refresh": ("volumes: refreshed", r"refresh"),
    "custom_volume_refresh_exclude_older_snapshots": ("volumes: refreshed", r"refresh_exclude_older"),
    "etag": ("rest: etags", r"If-Match"),
    "event_lifecycle": ("events: what happens to an instance, in order", r"lifecycle"),
    "event_lifecycle_name_and_project": ("events: who asked, and what for", r"project"),
    "event_lifecycle_requestor_address": ("events: who asked, and what for", r"address"),
    "event_project": ("trust over TLS: events of other projects are not for a restricted client", r'"project"'),
    "id_map": ("isolated instances that start at once share no host id", r"security\.idmap\.isolated"),
    "id_map_base": ("maps of instances", r"security\.idmap\.base"),
    "id_map_current": ("isolated instances that start at once share no host id", r"volatile\.idmap"),
    "image_compression_algorithm": ("images: published from an instance and from a snapshot", r"compression_algorithm"),
    "image_create_aliases": ("test_copy", r"aliases"),
    "image_force_refresh": ("test_refresh", r"refresh"),
    "image_import_alias": ("test_images", r"--alias"),
    "image_restriction_privileged": ("refusals: images that demand or refuse something", r"requirements\.privileged"),
    "image_source_project": ("test_project_of_another_server", r"project"),
    "image_types": ("images: from import to deletion", r"type"),
    "images_push_relay": ("test_copy", r"relay|push"),
    "images_target_project": ("test_project_of_another_server", r"target-project"),
    "instance_all_projects": ("test_lists", r"--all-projects"),
    "instance_auto_restart": ("instances: started again when they end by themselves", r"boot\.autorestart"),
    "instance_bulk_state_change": ("instances: the state of many at once", r"PUT"),
    "instance_create_start": ("snapshots: at every start, however it comes about", r"start = true"),
    "instance_memory_swap_bytes": ("limits as control group files", r"limits\.memory\.swap"),
    "instance_pool_move": ("moves: to another pool, project and name", r'"pool":"p2"'),
    "instance_project_move": ("moves: to another pool, project and name", r'"project":"other"'),
    "instance_snapshot_never": ("schedule: what is one", r"@never"),
    "instance_state_cpu_time": ("a running container is measured, a stopped one is not", r"cpu"),
    "instance_types": ("instances: limits by size", r"instance_type"),
    "instances": ("instances: from creation to deletion", r"instances"),
    "instances_rebuild": ("instances: a fresh root", r"rebuild"),
    "internal_metrics": ("metrics: of a host", r"incus_(uptime|operations|warnings|go_)"),
    "kernel_limits": ("keys of the configuration", r"limits\.kernel\."),
    "linux_sysctl": ("keys of the configuration", r"linux\.sysctl\."),
    "metadata_configuration": ("configuration: every key has its place and text", r"configuration"),
    "metrics": ("metrics: of a host", r"incus_"),
    "metrics_authentication": ("trust over TLS: a certificate for metrics", r"core\.metrics_authentication"),
    "metrics_cpu_effective_total": ("a running container is measured, a stopped one is not", r"incus_cpu_effective_total"),
    "metrics_cpu_seconds": ("a running container is measured, a stopped one is not", r"incus_cpu_seconds_total"),
    "metrics_memory_oom_total": ("a running container is measured, a stopped one is not", r"incus_memory_OOM_kills_total"),
    "network_state": ("networks: the loopback of this machine", r"state"),
    "network_state_bond_bridge": ("networks: bridges, VLANs and bonds", r"bond"),
    "network_state_vlan": ("networks: bridges, VLANs and bonds", r"vlan"),
    "operation_description": ("host: operations", r"description"),
    "operation_wait": ("rest: a client that waits and goes leaves nothing", r"/wait"),
    "operations_get_query_all_projects": ("trust over TLS: the secrets of a command are for who began it", r"operations\?recursion=1&all-projects=true"),
    "patch": ("config: PATCH merges, an empty value unsets", r"PATCH|patch"),
    "profile_usedby": ("profiles: in use", r"used_by"),
    "projects": ("projects: made with their features and default profile, changed, renamed, removed", r"project"),
    "projects_force_delete": ("projects: removed with everything in it by force, and with nothing of others", r"force"),
    "projects_limits_instances": ("projects: the same name in two projects, and a limit on their number", r"limits\.instances"),
    "remote_token_expiry": ("trust: a token is good once, for what it was made for, until it runs out", r"core\.remote_token_expiry"),
    "resources": ("resources: this machine", r"cpu"),
    "resources_cpu_core_die": ("resources: processors", r"die"),
    "resources_cpu_flags": ("resources: processors", r"flags"),
    "resources_cpu_isolated": ("resources: processors", r"isolated"),
    "resources_cpu_socket": ("resources: processors", r"sockets"),
    "resources_cpu_threads_numa": ("resources: processors", r"numa_node"),
    "resources_disk_address": ("resources: devices on the buses", r"(device_path|pci_address|usb_address)"),
    "resources_disk_id": ("resources: devices on the buses", r"device_id"),
    "resources_disk_sata": ("resources: devices on the buses", r"ID_ATA_SATA"),
    "resources_gpu": ("resources: devices on the buses", r"gpu"),
    "resources_gpu_mdev": ("resources: devices on the buses", r"mdev_supported_types"),
    "resources_gpu_usb": ("resources: devices on the buses", r"usb_address"),
    "resources_load": ("resources: memory and load", r"load"),
    "resources_network_usb": ("resources: devices on the buses", r"usb_address"),
    "resources_numa": ("resources: memory and load", r"nodes|numa"),
    "resources_pci_iommu": ("resources: devices on the buses", r"iommu_group"),
    "resources_pci_vpd": ("resources: devices on the buses", r"vpd"),
    "resources_system": ("resources: the machine itself", r"system|chassis"),
    "resources_usb_pci": ("resources: devices on the buses", r"usb"),
    "resources_v2": ("resources: devices on the buses", r"(network|storage)"),
    "server_instance_driver_operational": ("host: what it says of itself", r"driver"),
    "server_supported_storage_drivers": ("host: what it says of itself", r"storage_supported_drivers"),
    "snapshot_expiry": ("snapshots: expiry", r"expir"),
    "snapshot_expiry_creation": ("snapshots: expiry", r"expires_at"),
    "snapshot_scheduling": ("schedule: its minutes", r"schedule_due"),
    "snapshot_schedule_aliases": ("schedule: what is one", r"@daily|@hourly"),
    "storage": ("pools: from creation to deletion", r"pool"),
    "storage_api_local_volume_handling": ("volumes: copied within a pool and to another, with snapshots and without, from one and to another project", r'"type":"copy"'),
    "storage_api_project": ("a project without volumes of its own uses those of the default one", r"project"),
    "storage_api_volume_rename": ("volumes: of a user's own", r"rename|POST"),
    "storage_api_volume_snapshots": ("volumes: of a user's own", r"snapshots"),
    "storage_initial_owner": ("volumes: configuration", r"initial\.uid"),
    "storage_rsync_bwlimit": ("volumes: copied within a pool and to another, with snapshots and without, from one and to another project", r"rsync\.bwlimit"),
    "storage_unmapped": ("devices: custom volumes", r"security\.unmapped"),
    "storage_volume_project_move": ("volumes: copied within a pool and to another, with snapshots and without, from one and to another project", r'"project":"default"'),
    "storage_volume_state": ("volumes: of an instance", r"/state|usage"),
    "trust_ca_certificates": ("trust: with server.ca only what it signed and did not revoke is looked at", r"core\.trust_ca_certificates"),
    "usedby_consistency": ("access: links and events of other projects", r"used_by|\?project="),
    "volume_snapshot_scheduling": ("volumes: configuration", r"snapshots\.schedule"),
    "warnings": ("warnings: one a condition, counted, acknowledged, deleted", r"acknowledged"),
}


PROBES: dict[str, Callable[["World"], object]] = {}


def shows(function: Callable[["World"], object]) -> Callable[["World"], object]:
    """Its name is the extension's."""
    PROBES[function.__name__] = function
    return function


class World:
    """A daemon with a running instance c1, a stopped one c2, and a project "other" that borrows profiles and images."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon, self.client = daemon, daemon.client

    def get(self, path: str) -> Any:
        return json.loads(self.client("query", path))

    def do(self, method: str, path: str, body: object = None) -> Any:
        out = self.client("query", "--wait", "-X", method, path, *(["-d", json.dumps(body)] if body is not None else []))
        return json.loads(out) if out.strip() else None

    def raw(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, str]:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.daemon.dir / "unix.socket"))
            s.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            data = b""
            while piece := s.recv(65536):
                data += piece
        head, _, rest = data.decode().partition("\r\n\r\n")
        return int(head.split()[1]), head.lower(), rest

    def file(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str, str]:
        return self.raw(method, f"/1.0/instances/c1/files?path={path}", body, **headers)


@pytest.fixture(scope="module")
def world(image: Path) -> Iterator[World]:
    with daemon_with(image, "extensions") as d:
        d.client("launch", "busybox", "c1")
        d.client("create", "busybox", "c2")
        d.client("project", "create", "other", "-c", "features.profiles=false", "-c", "features.images=false", "-c", "features.storage.volumes=true")
        d.client("storage", "volume", "create", "default", "v1")
        yield World(d)


@shows
def certificate_description(w: World) -> None:
    der = w.daemon.folder / "cert.der"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout", "/dev/null", "-outform", "DER", "-out", str(der)],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    w.do("POST", "/1.0/certificates", {"type": "client", "name": "n", "description": "of n", "certificate": base64.b64encode(der.read_bytes()).decode()})
    assert [c["description"] for c in w.get("/1.0/certificates?recursion=1")] == ["of n"]


@shows
def container_copy_project(w: World) -> None:
    w.do("POST", "/1.0/instances?project=other", {"name": "copied", "source": {"type": "copy", "source": "c2", "project": "default"}})
    assert w.get("/1.0/instances?project=other") == ["/1.0/instances/copied?project=other"]


@shows
def container_cpu_time(w: World) -> None:
    assert w.get("/1.0/instances/c1/state")["cpu"]["usage"] > 0


@shows
def container_stop_priority(w: World) -> None:
    w.do("PATCH", "/1.0/instances/c2", {"config": {"boot.stop.priority": "7"}})
    assert w.get("/1.0/instances/c2")["config"]["boot.stop.priority"] == "7"
    assert w.client.run("config", "set", "c2", "boot.stop.priority=soon", check=False).returncode != 0


@shows
def custom_volume_snapshot_expiry(w: World) -> None:
    w.do("POST", "/1.0/storage-pools/default/volumes/custom/v1/snapshots", {"name": "s1", "expires_at": "2040-01-02T03:04:05Z"})
    assert w.get("/1.0/storage-pools/default/volumes/custom/v1/snapshots/s1")["expires_at"].startswith("2040-01-02T03:04:05")


@shows
def directory_manipulation(w: World) -> None:
    assert w.file("POST", "/root/made", X_Incus_type="directory")[0] == 200
    status, head, body = w.file("GET", "/root")
    assert status == 200 and "x-incus-type: directory" in head and "made" in json.loads(body)["metadata"]


@shows
def entity_description(w: World) -> None:
    w.do("PATCH", "/1.0/instances/c2", {"description": "the second"})
    assert w.get("/1.0/instances/c2")["description"] == "the second"


@shows
def event_location(w: World) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(str(w.daemon.dir / "unix.socket"))
        s.sendall(
            b"GET /1.0/events?type=lifecycle HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        data = s.recv(65536)
        w.do("PATCH", "/1.0/instances/c2", {"config": {"user.event": "1"}})
        while b'"location":"none"' not in data:
            piece = s.recv(65536)
            assert piece, data
            data += piece


@shows
def file_append(w: World) -> None:
    assert w.file("POST", "/root/grows", "ab", X_Incus_type="file")[0] == 200
    assert w.file("POST", "/root/grows", "ab", X_Incus_type="file", X_Incus_write="append")[0] == 200
    assert w.file("GET", "/root/grows")[2] == "abab"


@shows
def file_delete(w: World) -> None:
    assert w.file("POST", "/root/goes", "x", X_Incus_type="file")[0] == 200
    assert w.file("DELETE", "/root/goes")[0] == 200 and w.file("GET", "/root/goes")[0] == 404


@shows
def file_symlinks(w: World) -> None:
    assert w.file("POST", "/root/link", "/etc/nowhere", X_Incus_type="symlink")[0] == 200
    assert w.client("exec", "c1", "--", "readlink", "/root/link") == "/etc/nowhere\n"


@shows
def file_get_symlink(w: World) -> None:
    assert w.file("POST", "/root/link2", "/etc/elsewhere", X_Incus_type="symlink")[0] == 200
    status, head, body = w.file("GET", "/root/link2")
    assert status == 200 and "x-incus-type: symlink" in head and "/etc/elsewhere" in body


@shows
def firewall_driver(w: World) -> None:
    assert w.get("/1.0")["environment"]["firewall"] in ("nftables", "xtables")


@shows
def kernel_features(w: World) -> None:
    assert "idmapped_mounts" in w.get("/1.0")["environment"]["kernel_features"]


@shows
def lxc_features(w: World) -> None:
    assert "cgroup2" in w.get("/1.0")["environment"]["lxc_features"]


@shows
def https_allowed_credentials(w: World) -> None:
    w.client("config", "set", "core.https_allowed_origin=http://site", "core.https_allowed_credentials=true")
    assert "access-control-allow-credentials: true" in w.raw("GET", "/1.0", Origin="http://site")[1]
    w.client("config", "unset", "core.https_allowed_credentials")
    assert "access-control-allow-credentials" not in w.raw("GET", "/1.0", Origin="http://site")[1]


@shows
def image_profiles(w: World) -> None:
    fingerprint = w.get("/1.0/images/aliases/busybox")["target"]
    w.client("profile", "create", "of-image")
    w.do("PATCH", f"/1.0/images/{fingerprint}", {"profiles": ["default", "of-image"]})
    assert w.get(f"/1.0/images/{fingerprint}")["profiles"] == ["default", "of-image"]
    w.client("create", "busybox", "profiled")
    assert w.get("/1.0/instances/profiled")["profiles"] == ["default", "of-image"]


@shows
def image_copy_profile(w: World) -> None:
    w.client("project", "create", "third")
    w.client("profile", "create", "mine", "--project", "third")
    w.client("image", "copy", "busybox", "local:", "--target-project", "third", "--profile", "mine")
    assert [i["profiles"] for i in w.get("/1.0/images?recursion=1&project=third")] == [["mine"]]


@shows
def image_restriction_nesting(w: World) -> None:
    fingerprint = w.get("/1.0/images/aliases/busybox")["target"]
    now = w.get(f"/1.0/images/{fingerprint}")["properties"]
    w.do("PATCH", f"/1.0/images/{fingerprint}", {"properties": {**now, "requirements.nesting": "true"}})
    try:
        # Made as it is asked for; what it needs is set by whoever starts it.
        w.client("create", "busybox", "nested", "-c", "security.nesting=true")
        assert w.client.run("launch", "busybox", "unnested", check=False).returncode != 0
    finally:
        w.do("PATCH", f"/1.0/images/{fingerprint}", {"properties": now})


@shows
def instance_access(w: World) -> None:
    assert isinstance(w.get("/1.0/instances/c1/access"), list)


@shows
def instance_file_head(w: World) -> None:
    status, head, body = w.file("HEAD", "/etc/passwd")
    assert status == 200 and "x-incus-type: file" in head and not body


@shows
def instance_generation_id(w: World) -> None:
    assert len(w.get("/1.0/instances/c1")["config"]["volatile.uuid.generation"]) == 36


@shows
def instance_get_full(w: World) -> None:
    full = w.get("/1.0/instances/c1?recursion=1")
    assert full["state"]["status"] == "Running" and "snapshots" in full


@shows
def instance_state_started_at(w: World) -> None:
    assert w.get("/1.0/instances/c1/state")["started_at"] > "2020"


@shows
def instances_state_total(w: World) -> None:
    state = w.get("/1.0/instances/c1/state")
    assert state["memory"]["total"] > 0 and "total" in state["disk"]["root"]


@shows
def network_counters_errors_dropped(w: World) -> None:
    counters = w.get("/1.0/instances/c1/state")["network"]["lo"]["counters"]
    assert {"errors_received", "errors_sent", "packets_dropped_inbound", "packets_dropped_outbound"} <= counters.keys()


@shows
def profiles_all_projects(w: World) -> None:
    w.client("project", "create", "fourth")
    assert {p["project"] for p in w.get("/1.0/profiles?recursion=1&all-projects=true")} >= {"default", "fourth"}


@shows
def project_access(w: World) -> None:
    assert isinstance(w.get("/1.0/projects/default/access"), list)


@shows
def project_usage(w: World) -> None:
    assert w.get("/1.0/projects/default/state")["resources"]["instances"]["Usage"] >= 2


@shows
def snapshot_disk_usage(w: World) -> None:
    w.client("snapshot", "create", "c2", "sized")
    assert "size" in w.get("/1.0/instances/c2/snapshots/sized")


@shows
def storage_shifted(w: World) -> None:
    w.client("storage", "volume", "create", "default", "shifted", "security.shifted=true")
    w.client("config", "device", "add", "c1", "data", "disk", "pool=default", "source=shifted", "path=/data")
    w.client("exec", "c1", "--", "touch", "/data/x")


@shows
def storage_volume_api_filtering(w: World) -> None:
    assert w.get("/1.0/storage-pools/default/volumes?filter=name%20eq%20v1") == ["/1.0/storage-pools/default/volumes/custom/v1"]


@shows
def storage_volumes_all_projects(w: World) -> None:
    w.client("storage", "volume", "create", "default", "of-other", "--project", "other")
    assert {(v["project"], v["name"]) for v in w.get("/1.0/storage-pools/default/volumes/custom?recursion=1&all-projects=true")} >= {("default", "v1"), ("other", "of-other")}


@shows
def storage_volumes_created_at(w: World) -> None:
    assert w.get("/1.0/storage-pools/default/volumes/custom/v1")["created_at"] > "2020"


def announced() -> list[str]:
    return re.findall(r'^    "(\w+)",$', (ROOT / "libincus/api/extensions.cpp").read_text(), re.M)


def texts() -> dict[str, list[str]]:
    """The text of each test, by its title or name."""
    out: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.cpp")):
        for part in path.read_text().split("\nTEST_CASE(")[1:]:
            out.setdefault(re.split(r'(?<!\\)"', part, maxsplit=2)[1], []).append(part)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        for part in path.read_text().split("\ndef ")[1:]:
            out.setdefault(part.split("(")[0], []).append(part)
    return out


def test_every_extension_is_shown() -> None:
    there = texts()
    wrong = []
    for name in announced():
        if name in PROBES:
            continue
        if name not in SHOWN:
            wrong.append(f"{name}: announced, and no test is named here that shows it")
            continue
        title, pattern = SHOWN[name]
        if title not in there:
            wrong.append(f"{name}: there is no test {title!r}")
        elif not any(re.search(pattern, text) for text in there[title]):
            wrong.append(f"{name}: nothing in {title!r} matches {pattern!r}")
    assert not wrong, "\n".join(wrong)


def test_nothing_else_is_said_to_be_shown() -> None:
    assert sorted([*SHOWN, *PROBES]) == announced()


@pytest.mark.skipif(os.geteuid() != 0, reason="a daemon needs root")
@pytest.mark.parametrize("name", PROBES)
def test_probe(world: World, name: str) -> None:
    PROBES[name](world)
