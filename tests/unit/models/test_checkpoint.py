"""Checkpoints are whole or not there, any damage is noticed, and what is restored is the same bit for bit."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from helpers.runs import same, tree
from shortcut_models.errors import UserError
from shortcut_models.models import checkpoint
from shortcut_models.models.checkpoint import MODEL, STATE, list_checkpoints, newest, read, save
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.tasks import Toy
from shortcut_models.training.options import Training
from shortcut_models.training.state import State
from shortcut_models.training.step import train_step

CONFIG = {"recipe": "digits", "note": 'é ∞ " \n'}


def weights(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    found = {
        "matrix": torch.randn(3, 4, generator=g),
        "turned": torch.randn(2, 5, generator=g).T,
        "half": torch.randn(3, generator=g).bfloat16(),
        "double": torch.randn(2, generator=g, dtype=torch.float64),
        "nothing": torch.empty(0, 3),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "odd": torch.tensor([torch.nan, torch.inf, -0.0, 1e-45]),
    }
    return found | {"shared": found["matrix"]}


def write(folder: Path, *steps: int, keep: int = 10) -> None:
    for step in steps:
        save(folder, step, {"w": torch.full((2,), float(step))}, {"step": torch.tensor(step)}, CONFIG, keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip(path: Path, position: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def test_what_is_read_is_what_was_saved(tmp_path: Path) -> None:
    path = save(tmp_path, 12, weights(), {"a": torch.ones(2)}, CONFIG, 1)
    found, config = read(path / MODEL)
    assert config == CONFIG
    assert found.keys() == weights().keys()
    for name, value in weights().items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].reshape(-1).view(torch.uint8), value.reshape(-1).view(torch.uint8))


def test_the_files_are_plain_safetensors(tmp_path: Path) -> None:
    path = save(tmp_path, 1, weights(), {"a": torch.ones(2)}, CONFIG, 1)
    assert torch.equal(safetensors.torch.load_file(path / MODEL)["matrix"], weights()["matrix"])
    assert torch.equal(safetensors.torch.load_file(path / STATE)["a"], torch.ones(2))


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    whole = (save(tmp_path, 1, {"w": torch.ones(2)}, {}, CONFIG, 1) / MODEL).read_bytes()
    copy = tmp_path / "copy"
    for position in range(len(whole)):
        content = bytearray(whole)
        content[position] ^= 1 << position % 8
        copy.write_bytes(bytes(content))
        with pytest.raises(UserError):
            read(copy)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    whole = (save(tmp_path, 1, weights(), {}, CONFIG, 1) / MODEL).read_bytes()
    copy = tmp_path / "copy"
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        copy.write_bytes(whole[:length])
        with pytest.raises(UserError, match="damaged"):
            read(copy)
    copy.write_bytes(whole + b"\0")
    with pytest.raises(UserError, match="damaged"):
        read(copy)


def test_foreign_files_are_told_from_damaged_ones(tmp_path: Path) -> None:
    foreign, pickled = tmp_path / "foreign.safetensors", tmp_path / "model.pt"
    safetensors.torch.save_file({"w": torch.ones(2)}, foreign, {"format": "pt"})
    with pytest.raises(UserError, match="was not saved by shortcut-models"):
        read(foreign)
    torch.save({"w": torch.ones(2)}, pickled)
    with pytest.raises(UserError, match="not a safetensors file"):
        read(pickled)


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        write(tmp_path, step, keep=3)
    assert names(tmp_path) == ["00000010", "00000015", "00000020"]
    write(tmp_path, 25, keep=1)
    assert names(tmp_path) == ["00000025"]


def test_steps_sort_by_number_beyond_eight_digits(tmp_path: Path) -> None:
    write(tmp_path, 99_999_999, 100_000_000)
    assert [checkpoint.step_of(path) for path in list_checkpoints(tmp_path)] == [99_999_999, 100_000_000]


def test_the_newest_that_is_whole_is_found_with_a_warning_for_each_that_is_not(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4)
    flip(tmp_path / "00000004" / STATE)
    (tmp_path / "00000003" / MODEL).unlink()
    with pytest.warns(UserWarning, match="the checkpoint before it is used") as warned:
        found = newest(tmp_path, (MODEL, STATE))
    assert found is not None
    path, ((model, config), (state, _)) = found
    assert path.name == "00000002"
    assert model["w"].tolist() == [2, 2]
    assert int(state["step"]) == 2
    assert config == CONFIG
    said = [str(warning.message) for warning in warned]
    assert len(said) == 2
    assert "00000004/state" in said[0]
    assert "00000003/model" in said[1]


def test_a_model_is_found_where_only_its_training_state_is_damaged(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    flip(tmp_path / "00000002" / STATE)
    found = newest(tmp_path, (MODEL,))
    assert found is not None
    assert found[0].name == "00000002"


def test_none_whole_is_an_error_and_none_at_all_is_not(tmp_path: Path) -> None:
    assert newest(tmp_path / "missing", (MODEL,)) is None
    (tmp_path / "note.txt").write_text("")
    (tmp_path / "123").write_text("a file, no checkpoint")
    (tmp_path / ".00000001.tmp").mkdir()
    assert newest(tmp_path, (MODEL,)) is None
    write(tmp_path, 1)
    flip(tmp_path / "00000001" / MODEL)
    with pytest.raises(UserError, match=r"does not match its hash.*, and no other checkpoint is undamaged"):
        newest(tmp_path, (MODEL,))


def test_a_damaged_newer_checkpoint_never_outlives_the_whole_ones(tmp_path: Path) -> None:
    write(tmp_path, 10, 20, 30)
    flip(tmp_path / "00000030" / STATE)
    write(tmp_path, 25, keep=1)  # the run went on from 20, and saves every 5 steps from now on
    assert names(tmp_path) == ["00000025"]


def test_a_step_is_saved_again_over_its_damaged_self(tmp_path: Path) -> None:
    write(tmp_path, 10)
    flip(tmp_path / "00000010" / MODEL)
    (tmp_path / ".00000010.tmp").mkdir()  # and left by a crash
    write(tmp_path, 10)
    assert names(tmp_path) == ["00000010"]
    read(tmp_path / "00000010" / MODEL)


@pytest.mark.parametrize(
    ("owner", "name", "count"),
    [(os, "fsync", 1), (os, "fsync", 2), (os, "fsync", 3), (Path, "mkdir", 1), (Path, "rename", 1)],
)
def test_a_full_disk_leaves_the_earlier_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, count: int
) -> None:
    write(tmp_path, 1, 2)
    before, real, calls = tree(tmp_path), getattr(owner, name), itertools.count(1)

    def full(*args: Any, **more: Any) -> Any:
        if next(calls) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(OSError, match="No space left"):
            write(tmp_path, 3, keep=2)
    assert tree(tmp_path) == before
    write(tmp_path, 3, keep=2)
    assert names(tmp_path) == ["00000002", "00000003"]


@pytest.mark.parametrize("objective", [Shortcut(max_steps=8), FlowMatching(max_steps=8)])
def test_a_restored_state_goes_on_bit_for_bit(tmp_path: Path, objective: Any) -> None:
    task, training = Toy(size=64), Training(train_steps=9, batch_size=16, warmup=2, precision="fp32", device="cpu")
    device, raw = torch.device("cpu"), task.dataset("train")

    def state(seed: int) -> State:
        torch.manual_seed(seed)
        return State.new(MLPConfig(width=8, depth=1).build((2,), {}), objective, training, device)

    def advance(state: State, steps: int) -> None:
        for _ in range(steps):
            train_step(state, raw.__getitems__(list(range(16))), task, training)

    one, other = state(0), state(1)
    advance(one, 4)
    path = save(tmp_path, 4, one.ema.state_dict(), one.tensors(), {}, 1)
    other.restore(read(path / STATE)[0], read(path / MODEL)[0])
    for _ in range(2):
        assert same(one.tensors(), other.tensors())
        assert same(one.ema.state_dict(), other.ema.state_dict())
        advance(one, 3)
        advance(other, 3)
    assert not same(one.ema.state_dict(), one.network.state_dict())


def test_one_file_is_enough_wherever_it_lies(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 3, weights(), {}, CONFIG, 1)
    shutil.copy(path / MODEL, tmp_path / "lone.safetensors")
    shutil.rmtree(tmp_path / "checkpoints")
    assert read(tmp_path / "lone.safetensors")[1] == CONFIG
    flip(tmp_path / "lone.safetensors")
    with pytest.raises(UserError, match="does not match its hash"):
        read(tmp_path / "lone.safetensors")
