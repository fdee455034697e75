# SPDX-License-Identifier: Apache-2.0
"""Hosts for the tests of the Python package: each test that takes `host` runs on a host in memory and on a real one."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import incus

pytest_plugins = ["incus.pytest_plugin", "pytester"]

real = pytest.mark.skipif(os.geteuid() != 0, reason="runs real containers: needs root")


def guest(name: str, request: dict[str, Any], input: bytes) -> incus.ExecResult:
    """What the commands of these tests do in busybox, for hosts in memory."""
    command = request["command"]
    if command[0] == "uname":
        return incus.ExecResult(0, b"Linux\n", b"")
    if command[0] == "cat":
        return incus.ExecResult(0, input, b"")
    if command == ["sh", "-c", "echo out; echo bad >&2; exit 3"]:
        return incus.ExecResult(3, b"out\n", b"bad\n")
    if command == ["sh", "-c", "echo $A; pwd; id -u; id -g"]:
        lines = [request["environment"]["A"], request["cwd"], str(request["user"]), str(request["group"])]
        return incus.ExecResult(0, "\n".join(lines).encode() + b"\n", b"")
    if command[0] == "sleep":
        time.sleep(float(command[1]))
        return incus.ExecResult(0, b"", b"")
    return incus.ExecResult(127, b"", b"not found\n")


@pytest.fixture(scope="session")
def image_file() -> Path:
    from incus.pytest_plugin import busybox_image  # not before pytest itself has loaded the plugin

    return busybox_image()


@pytest.fixture(scope="session")
def memory_host(image_file: Path) -> Iterator[incus.Host]:
    with incus.open("test://") as host:
        host.on_exec(guest)
        host.images.import_file(image_file, alias="pytest").wait()
        yield host


@pytest.fixture(params=["test", pytest.param("embed", marks=real)])
def host(request: pytest.FixtureRequest) -> Iterator[incus.Host]:
    """A host with the image "pytest"; what a test leaves in it is deleted."""
    if request.param == "test":
        found: incus.Host = request.getfixturevalue("memory_host")
    else:
        found = request.getfixturevalue("incus_host")
        request.getfixturevalue("incus_image")
    yield found
    for instance in found.instances.list():
        instance.delete(force=True)
