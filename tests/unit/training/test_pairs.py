"""Methods that learn from a trained model: the pairs that it makes for them, and the check that it fits."""

from __future__ import annotations

import itertools
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from helpers.oracle import column, wake
from helpers.runs import POINTS, assert_refused, same, tensors, train
from shortcut_models.base import Network, Task
from shortcut_models.data.arrays import ArrayDataset
from shortcut_models.errors import Stopped, UserError
from shortcut_models.models.model import Model
from shortcut_models.models.run import Run
from shortcut_models.networks import MLPConfig
from shortcut_models.networks.wrapped import ROWS
from shortcut_models.objectives import FlowMatching, Reflow, TwoModel
from shortcut_models.randomness import sample_noise
from shortcut_models.system.signals import StopRequest
from shortcut_models.tasks import Digits, Toy
from shortcut_models.training import pairs as distillation
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training
from shortcut_models.training.pairs import make_pairs

TRAINING = Training(
    train_steps=9, batch_size=16, warmup=2, checkpoint_every=99, heldout_every=99, sample_every=99, precision="fp32",
    device="cpu", compile="off",
)  # fmt: skip
OBJECTIVE = Reflow(max_steps=8, pairs=100, pair_steps=3)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 pairs are three files, each made in two batches or three."""
    monkeypatch.setattr(distillation, "SHARD", 40)
    monkeypatch.setattr(distillation, "AT_ONCE", 16)


def network(task: Task, seed: int = 0, width: int = 8) -> Network:
    torch.manual_seed(seed)
    return wake(MLPConfig(width=width, depth=1, condition_width=8).build(task.shape, task.conditions))


def digits() -> Model:
    task = Digits()
    return Model(network(task), FlowMatching(max_steps=8), task, step=5, recipe="digits")


def points() -> Model:
    task = Toy(size=200)
    return Model(network(task), FlowMatching(max_steps=8), task, step=5, recipe="four-gaussians")


def skewed() -> ArrayDataset:
    """Blank digits, nine in ten of which are a 3 and the rest a 7."""
    return ArrayDataset(torch.zeros(50, 1, 8, 8), {"label": torch.where(torch.arange(50) % 10 == 0, 7, 3)})


def made(folder: Path, model: Model | None = None, objective: Any = OBJECTIVE, seed: int = 0) -> Any:
    with StopRequest() as stop:
        return make_pairs(model or digits(), objective, skewed(), folder, seed, stop, quiet=True)


def joined(pairs: Any) -> dict[str, Tensor]:
    """All pairs in order, those held out last."""
    parts = [pairs["train"].pairs, pairs["test"].pairs]
    found = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("data", "noise", "drop")}
    return found | {f"cond.{name}": torch.cat([part.cond[name] for part in parts]) for name in parts[0].cond}


def test_pairs_are_what_the_model_makes_of_their_noises(tmp_path: Path) -> None:
    model, pairs = digits(), made(tmp_path, objective=replace(OBJECTIVE, pair_guidance=1.5))
    assert [len(pairs[split]) for split in ("train", "test")] == [94, 6]  # one in sixteen is held out
    found = joined(pairs)
    with_label, without = (
        model.sample_from(found["noise"], 3, {"label": found["cond.label"]}, w, decode=False) for w in (1.5, 0.0)
    )
    torch.testing.assert_close(found["data"], torch.where(column(found["drop"], without).bool(), without, with_label))
    assert 1 <= int(found["drop"].sum()) <= 25  # of 100; a tenth is expected
    assert len(found["noise"].flatten(1).unique(dim=0)) == 100
    batch = pairs["train"].__getitems__([5, 2])
    assert torch.equal(batch.noise, found["noise"][[5, 2]])
    assert torch.equal(batch.data, found["data"][[5, 2]])
    assert torch.equal(batch.cond["label"], found["cond.label"][[5, 2]])
    assert torch.equal(batch.drop, found["drop"][[5, 2]])


def test_conditions_are_those_of_the_data(tmp_path: Path) -> None:
    labels = joined(made(tmp_path))["cond.label"]
    assert set(labels.tolist()) == {3, 7}
    assert 1 <= int((labels == 7).sum()) <= 25  # of 100; a tenth is expected


def test_no_other_samples_share_the_noises(tmp_path: Path) -> None:
    """Neither those of sampling and evaluation, with this seed or the next, nor the pairs of another seed."""
    mine = joined(made(tmp_path / "0"))["noise"]
    others = [sample_noise(seed, range(100), (1, 8, 8)) for seed in range(4)]
    others.append(joined(made(tmp_path / "1", seed=1))["noise"])
    rows = {tuple(row.tolist()) for row in mine.flatten(1)}
    assert len(rows) == 100
    assert all(tuple(row.tolist()) not in rows for other in others for row in other.flatten(1))
    correlations = [torch.corrcoef(torch.stack([mine.flatten(), other.flatten()]))[0, 1] for other in others]
    assert max(abs(float(value)) for value in correlations) < 5 / 80


def test_only_what_is_missing_is_made_again(tmp_path: Path) -> None:
    first = joined(made(tmp_path))
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert [len(safetensors.torch.load_file(path)["data"]) for path in shards] == [40, 40, 20]
    content, times = [path.read_bytes() for path in shards], [path.stat().st_mtime_ns for path in shards]
    shards[1].unlink()
    torch.manual_seed(77)
    assert same(joined(made(tmp_path)), first)
    assert [path.read_bytes() for path in shards] == content
    assert [path.stat().st_mtime_ns == time for path, time in zip(shards, times, strict=True)] == [True, False, True]


def test_a_single_pair_is_enough(tmp_path: Path) -> None:
    pairs = made(tmp_path, objective=replace(OBJECTIVE, pairs=1))
    assert [len(pairs[split]) for split in ("train", "test")] == [1, 1]


@pytest.mark.parametrize(
    "options", [{"pairs": 99}, {"pair_steps": 4}, {"pair_guidance": 2.0}, {"label_dropout": 0.2}, {"seed": 1}]
)
def test_pairs_of_other_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    made(tmp_path)
    seed = options.pop("seed", 0)
    with pytest.raises(UserError, match="holds pairs made with other options: remove it, or choose another --run"):
        made(tmp_path, objective=replace(OBJECTIVE, **options), seed=seed)


def test_pairs_of_another_model_are_refused(tmp_path: Path) -> None:
    made(tmp_path)
    other = digits()
    with torch.no_grad():
        next(other.network.parameters()).flatten()[0] += 1e-3
    with pytest.raises(UserError, match="holds pairs made with other options"):
        made(tmp_path, other)


@pytest.mark.parametrize("left", [0, 7, -1])
def test_a_damaged_file_of_pairs_is_named(tmp_path: Path, left: int) -> None:
    made(tmp_path)
    path = tmp_path / "00001.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        UserError, match=r"00001.safetensors is damaged .*: remove it, then run the same command"
    ) as said:
        made(tmp_path)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("content", ["", '{"pairs": 1', "[]"])
def test_a_damaged_note_of_the_pairs_is_named(tmp_path: Path, content: str) -> None:
    made(tmp_path)
    (tmp_path / "pairs.json").write_text(content)
    with pytest.raises(UserError, match=r"remove it"):
        made(tmp_path)


@pytest.mark.parametrize("objective", [OBJECTIVE, TwoModel(max_steps=8, pairs=100, pair_steps=3)])
def test_a_run_on_pairs_goes_on_as_if_nothing_had_happened(tmp_path: Path, objective: Any) -> None:
    """Stopped while it makes pairs, and while it trains, and with a file of pairs lost."""

    def go(run: Path, stop_in_pass: int | None = None, of: str = "student") -> Model:
        teacher, student, count = points(), network(Toy(), seed=1), itertools.count(1)

        def ask(*_: object) -> None:
            if next(count) == stop_in_pass:
                signal.raise_signal(signal.SIGTERM)

        (teacher.network if of == "teacher" else student).register_forward_pre_hook(ask)
        before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
        model = fit(student, objective, teacher.task, run=run, training=TRAINING, teacher=teacher, quiet=True)
        assert same(dict(teacher.network.state_dict()), before)
        return model

    go(tmp_path / "whole")
    with pytest.raises(Stopped, match="stopped after 0 of 100 pairs"):  # at once, not at the end of a file
        go(tmp_path / "run", 1, "teacher")
    with pytest.raises(Stopped, match="stopped after 40 of 100 pairs"):
        go(tmp_path / "run", 10, "teacher")
    with pytest.raises(Stopped, match="stopped at step 4 of 9"):
        go(tmp_path / "run", 5)  # the first pass tries the network
    (tmp_path / "run" / "pairs" / "00002.safetensors").unlink()
    go(tmp_path / "run")
    assert same(tensors(tmp_path / "run"), tensors(tmp_path / "whole"))
    config = Run(tmp_path / "run").read_config()
    assert config["teacher"]["step"] == 5
    assert config["teacher"]["recipe"] == "four-gaussians"


def test_the_student_begins_with_the_teachers_weights_and_its_pairs(tmp_path: Path) -> None:
    seen: list[Tensor] = []
    teacher, student = points(), network(Toy(), seed=1)

    def look(net: Any, arguments: Any) -> None:
        if len(arguments[0]) == ROWS:
            return  # the network is tried before it trains
        if not seen:
            assert same(dict(net.state_dict()), dict(teacher.network.state_dict()))
        seen.append(arguments[0].detach().clone())

    student.register_forward_pre_hook(look)
    objective = TwoModel(max_steps=8, pairs=100, pair_steps=3)
    fit(student, objective, teacher.task, run=tmp_path, training=TRAINING, teacher=teacher, quiet=True)
    noises = {tuple(row.tolist()) for row in sample_noise_of(tmp_path)}
    assert len(seen[0]) == 16
    assert {tuple(row.tolist()) for row in seen[0]} <= noises


def sample_noise_of(run: Path) -> Tensor:
    return torch.cat([safetensors.torch.load_file(path)["noise"] for path in sorted(run.glob("pairs/*.safetensors"))])


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teachers")
    train(place / "flow", "--objective", "flow", options=POINTS)
    train(place / "shortcut", options=POINTS)
    train(place / "digits", "--objective", "flow")
    return place


WRONG = {
    "another task": ("reflow", "digits", "events of shape (1, 8, 8) with conditions ['label'], not (2,) with []"),
    "another task, two models": ("two-model", "digits", "choose one that was trained on this task"),
    "another method": ("progressive", "shortcut", "must be trained with --objective flow (or reflow): choose another"),
    "another method, cd": ("consistency-distillation", "shortcut", "must be trained with --objective flow"),
    "conditioned_step_size": (
        "progressive --objective.conditioned-step-size 1",
        "flow",
        "was trained with step size 0: pass --objective.conditioned-step-size 0",
    ),
    "width": ("progressive --network.width 24", "flow", "the teacher's network has width 16, not 24"),
    "more steps than it has": (
        "reflow",
        "flow",
        "the teacher takes at most 8 steps: pass fewer --objective.pair-steps",
    ),
    "no teacher wanted": ("flow", "flow", "this objective learns from data alone: leave --teacher out"),
    "no teacher wanted either": ("shortcut", "flow", "this objective learns from data alone: leave --teacher out"),
    "not there": ("progressive", "nowhere", "nowhere does not exist: pass a run directory or a model file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_teacher_that_does_not_fit_is_refused_in_one_line(teachers: Path, tmp_path: Path, name: str) -> None:
    objective, teacher, message = WRONG[name]
    words = (*POINTS, "--objective", *objective.split(), "--teacher", teachers / teacher, "--run", tmp_path / "run")
    assert_refused(words, message, unchanged=tmp_path)


def test_another_teacher_than_before_is_refused(teachers: Path, tmp_path: Path) -> None:
    words = ("--objective", "reflow", "--objective.pairs", 50, "--objective.pair-steps", 2)
    train(tmp_path / "run", *words, "--teacher", teachers / "flow", options=POINTS)
    train(tmp_path / "run", *words, "--teacher", teachers / "flow", options=POINTS)  # the same again is none
    words = (*POINTS, *words, "--teacher", teachers / "shortcut", "--run", tmp_path / "run")
    assert_refused(words, "was started with another --teacher: pass that one")
