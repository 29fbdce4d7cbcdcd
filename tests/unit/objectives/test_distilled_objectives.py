"""Methods that learn from a trained model or from themselves: targets, and the step sizes the network is given."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.oracle import Call, ClassOracle, GaussianOracle, Spy, column
from shortcut_models.base import Batch, Network, Objective, PairBatch, T, X
from shortcut_models.objectives import (
    ConsistencyDistillation,
    ConsistencyTraining,
    Diffusion,
    FlowMatching,
    LiveReflow,
    ProgressiveDistillation,
    Reflow,
    TwoModel,
)

MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
ORACLE = GaussianOracle(MEAN, 0.3)
CLASSES = ClassOracle(
    torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]], dtype=torch.float64),
    torch.tensor([0.25, -0.5], dtype=torch.float64),
    0.4,
)
STAGES = [(i + 0.5) / 7 for i in range(7)]


class Over(Network):
    """The exact average velocity over a step of one size, or to the end of the path; d does not matter."""

    def __init__(self, oracle: Network, d: float | None = None) -> None:
        super().__init__()
        self.oracle, self.d = oracle, d

    def encode(self, cond: Any, drop: Tensor | None = None) -> Any:
        return self.oracle.encode(cond, drop)

    def forward(self, x: X, t: T, d: T, context: Any = None) -> X:
        return self.oracle(x, t, 1 - t if self.d is None else torch.full_like(t, self.d), context)


def batch_of(rows: int = 200) -> Batch:
    return Batch(2 * torch.randn(rows, 2, dtype=torch.float64), {"label": torch.arange(rows) % 3})


def paired(rows: int = 50) -> PairBatch:
    batch, drop = batch_of(rows), torch.zeros(rows, dtype=torch.bool)
    return PairBatch(data=batch.data, cond=batch.cond, noise=torch.randn(rows, 2, dtype=torch.float64), drop=drop)


@pytest.mark.parametrize("stage", range(7))
def test_two_exact_half_steps_are_the_exact_step(stage: int) -> None:
    objective, batch, d = ProgressiveDistillation(), batch_of(), 2.0**stage / 64
    level = objective.level(STAGES[stage])
    draws = objective.draw(batch, level)
    x, target = objective.targets(Spy(), Over(ORACLE, d / 2), batch, draws, level)
    assert torch.equal((draws.t / d).frac(), torch.zeros(200))
    assert len(draws.t.unique()) > min(1 / d, 20) / 2
    torch.testing.assert_close(target, ORACLE(x, draws.t, torch.full((200,), d)), rtol=0, atol=1e-5)
    losses = objective.losses(Over(ORACLE, d), Spy(), batch, progress=STAGES[stage], teacher=Over(ORACLE, d / 2))
    assert losses.per_example.max() < 1e-10


@pytest.mark.parametrize("stage", range(7))
def test_only_the_first_stage_is_guided(stage: int) -> None:
    """Later ones would guide what is guided already, and the weight would compound."""
    objective, batch = ProgressiveDistillation(guidance=3.0, label_dropout=0.4), batch_of()
    level, d = objective.level(STAGES[stage]), 2.0**stage / 64
    draws = objective.draw(batch, level)
    x, target = objective.targets(Spy(), Over(CLASSES, d / 2), batch, draws, level)
    weight = 3.0 if stage == 0 else 1.0
    mean = CLASSES.mean + weight * (CLASSES.encode(batch.cond, draws.drop) - CLASSES.mean)
    torch.testing.assert_close(target, CLASSES(x, draws.t, torch.full((200,), d), mean), rtol=0, atol=1e-9)


@pytest.mark.parametrize("max_steps", [1, 2, 16, 128])
def test_an_exact_step_and_an_exact_teacher_give_the_exact_way_to_the_end(max_steps: int) -> None:
    objective, batch = ConsistencyDistillation(max_steps=max_steps), batch_of()
    draws = objective.draw(batch, objective.level(0.0))
    x, target = objective.targets(Over(ORACLE), Over(ORACLE, 1 / max_steps), batch, draws, objective.level(0.0))
    assert torch.equal((draws.t * max_steps).frac(), torch.zeros(200))
    torch.testing.assert_close(target, ORACLE(x, draws.t, 1 - draws.t), rtol=0, atol=1e-5)


def test_the_step_is_the_sources_and_the_rest_the_teachers() -> None:
    """With constant velocities, 3 for the teacher and 5 for the target_net, the mean is known by hand."""
    objective, batch = ConsistencyDistillation(max_steps=4), batch_of()
    draws = objective.draw(batch, objective.level(0.0))
    constant = lambda value: Spy(lambda call: torch.full_like(call.x, value))
    _, target = objective.targets(constant(5.0), constant(3.0), batch, draws, objective.level(0.0))
    left = column(1 - draws.t, target)
    torch.testing.assert_close(target, (3 * 0.25 + 5 * (left - 0.25)) / left * torch.ones(200, 2, dtype=torch.float64))


def test_the_source_of_a_consistency_model_is_guided_and_its_teacher_is_not() -> None:
    objective, batch = ConsistencyDistillation(guidance=3.0, label_dropout=0.4), batch_of()
    teacher, target_net = Spy(CLASSES), Spy(CLASSES)
    draws = objective.draw(batch, objective.level(0.0))
    x, _ = objective.targets(target_net, teacher, batch, draws, objective.level(0.0))
    assert len(teacher.calls[0].x) == 400
    mean = CLASSES.mean + 3 * (CLASSES.encode(batch.cond, draws.drop) - CLASSES.mean)
    neighbour = x + CLASSES(x, draws.t, torch.zeros(200), mean) / 128
    (seen,) = target_net.calls
    torch.testing.assert_close(seen.x, neighbour, rtol=0, atol=1e-9)
    assert torch.equal(seen.label, torch.where(draws.drop, -1, batch.cond["label"]))


@pytest.mark.parametrize("level", range(7))
def test_consistency_training_on_a_single_point(level: int) -> None:
    """All paths end there, so the exact target_net gives the straight line; one that answers 0 gives a share of it."""
    objective, batch, d = ConsistencyTraining(), batch_of(), 2.0**-level
    batch.data = MEAN.expand(200, 2).clone()
    draws = objective.draw(batch, level)

    def to_the_point(call: Call) -> Tensor:
        left = column(1 - call.t, call.x)
        return torch.where(left > 0, (MEAN - call.x) / torch.where(left > 0, left, 1), 0)

    _, target = objective.targets(Spy(to_the_point), None, batch, draws, level)
    line = MEAN - draws.noise
    torch.testing.assert_close(target, line, rtol=0, atol=1e-9)
    _, target = objective.targets(Spy(), None, batch, draws, level)
    torch.testing.assert_close(target, d * line / column(1 - draws.t, line), rtol=0, atol=1e-9)
    losses = objective.losses(Spy(to_the_point), Spy(to_the_point), batch, progress=STAGES[level])
    assert losses.per_example.max() < 1e-10


@pytest.mark.parametrize("max_steps", [2, 8, 128, 256])
def test_the_distance_shrinks_and_the_step_grows_as_training_goes_on(max_steps: int) -> None:
    levels = int(math.log2(max_steps))
    for stage in range(levels):
        for progress in (stage / levels, (stage + 0.5) / levels, (stage + 1) / levels - 1e-6):
            net, target_net, teacher = Spy(), Spy(), Spy()
            batch = batch_of(64)
            ConsistencyTraining(max_steps=max_steps).losses(net, target_net, batch, progress=progress)
            assert set((target_net.calls[0].t - net.calls[0].t).tolist()) == {2.0**-stage}
            ProgressiveDistillation(max_steps=max_steps).losses(Spy(), Spy(), batch, progress=progress, teacher=teacher)
            first, second = teacher.calls
            assert set((second.t - first.t).tolist()) == {2.0**stage / max_steps}
    # As for the held-out loss at the very end.
    assert ConsistencyTraining(max_steps=max_steps).level(1.0) == levels - 1
    assert ProgressiveDistillation(max_steps=max_steps).level(1.0) == 0


@pytest.mark.parametrize("objective", [Reflow(label_dropout=0.0), TwoModel(label_dropout=0.0)])
def test_pairs_are_learned_with_their_own_noise(objective: Objective) -> None:
    batch = paired()
    line = batch.data - batch.noise
    spy = Spy(lambda call: line)
    assert objective.losses(spy, Spy(), batch).per_example.max() == 0
    (seen,) = spy.calls
    torch.testing.assert_close(seen.x, batch.noise + column(seen.t, line) * line)
    assert (seen.t == 0).all() == isinstance(objective, TwoModel)
    assert torch.equal(seen.label, batch.cond["label"])
    unpaired = Batch(batch.data, batch.cond)
    assert objective.losses(Spy(lambda call: line), Spy(), unpaired).per_example.min() > 0


@pytest.mark.parametrize(("guidance", "share"), [(1.0, 0.125), (0.0, 0.5), (2.0, 1.0)])
def test_live_reflow_learns_lines_to_its_own_samples(guidance: float, share: float) -> None:
    objective = LiveReflow(max_steps=32, bootstrap_fraction=share, guidance=guidance, self_steps=4, label_dropout=0.0)
    batch = batch_of(80)
    target_net = Spy(Over(CLASSES, 1 / 4))
    net, own = Spy(), round(80 * share)
    losses = objective.losses(net, target_net, batch)
    (seen,) = net.calls
    assert seen.d.tolist() == [1.0] * own + [1 / 32] * (80 - own)
    assert torch.equal((seen.t * 32).frac(), torch.zeros(80))
    assert {tuple(call.d.unique().tolist()) for call in target_net.calls} == {(1 / 32,)}
    assert [call.t[0].item() for call in target_net.calls] == [0, 0.25, 0.5, 0.75]
    assert [len(losses.logs[name]) for name in ("flow", "own")] == [80 - own, own]

    draws = objective.draw(batch)
    x, target, step_cond = objective.targets(target_net, batch, draws, own)
    assert torch.equal(step_cond, seen.d)
    mean = CLASSES.mean + guidance * (CLASSES.encode(batch.cond) - CLASSES.mean)
    data = torch.cat([(mean + CLASSES.std * draws.noise)[:own], batch.data[own:]])  # the exact end of the noise
    torch.testing.assert_close(target, data - draws.noise, rtol=0, atol=1e-9)
    torch.testing.assert_close(x, draws.noise + column(draws.t, x) * (data - draws.noise), rtol=0, atol=1e-9)


@pytest.mark.parametrize("guidance", [1.0, 0.0, 2.0])
def test_live_reflow_learns_without_a_label_what_was_made_without(guidance: float) -> None:
    """The end of such a noise is that of all classes' mean, whatever the guidance."""
    objective = LiveReflow(max_steps=32, guidance=guidance, self_steps=4, label_dropout=0.5)
    batch = batch_of(80)
    draws = objective.draw(batch)
    _, target, _ = objective.targets(Over(CLASSES, 1 / 4), batch, draws, 40)
    alone = draws.drop[:40]
    assert 5 < alone.sum() < 35
    wanted = CLASSES.mean + (CLASSES.std - 1) * draws.noise[:40][alone]
    torch.testing.assert_close(target[:40][alone], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 32])
