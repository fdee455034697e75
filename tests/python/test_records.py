# SPDX-License-Identifier: Apache-2.0
"""Records against the C++ ones, times, errors, and types."""

import re
import subprocess
import sys
from dataclasses import fields
from datetime import datetime, timezone
from pathlib import Path

import pytest

import incus
from incus import errors, records

ROOT = Path(__file__).resolve().parents[2]


def test_times() -> None:
    assert records.parse_time("0001-01-01T00:00:00Z") is None
    assert records.parse_time(None) is None
    assert records.parse_time("2026-01-02T03:04:05Z") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert records.parse_time("2026-01-02T03:04:05.123456789Z") == datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc)
    assert records.parse_time("2026-01-02T03:04:05.5+01:00") == datetime(2026, 1, 2, 2, 4, 5, 500000, tzinfo=timezone.utc)
    assert records.format_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)) == "2026-01-02T03:04:05Z"
    assert records.format_time(None) is None


def test_records_take_what_comes() -> None:
    info = records.parse(records.InstanceInfo, {"name": "c", "config": None, "new_field": 1, "devices": {"root": {"path": "/"}}})
    assert info.name == "c" and info.config == {} and info.devices == {"root": {"path": "/"}}
    full = records.parse(records.InstanceFull, {"name": "c", "state": {"network": {"eth0": {"addresses": [{"family": "inet"}]}}}})
    assert full.state is not None and full.state.network["eth0"].addresses[0].family == "inet"
    assert records.parse(records.OperationInfo, {"class": "task"}).class_ == "task"


@pytest.mark.parametrize(
    "name", ["ServerInfo", "OperationInfo", "Event", "ProfileInfo", "ProjectInfo", "StoragePoolInfo", "StorageVolumeInfo", "StorageVolumeSnapshotInfo",
             "StorageVolumeState", "BackupInfo", "RecoverVolume", "RecoverReport", "ImageInfo", "ImageAliasInfo",
             "InstanceInfo", "SnapshotInfo", "InstanceState"]
)  # fmt: skip
def test_records_have_the_fields_of_the_core(name: str) -> None:
    text = (ROOT / "libincus/api/records.hpp").read_text()
    block = re.search(rf"struct Record<{name}> \{{(.*?)\n\}};", text, re.S)
    assert block
    there = set(re.findall(r'field(?:_opt)?\("([^"]+)"', block[1]))
    here = {f.metadata.get("json", f.name) for f in fields(getattr(records, name))}
    assert there == here


def test_one_exception_class_for_each_code() -> None:
    text = (ROOT / "include/incus/error.hpp").read_text()
    there = {int(m[2]): m[1] for m in re.finditer(r"^  (\w+) = (\d+),", text, re.M)}
    here = {number: cls.name for number, cls in errors._by_code.items()}
    assert here == there
    for number, cls in errors._by_code.items():
        made = errors.from_native(number, "text", ["cause"])
        assert type(made) is cls and made.code == number and made.message == "text" and made.causes == ("cause",)
        assert getattr(incus, cls.__name__) is cls
    assert isinstance(errors.from_native(99, "new", []), incus.Internal)
    assert issubclass(incus.Timeout, TimeoutError) and issubclass(incus.PermissionDenied, PermissionError)


def test_everything_public_is_documented() -> None:
    for name in incus.__all__:
        thing = getattr(incus, name)
        if not isinstance(thing, type):
            continue
        assert thing.__doc__, name
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                assert value.__doc__, f"{name}.{attribute}"


def test_types(tmp_path: Path) -> None:
    """A program is checked against the package as its users' checkers see it."""
    good = tmp_path / "good.py"
    good.write_text(
        "import incus\n"
        "with incus.open('test://') as host:\n"
        "    host.images.import_file('x', alias='a').wait(5)\n"
        "    c = host.instances.launch('c', image='a', level='network')\n"
        "    r: bytes = c.exec(['uname'], check=True).stdout\n"
        "    op: incus.Operation = c.stop(force=True, wait=False)\n"
        "    c.start()\n"
        "    n: list[str] = [i.name for i in host.instances.list()]\n"
        "    s: str = c.state().network['eth0'].addresses[0].address\n"
        "    for e in host.events(['lifecycle']):\n"
        "        print(e.type, e.timestamp)\n"
    )
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import incus\n"
        "host = incus.open('test://')\n"
        "c = host.instances.launch('c')\n"
        "c.exec('uname').stdout.encode()\n"
        "c.stop(wait=True).wait()\n"
        "c.wait_ready('soon')\n"
    )
    package = str(Path(incus.__file__).parent.parent)
    check = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    environment = {"MYPYPATH": package, "PATH": "/usr/bin:/bin"}
    done = subprocess.run([*check, str(good)], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    done = subprocess.run([*check, str(bad)], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert {int(m) for m in re.findall(r"bad\.py:(\d+): error", done.stdout)} == {3, 4, 5, 6}, done.stdout
