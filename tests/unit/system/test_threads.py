"""Threads that wait sleep soon, and are as many as there are cores, unless the user has chosen."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from shortcut_models.system import threads

CHOOSING = {name for names in threads.CHOSEN_BY.values() for name in names}
PRINT = "import os, torch; print({name: os.environ.get(name) for name in ('GOMP_SPINCOUNT', 'OMP_NUM_THREADS')})"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is set, before torch is imported, on a machine of eight cores."""
    for name in CHOOSING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "_ours", set())
    monkeypatch.setattr(threads, "affinity", lambda: 8)
    monkeypatch.setattr(threads, "cpu_quota", lambda: math.inf)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return monkeypatch


def chosen() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in CHOOSING}


def test_threads_that_wait_sleep_soon(fresh: pytest.MonkeyPatch) -> None:
    threads.prepare()
    assert chosen() == threads.WAITING


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("OMP_WAIT_POLICY", {}),
        ("GOMP_SPINCOUNT", {}),
        ("KMP_BLOCKTIME", {}),
        ("KMP_LIBRARY", {}),
        ("OMP_NUM_THREADS", threads.WAITING),
    ],
)
def test_what_the_user_has_chosen_stays(name: str, more: dict[str, str], fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(threads, "cpu_quota", lambda: 2.0)
    os.environ[name] = "7"
    threads.prepare()
    threads.prepare()
    count = {} if name == "OMP_NUM_THREADS" else {"OMP_NUM_THREADS": "2"}
    assert chosen() == {name: "7"} | more | count


def test_once_torch_is_there_nothing_changes(fresh: pytest.MonkeyPatch) -> None:
    fresh.setitem(sys.modules, "torch", threads)
    fresh.setattr(threads, "cpu_quota", lambda: 1.5)
    threads.prepare()
    assert chosen() == {}


@pytest.mark.parametrize(("quota", "count"), [(0.3, 1), (1.0, 1), (1.5, 2), (2.0, 2), (8.0, None), (64.0, None)])
def test_a_container_has_a_thread_for_each_core_of_its_quota(
    quota: float, count: int | None, fresh: pytest.MonkeyPatch
) -> None:
    fresh.setattr(threads, "cpu_quota", lambda: quota)
    threads.prepare()
    assert os.environ.get("OMP_NUM_THREADS") == (None if count is None else str(count))
    assert threads.available_cores() == (count or 8)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000\n"}, math.inf),
        ({"cpu.max": "\n"}, math.inf),
        ({"cpu.max": "1 0\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_the_quota_of_a_container_is_read_in_both_versions(files: dict[str, str], quota: float, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads.cpu_quota(tmp_path) == quota


def test_several_processes_share_the_cores_unless_the_user_has_chosen(fresh: pytest.MonkeyPatch) -> None:
    assert [threads.threads_of_one(count) for count in (1, 3, 8, 100)] == ["8", "2", "1", "1"]
    fresh.setattr(threads, "cpu_quota", lambda: 4.0)
    threads.prepare()
    assert threads.threads_of_one(2) == "2"  # of the four that were set here
    os.environ["OMP_NUM_THREADS"] = "3"
    fresh.setattr(threads, "_ours", set())
    assert threads.threads_of_one(2) == "3"


@pytest.mark.parametrize(
    ("first", "prepared"), [("shortcut_models", True), ("torch", False), ("shortcut_models.cli", True)]
)
def test_the_package_prepares_them_before_torch_is_imported(first: str, prepared: bool) -> None:
    code = f"import {first}, shortcut_models; {PRINT}"
    environment = {name: value for name, value in os.environ.items() if name not in CHOOSING}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert eval(done.stdout)["GOMP_SPINCOUNT"] == (threads.WAITING["GOMP_SPINCOUNT"] if prepared else None)


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, shortcut_models; print(sorted({'torch', 'numpy', 'psutil'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