def test_live_reflow_keeps_its_share_in_small_batches(rows: int) -> None:
    draws, counts = 4000 // rows, []
    objective = LiveReflow()
    for _ in range(draws):
        counts.append(objective.num_self_rows(rows))
    wanted, chance = rows / 8, (rows / 8) % 1
    assert {math.floor(wanted), math.ceil(wanted)} >= set(counts)
    assert abs(sum(counts) - draws * wanted) <= 5 * (draws * chance * (1 - chance)) ** 0.5


QUARTERS = [0.0, 0.25, 0.5, 0.75]
STEP_SIZES: list[tuple[Any, set[float], set[float], list[float]]] = [
    # the step sizes while training, those in 4 of 128 steps, and at which times
    (FlowMatching(), {0.0}, {0.0}, QUARTERS),
    (FlowMatching.original(), {1.0}, {1.0}, QUARTERS),
    (Reflow(), {0.0}, {0.0}, QUARTERS),
    (TwoModel(), {1.0}, {1.0}, [0.0]),
    (LiveReflow(), {1.0, 1 / 128}, {1.0}, QUARTERS),
    (ProgressiveDistillation(), {0.0}, {0.0}, QUARTERS),
    (ProgressiveDistillation.original(), {1.0}, {1.0}, QUARTERS),
    (ConsistencyDistillation(), {0.0}, {0.0}, QUARTERS),
    (ConsistencyDistillation.original(), {1.0}, {1.0}, QUARTERS),
    (ConsistencyTraining(), {0.0}, {0.0}, QUARTERS),
    (ConsistencyTraining.original(), {1.0}, {1.0}, QUARTERS),
    (Diffusion(), {0.0}, {0.0}, QUARTERS),
    (Diffusion(sampler="ddpm", prediction="epsilon", schedule="linear"), {0.0}, {0.0}, QUARTERS),
]


