"""The objectives' original presets against numbers that the paper's own code produced."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.original_fixtures import fixtures, group, network
from shortcut_models.base import Batch, Network
from shortcut_models.objectives import (
    ConsistencyDistillation,
    ConsistencyTraining,
    FlowMatching,
    LiveReflow,
    ProgressiveDistillation,
    Shortcut,
)
from shortcut_models.objectives._shared import Draws
from shortcut_models.objectives.shortcut import Draws as ShortcutDraws

TOLERANCE = 1e-5
NULL = 10
"""the label that means none"""


def nchw(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def gap(ours: Tensor, theirs: np.ndarray) -> float:
    """The largest difference, over the largest value."""
    expected = nchw(theirs)
    return float((ours - expected).abs().max() / expected.abs().max())


def batch_and_draws(found: Mapping[str, np.ndarray]) -> tuple[Batch, Draws]:
    """The recorded draws; labels that were dropped are already replaced in them."""
    label = torch.from_numpy(found["labels_used"]).long()
    batch = Batch(nchw(found["images"]), {"label": label})
    return batch, Draws(nchw(found["noise"]), torch.from_numpy(found["t"]), torch.zeros(len(label), dtype=torch.bool))


def progress_of(found: Mapping[str, np.ndarray]) -> float:
    step, steps = found["step_and_max"]
    return float(step / steps)


def check(ours: tuple[Tensor, ...], found: Mapping[str, np.ndarray], order: Any = slice(None)) -> None:
    assert gap(ours[0], found["x_t"][order]) < TOLERANCE
    assert gap(ours[1], found["v_target"][order]) < TOLERANCE


def test_flow_matching() -> None:
    found = group("naive")
    check(FlowMatching.original().targets(*batch_and_draws(found)), found)


@pytest.mark.parametrize("stage", ["stage0", "late"])
@pytest.mark.parametrize("guided", [False, True])
def test_progressive_distillation(stage: str, guided: bool) -> None:
    found = group(f"progressive_{stage}_cfg{int(guided)}")
    objective = ProgressiveDistillation.original(guidance=1.5 if guided else 1.0)
    batch, draws = batch_and_draws(found)
    level = objective.level(progress_of(found))
    check(objective.targets(network("student", ema=True), network("teacher", ema=True), batch, draws, level), found)
    assert 2.0**-level == 2.0 ** -{"stage0": 6, "late": 0}[stage]


def test_consistency_distillation() -> None:
    found = group("consistency_distillation")
    target_net, teacher = network("student", ema=True), network("teacher", ema=True)
    objective, (batch, draws) = ConsistencyDistillation.original(), batch_and_draws(found)
    check(objective.targets(target_net, teacher, batch, draws, objective.level(0.0)), found)


@pytest.mark.parametrize("step", [50, 500, 990])
def test_consistency_training(step: int) -> None:
    found = group(f"consistency_training_{step}")
    objective, (batch, draws) = ConsistencyTraining.original(), batch_and_draws(found)
    level = objective.level(progress_of(found))
    check(objective.targets(network("student", ema=True), None, batch, draws, level), found)


@pytest.mark.parametrize("weight", [0, 1.5])
def test_live_reflow(weight: float) -> None:
    """There, the flow rows are the first of the batch once more, behind those that the network makes itself."""
    found = group(f"live_reflow_cfg{weight}")
    own = int((found["dt_base"] == 0).sum())
    rows = np.concatenate([np.arange(own), np.arange(len(found["dt_base"]) - own)])
    batch = Batch(nchw(found["images"][rows]), {"label": torch.from_numpy(found["labels_used"]).long()})
    t = torch.from_numpy(found["t"])
    draws = Draws(nchw(found["noise"][rows]), t, torch.zeros(len(t), dtype=torch.bool))
    objective = LiveReflow.original(guidance=float(weight))
    x, target, step_cond = objective.targets(network("student", ema=False), batch, draws, own)
    check((x, target), found)
    assert torch.equal(-torch.log2(step_cond), torch.from_numpy(found["dt_base"]).float())


def shortcut_case(found: Mapping[str, np.ndarray], guided: bool) -> tuple[Batch, ShortcutDraws, np.ndarray]:
    """The recorded draws in our order, levels ascending among the bootstrap rows, and that order.

    There, the flow rows are the first of the batch once more, behind the bootstrap rows.
    """
    n, rows = len(found["noise_bootstrap"]), len(found["t"])
    first = np.argsort(found["dt_base"][:n], kind="stable")
    order, from_batch = np.concatenate([first, np.arange(n, rows)]), np.concatenate([first, np.arange(rows - n)])
    used = torch.from_numpy(found["labels_used"][order]).long()
    draws = ShortcutDraws(
        noise=nchw(np.concatenate([found["noise_bootstrap"][first], found["noise_flow"][: rows - n]])),
        level=torch.from_numpy(found["dt_base"][order]).long(),
        t=torch.from_numpy(found["t"][order]),
        drop=used == NULL,
        bootstrap=n,
        guided=n // 7 if guided else 0,
    )
    labels = torch.from_numpy(found["labels"][from_batch]).long()
    return Batch(nchw(found["images"][from_batch]), {"label": labels}), draws, order


@pytest.mark.parametrize("variant", ["shortcut", "shortcut_no_ema", "shortcut_cfg", "shortcut_dt_bias"])
def test_shortcut(variant: str) -> None:
    found = group(variant)
    config = json.loads(str(found["config"]))
    objective = Shortcut.original(guidance=config["cfg_scale"] if config["bootstrap_cfg"] else 1.0)
    batch, draws, order = shortcut_case(found, bool(config["bootstrap_cfg"]))
    target_net = network("student", ema=bool(config["bootstrap_ema"]))
    check(objective.targets(target_net, batch, draws), found, order)


class Recorded(Shortcut):
    """The shortcut objective with the draws that were recorded."""

    def draw(self, batch: Batch) -> ShortcutDraws:
        return DRAWS.pop(0)


DRAWS: list[ShortcutDraws] = []


def test_five_training_steps() -> None:
    """Through our own trainer: losses, gradient norms, and all parameters and their average afterwards."""
    from shortcut_models.tasks import ImportedModel
    from shortcut_models.training.options import Training
    from shortcut_models.training.state import State
    from shortcut_models.training.step import train_step

    cases = [shortcut_case(group(f"trajectory/{step}"), guided=False) for step in range(5)]  # skips where trimmed
    expected = group("trajectory")
    training = Training(
        train_steps=5, batch_size=64, learning_rate=1e-4, warmup=0, schedule="constant", beta2=0.999, weight_decay=0.1,
        clip=1e9, ema=0.999, target_ema=0.999, ema_warmup=False, precision="fp32", device="cpu",
    )  # fmt: skip
    objective = Recorded(sigma_min=1e-5, clip=4.0)
    state = State.new(network("teacher", ema=False), objective, training, torch.device("cpu"))
    for average in (state.ema, state.target_net):
        average.load_state_dict(network("teacher", ema=True).state_dict())
    task = ImportedModel(shape=(4, 8, 8), classes=10)
    for step, (batch, draws, _) in enumerate(cases):
        DRAWS.append(draws)
        figures = train_step(state, batch, task, training)
        assert float(figures["loss"]) == pytest.approx(float(expected["losses"][step]), rel=TOLERANCE)
        assert float(figures["gradient_norm"]) == pytest.approx(float(expected["grad_norms"][step]), rel=TOLERANCE)
    for which, module in (("final_params", state.network), ("final_ema", state.ema)):
        compare(module, {k.removeprefix(f"{which}/"): v for k, v in expected.items() if k.startswith(which)})


def compare(module: Network, expected: Mapping[str, np.ndarray]) -> None:
    """Every parameter but the table that the original never uses.

    A bias of keys shifts all scores of a query alike: its gradient is nothing but rounding, which AdamW scales up to
    whole steps. Those agree to what five steps can move them, and not to any share of it.
    """
    from shortcut_models.original.network import flat_parameters

    ours = flat_parameters(module)
    assert set(expected) - set(ours) == {"Embed_0.embedding"}
    assert set(ours) <= set(expected)
    for name, value in ours.items():
        of_keys = re.fullmatch(r"DiTBlock_\d+\.Dense_1\.bias", name)
        allowed = 5 * 1e-4 if of_keys else 1e-4 * np.abs(expected[name]).max()
        assert np.abs(value - expected[name]).max() <= allowed, name


def test_there_is_something_to_compare_with() -> None:
    assert len(fixtures()) > 50
