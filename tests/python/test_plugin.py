# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin as its users run it: each test here is a pytest session of its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import incus
from incus import pytest_plugin

real = pytest.mark.skipif(os.geteuid() != 0, reason="runs real containers: needs root")

TESTS = """
import incus

seen = set()

def test_runs(incus_instance):
    assert incus_instance.exec(["uname"]).stdout == b"Linux\\n"
    seen.add(incus_instance.name)

def test_a_fresh_one_each_time(incus_host, incus_instance):
    assert incus_instance.name not in seen
    assert [i.name for i in incus_host.instances.list()] == [incus_instance.name]

def test_several(incus_instances, incus_host):
    a, b = incus_instances("a"), incus_instances("b", start=False, config={"user.x": "1"})
    assert (a.status, b.status, b.config["user.x"]) == ("Running", "Stopped", "1")
    a.delete(force=True)

def test_nothing_is_left(incus_host):
    assert incus_host.instances.list() == []
"""


def session(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_sample.py").write_text(TESTS)
    package = str(Path(incus.__file__).parent.parent)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "incus.pytest_plugin", *options, str(folder)]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": package, **environment}, timeout=300)


@real
def test_fixtures(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as states:
        os.chmod(states, 0o711)
        done = session(tmp_path, INCUS_TEST_TMP=states)
        assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr
        assert os.listdir(states) == []


@real
def test_workers_at_once(tmp_path: Path) -> None:
    """Two sessions at the same time, as two workers of pytest-xdist are, with one cache that both find empty."""
    folders = [tmp_path / "a", tmp_path / "b"]
    running = []
    for folder in folders:
        folder.mkdir()
        (folder / "test_sample.py").write_text(TESTS)
        package = str(Path(incus.__file__).parent.parent)
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "incus.pytest_plugin", str(folder)]
        environment = {**os.environ, "PYTHONPATH": package, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        running.append(subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment))
    for process in running:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0 and "4 passed" in out, out
    assert sorted(p.suffix for p in (tmp_path / "cache/incus").iterdir()) == ["", ".gz"]


@real
def test_nothing_is_left_when_pytest_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "up"
    (tmp_path / "test_sample.py").write_text(
        "import os, time\n"
        "def test_hangs(incus_host, incus_instance):\n"
        f"    open({str(marker)!r}, 'w').write(f'{{incus_host.uri}} {{incus_instance.state().pid}}')\n"
        "    time.sleep(600)\n"
    )
    package = str(Path(incus.__file__).parent.parent)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "incus.pytest_plugin", str(tmp_path)]
    process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": package})
    deadline = time.monotonic() + 120
    while not (marker.exists() and marker.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    uri, pid = marker.read_text().split()
    folder = Path(uri.removeprefix("embed://"))
    assert folder.is_dir() and Path(f"/proc/{pid}").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    while Path(f"/proc/{pid}").exists() or folder.exists() or str(folder) in Path("/proc/self/mountinfo").read_text():
        assert time.monotonic() < deadline, "instance, mount or directory is still there"
        time.sleep(0.05)


def test_other_hosts_and_images(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(
        "def test_memory(incus_host, incus_image):\n"
        "    assert incus_host.uri == 'test://'\n"
        "    assert incus_host.images.get(incus_image).info().properties['os'] == 'busybox'\n"
    )
    package = str(Path(incus.__file__).parent.parent)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "incus.pytest_plugin", "--incus-uri=test://", str(tmp_path)]
    image = tmp_path / "mine.tar.gz"
    image.write_bytes(pytest_plugin.busybox_image().read_bytes())
    environment = {**os.environ, "PYTHONPATH": package, "INCUS_TEST_IMAGE": str(image)}
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stdout


def test_image_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = pytest_plugin.busybox_image()
    stamp = first.stat().st_mtime_ns
    assert pytest_plugin.busybox_image() == first and first.stat().st_mtime_ns == stamp
    assert oct((tmp_path / "incus").stat().st_mode)[-3:] == "700"
