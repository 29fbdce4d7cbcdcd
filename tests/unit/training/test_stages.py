"""Training in stages: at the end of each, what was learned becomes what is learned from."""

from __future__ import annotations

import itertools
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from helpers.oracle import wake
from helpers.runs import same, steps_of, tensors
from helpers.tiny_parts import lines
from shortcut_models.base import Network
from shortcut_models.errors import Stopped
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import ConsistencyTraining, FlowMatching, ProgressiveDistillation
from shortcut_models.tasks import Toy
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training

TASK = Toy(size=200)
OBJECTIVE = ProgressiveDistillation(max_steps=8)
BOUNDARIES = [0, 16, 32, 47]
"""of 47 steps in 3 stages: as even as can be"""
TRAINING = Training(
    train_steps=47, batch_size=16, learning_rate=0.02, warmup=3, checkpoint_every=1, keep=99, log_every=1,
    heldout_every=99, sample_every=99, precision="fp32", device="cpu", compile="off",
)  # fmt: skip


def network(seed: int) -> Network:
    torch.manual_seed(seed)
    return wake(MLPConfig(width=8, depth=1, condition_width=8).build((2,), {}))


def go(run: Path, stop_in: int | None = None, **options: object) -> Model:
    """Train, or resume; a signal to stop comes in the step of that number, 1 being the first of this call."""
    net, steps = network(1), itertools.count(1)

    def ask(*_: object) -> None:
        if torch.is_grad_enabled() and next(steps) == stop_in:
            signal.raise_signal(signal.SIGTERM)

    net.register_forward_pre_hook(ask)
    teacher = Model(network(0), FlowMatching(max_steps=8), TASK, step=7)
    training = replace(TRAINING, **options)  # type: ignore[arg-type]
    return fit(net, OBJECTIVE, TASK, run=run, training=training, teacher=teacher, quiet=True)


def part(found: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(name + "."): value for key, value in found.items() if key.startswith(name + ".")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    torch.manual_seed(0)
    go(run)
    return run


@pytest.fixture(scope="module")
def saved(whole: Path) -> list[dict[str, Tensor]]:
    """All that there was after each step, 1 to 47; the first place is empty."""
    return [{}, *(tensors(whole, step) for step in range(1, 48))]


def test_what_was_learned_becomes_the_source_at_the_boundaries_and_nowhere_else(saved: list[dict[str, Tensor]]) -> None:
    assert same(part(saved[1], "teacher"), network(0).state_dict())
    for step in range(2, 48):
        before, now = (part(saved[i], "teacher") for i in (step - 1, step))
        if step - 1 in BOUNDARIES:
            assert same(now, part(saved[step - 1], "target_net"))
            assert not any(torch.equal(now[name], before[name]) for name in now)
        else:
            assert same(now, before)


def test_the_student_goes_on_from_its_own_weights(saved: list[dict[str, Tensor]]) -> None:
    """One step moves no weight by much more than the learning rate, at a boundary or not."""
    for step in range(2, 48):
        before, now = (part(saved[i], "network") for i in (step - 1, step))
        assert max((now[name] - before[name]).abs().max() for name in now) < 0.02 * 4


def test_the_averages_begin_again_in_each_stage(saved: list[dict[str, Tensor]]) -> None:
    """From the weights at the boundary, with decays (1 + n) / (10 + n) for n = 0, 1, ... until their own is reached."""
    for begin, end in itertools.pairwise(BOUNDARIES):
        start = part(saved[begin], "network") if begin else network(0).state_dict()
        for average, own in (("ema", TRAINING.ema), ("target_net", TRAINING.target_ema)):
            expected = {name: value.double() for name, value in start.items()}
            for step in range(begin + 1, end + 1):
                done = step - begin - 1
                decay, weights = min(own, (1 + done) / (10 + done)), part(saved[step], "network")
                expected = {n: decay * value + (1 - decay) * weights[n].double() for n, value in expected.items()}
                for name, value in part(saved[step], average).items():
                    torch.testing.assert_close(value.double(), expected[name], rtol=1e-4, atol=1e-6)


def test_every_stage_has_the_whole_schedule_of_the_learning_rate(whole: Path) -> None:
    """As a training of its own would have it, with a warm-up of a tenth at most."""
    rates = [line["learning_rate"] for line in lines(whole)]
    expected = []
    for begin, end in itertools.pairwise(BOUNDARIES):
        alone = replace(TRAINING, train_steps=end - begin, warmup=1)
        expected += [alone.learning_rate_at(step) for step in range(end - begin)]
    assert rates == pytest.approx(expected)
    for begin, end in itertools.pairwise(BOUNDARIES):
        assert max(rates[begin:end]) == pytest.approx(0.02)
        assert rates[end - 1] < 0.02 * 0.02


# In the middle of a stage; in its last step, so that the next has not begun; in the first step of the next.
@pytest.mark.parametrize("stops", [(20,), (16,), (17,), (32,), (5, 11, 17), (46,)])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, saved: list[dict[str, Tensor]], stops: tuple[int, ...]
) -> None:
    done = 0
    for steps in stops:
        with pytest.raises(Stopped, match=f"stopped at step {done + steps} of 47"):
            go(tmp_path / "run", steps, checkpoint_every=99)
        done += steps
        assert steps_of(tmp_path / "run")[-1] == done
        assert same(tensors(tmp_path / "run"), saved[done])
    model = go(tmp_path / "run", checkpoint_every=99)
    assert same(tensors(tmp_path / "run"), saved[47])
    assert same(model.network.state_dict(), part(saved[47], "ema"))