@pytest.mark.parametrize(("objective", "training", "sampling", "times"), STEP_SIZES)
def test_the_step_sizes_that_the_network_is_conditioned_on(
    objective: Any, training: set[float], sampling: set[float], times: list[float]
) -> None:
    net, target_net, teacher = Spy(), Spy(), Spy()
    objective.losses(net, target_net, paired(64), teacher=teacher)
    assert set(net.calls[0].d.tolist()) == training
    others = training if not isinstance(objective, LiveReflow) else {1 / 128}
    assert {d for spy in (target_net, teacher) for call in spy.calls for d in call.d.tolist()} <= others
    net.calls.clear()
    objective.sample(net, torch.randn(3, 2), {}, 4)
    assert {d for call in net.calls for d in call.d.tolist()} == sampling
    torch.testing.assert_close(torch.stack([call.t for call in net.calls]), torch.tensor(times)[:, None].repeat(1, 3))


def test_live_reflow_samples_what_it_learned_from_data_in_the_most_steps_alone() -> None:
    for steps, step_size in ((1, 1.0), (2, 1.0), (8, 1.0), (15, 1.0), (16, 1 / 16)):
        spy = Spy()
        LiveReflow(max_steps=16).sample(spy, torch.randn(3, 2), {}, steps)
        assert {d for call in spy.calls for d in call.d.tolist()} == {step_size}
        assert len(spy.calls) == steps


def test_as_the_authors_have_it_mid_point_and_target_are_bounded_at_4() -> None:
    objective = ProgressiveDistillation.original()
    teacher = Spy(lambda call: torch.full_like(call.x, 600.0))
    _, target = objective.targets(Spy(), teacher, batch_of(), objective.draw(batch_of(), 6), 6)
    assert teacher.calls[1].x.abs().max() <= 4
    assert set(target.flatten().tolist()) == {4.0}
