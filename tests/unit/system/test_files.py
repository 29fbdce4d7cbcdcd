"""Files written whole, locks that end with their process, and where the cache is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from helpers.runs import environment, shortcut, train
from shortcut_models.drawing.png import save_png
from shortcut_models.system import files
from shortcut_models.system.files import cache_folder, locked, sync_directory, write_atomically, write_json

HOLD = """
import os, sys, time
from pathlib import Path
from shortcut_models.system.files import locked
with locked(Path(sys.argv[1])):
    if not os.fork():
        print(os.getpid(), flush=True)
    time.sleep(1000)
"""


def test_a_lock_keeps_others_out_and_ends_with_the_block(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"), pytest.raises(BlockingIOError), locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"), locked(tmp_path / "other"):
        pass


def test_a_lock_ends_with_its_process_though_a_child_lives_on(tmp_path: Path) -> None:
    """As processes do that read data for a trainer that is killed."""
    path = tmp_path / "lock"
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            with pytest.raises(BlockingIOError), locked(path):
                pass
            process.kill()
            process.wait()
            with locked(path):
                os.kill(child, 0)  # it is alive
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_training_warns_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = tmp_path / "run"
    for _ in range(2):
        outcome = train(run)
        assert f"shortcut: warning: {run} is on a file system without locks: do not run two" in outcome.err
        assert outcome.err.count("without locks") == 1


def test_another_error_of_a_lock_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    outcome = shortcut("train", "digits", "--run", tmp_path / "run", "--device", "cpu")
    assert outcome.code == 2
    assert outcome.complaint.endswith("fix this, or choose another directory with --run")


def test_the_cache_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("fid") == tmp_path / "xdg" / "shortcut-models" / "fid"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if sys.platform == "linux":
        assert cache_folder("fid") == tmp_path / "home" / ".cache" / "shortcut-models" / "fid"


def test_a_user_without_a_home_has_a_temporary_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> NoReturn:
        raise KeyError("uid not found")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    files._temporary_cache.cache_clear()
    with pytest.warns(UserWarning, match="does not have a home: files are cached until this process ends"):
        folder = cache_folder("fid")
    write_atomically(folder / "x", b"content")
    assert folder == cache_folder("fid")
    assert folder.parent != cache_folder("images")
    assert not list(tmp_path.iterdir()), "it went into a folder named ~"
    files._temporary_cache.cache_clear()


def test_a_directory_that_cannot_be_opened_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    sync_directory(tmp_path)

    def refuse(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    sync_directory(tmp_path)


def test_json_is_read_back_and_what_cannot_be_written_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.json"
    write_json(path, {"steps": [1, 2], "name": "é"})
    assert json.loads(path.read_text()) == {"steps": [1, 2], "name": "é"}
    assert path.read_text().endswith("}\n")
    with pytest.raises(TypeError):
        write_json(path, {"steps": object()})
    assert json.loads(path.read_text())["steps"] == [1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_png_is_read_back_pixel_by_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    save_png(tmp_path / "a.png", Image.fromarray(pixels))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