@pytest.mark.parametrize("stages", [1, 2, 3, 5, 7, 10])
def test_stages_cover_all_steps_without_a_gap(stages: int) -> None:
    for steps in [*range(1, 60), 127, 1000, 1001, 4001]:
        training, begin, sizes = Training(train_steps=steps, warmup=0), 0, []
        while begin < steps:
            within = training.stage(begin, stages)
            assert within.start == begin
            assert len(within) >= 1
            checked = {begin, within[len(within) // 2], within[-1]}
            assert all(training.stage(step, stages) == within for step in checked)
            sizes.append(len(within))
            begin = within.stop
        assert begin == steps
        if steps >= stages:
            assert len(sizes) == stages
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("max_steps", [2, 8, 128, 1024])
def test_the_objective_and_the_trainer_agree_on_where_a_stage_begins(max_steps: int) -> None:
    """What an objective makes of the share of the steps done is what the trainer makes of the step."""
    objective = ProgressiveDistillation(max_steps=max_steps)
    stages = int(math.log2(max_steps))
    assert objective.stages == stages
    for steps in [*range(stages, 80), 301, 999, 3001]:
        training, step, levels, distances = Training(train_steps=steps), 0, [], []
        while step < steps:
            within = training.stage(step, stages)
            seen = {objective.level(i / steps) for i in (within[0], within[-1])}
            assert len(seen) == 1
            levels.append(seen.pop())
            distances.append(ConsistencyTraining(max_steps=max_steps).level(within[-1] / steps))
            step = within.stop
        assert levels == list(range(stages))[::-1]
        assert distances == list(range(stages))


def test_the_held_out_loss_at_a_boundary_is_of_the_stage_that_ends(tmp_path: Path) -> None:
    """Its target is made with the teacher that the stage had, in steps of the size that it learned."""
    teacher = Model(network(0), FlowMatching(max_steps=8), TASK)
    training = replace(TRAINING, heldout_every=16, checkpoint_every=99, log_every=99, side_share=1.0)
    original = ProgressiveDistillation.draw
    levels: list[int] = []

    def draw(self: ProgressiveDistillation, batch: object, level: int) -> object:
        if not torch.is_grad_enabled():
            levels.append(level)
        return original(self, batch, level)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressiveDistillation, "draw", draw)
        fit(network(1), OBJECTIVE, TASK, run=tmp_path, training=training, teacher=teacher, quiet=True)
    batches = -(-(47 * 16 // 20) // 16)  # of a twentieth of the examples that are trained on
    assert levels == [2] * batches + [1] * batches + [0] * batches
