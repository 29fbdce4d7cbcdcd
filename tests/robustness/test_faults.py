"""Steps whose loss or gradient is not finite: skipped, counted, and after ten in a row the end."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.regress import TRAINING, Line, Regress, Scale, at, infinite_gradient, lines, nan_loss, train
from helpers.runs import same, steps_of, tensors
from shortcut_models.base import Network
from shortcut_models.errors import UserError
from shortcut_models.training.state import State
from shortcut_models.training.step import MAX_BAD_STEPS, train_step

CPU = torch.device("cpu")


@pytest.mark.parametrize("fault", [nan_loss, infinite_gradient])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(
    tmp_path: Path, fault: Callable[[Network, Tensor], Tensor]
) -> None:
    objective = Regress(before=at({1, 5, 6}, fault))
    train(tmp_path / "run", objective, log_every=1, checkpoint_every=1, keep=12, ema=0.0)
    assert steps_of(tmp_path / "run") == [2, 3, 4, 7, 8, 9, 10, 11, 12]
    assert [line["skipped"] for line in lines(tmp_path / "run")] == [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3]
    final = tensors(tmp_path / "run")
    assert int(final["optimizer.0.step"]) == 9
    assert int(final["skipped"]) == 3
    assert int(final["bad_steps_in_a_row"]) == 0


@pytest.mark.parametrize("fault", [nan_loss, infinite_gradient])
def test_the_weights_of_a_skipped_step_are_those_before(fault: Callable[[Network, Tensor], Tensor]) -> None:
    objective = Regress(before=at({3, 4}, fault))
    state, raw = State.new(Scale(), objective, TRAINING, CPU), Line().dataset("train")
    seen = []
    for step in range(5):
        train_step(state, raw.__getitems__(list(range(step, step + 8))), Line(), TRAINING)
        learnt = {name: value.clone() for name, value in state.tensors().items() if name[:3] in ("net", "opt")}
        seen.append(learnt)
    assert same(seen[1], seen[2])
    assert same(seen[1], seen[3])
    assert not same(seen[0], seen[1])
    assert not torch.equal(seen[3]["network.w"], seen[4]["network.w"])
    assert torch.isfinite(torch.cat([value.flatten() for value in seen[4].values()])).all()


def test_a_part_that_is_not_finite_skips_the_whole_step(tmp_path: Path) -> None:
    objective = Regress(before=at({6}, nan_loss))  # the second part of the third step
    train(tmp_path / "run", objective, accumulate=2, log_every=1)
    assert [line["skipped"] for line in lines(tmp_path / "run")][:4] == [0, 0, 1, 1]


def test_ten_in_a_row_end_the_run_and_the_last_good_checkpoint_stays(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(whole, train_steps=30, checkpoint_every=4, keep=20)
    objective = Regress(before=at(set(range(8, 31)), nan_loss))
    message = f"not finite in {MAX_BAD_STEPS} steps in a row, up to step 17: .* --learning-rate"
    with pytest.raises(UserError, match=message):
        train(tmp_path / "run", objective, train_steps=30, checkpoint_every=4, keep=1)
    assert steps_of(tmp_path / "run") == [4]
    assert same(tensors(tmp_path / "run", 4), tensors(whole, 4))
    with pytest.raises(UserError, match="not finite"):
        train(
            tmp_path / "run",
            Regress(before=at(set(range(4, 31)), nan_loss)),
            train_steps=30,
            checkpoint_every=4,
            keep=1,
        )
    assert steps_of(tmp_path / "run") == [4]


def test_nine_in_a_row_do_not_end_a_run(tmp_path: Path) -> None:
    bad = set(range(2, 11)) | set(range(12, 21))
    train(tmp_path / "run", Regress(before=at(bad, nan_loss)), train_steps=24)
    assert lines(tmp_path / "run")[-1]["skipped"] == 18


def test_ten_in_a_row_are_counted_across_a_resumption(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    def crash(net: Network, loss: Tensor) -> Tensor:
        raise Crash

    def act(net: Network, loss: Tensor) -> Tensor:
        return nan_loss(net, loss)

    with pytest.raises(Crash):
        train(tmp_path / "run", Regress(before=at({9}, crash)), train_steps=30, checkpoint_every=2)
    assert steps_of(tmp_path / "run") == [4, 6, 8]
    with pytest.raises(UserError, match="up to step 18"):
        train(tmp_path / "run", Regress(before=at(set(range(1, 30)), act)), train_steps=30, checkpoint_every=2)
    assert steps_of(tmp_path / "run") == [4, 6, 8]


def test_a_fault_in_the_last_step_is_survived_where_the_weights_are_sound(tmp_path: Path) -> None:
    train(tmp_path / "run", Regress(before=at({12}, nan_loss)), checkpoint_every=5)
    assert steps_of(tmp_path / "run") == [5, 10, 12]


def test_a_run_without_a_single_good_step_is_not_trained(tmp_path: Path) -> None:
    """Though it is over before ten of them, and its first weights are sound."""
    with pytest.raises(
        UserError, match="not finite in 6 steps in a row, up to step 6: look for bad values in the data"
    ):
        train(tmp_path / "run", Regress(before=at(set(range(1, 7)), nan_loss)), train_steps=6)
    assert steps_of(tmp_path / "run") == []


def test_weights_that_are_spoilt_at_the_end_replace_no_checkpoint(tmp_path: Path) -> None:
    def spoil(net: Network, loss: Tensor) -> Tensor:
        with torch.no_grad():
            net.c.fill_(math.inf)  # type: ignore[operator]
        return loss * math.nan

    with pytest.raises(UserError, match="not finite in 1 steps in a row"):
        train(tmp_path / "run", Regress(before=at({12}, spoil)), checkpoint_every=5, keep=1)
    assert steps_of(tmp_path / "run") == [10]


def test_pictures_of_a_network_that_diverges_do_not_stop_it(tmp_path: Path) -> None:
    def spoil(net: Network, loss: Tensor) -> Tensor:
        with torch.no_grad():
            net.c.fill_(math.inf)  # type: ignore[operator]
        return loss * math.nan

    with (
        pytest.warns(UserWarning, match=r"no picture of step \d+: the samples are not finite"),
        pytest.raises(UserError, match="in a row, up to step 14"),
    ):
        train(tmp_path / "run", Regress(before=at({5}, spoil)), train_steps=20, sample_every=1)
    assert sorted(os.listdir(tmp_path / "run" / "samples"))[-1] == "step_00000004.png"
