"""Defects seen in other implementations, and where each would be caught.

1. Few bootstrap rows train d = 1 alone: test_shortcut.py::test_levels_and_times_that_the_network_sees (batches of 1 to
   256 rows), test_path.py::test_every_level_has_its_share_of_the_rows; live reflow's share of a small batch in
   test_distilled_objectives.py::test_live_reflow_keeps_its_share_in_small_batches.
2. d = 1 is never trained: the same tests of the shortcut; the stages of the others, first and last, in
   test_distilled_objectives.py::test_the_distance_shrinks_and_the_step_grows_as_training_goes_on and
   test_stages.py::test_the_objective_and_the_trainer_agree_on_where_a_stage_begins.
3. t off the grid, or t + d above 1: test_shortcut.py::test_levels_and_times_that_the_network_sees and test_other_grids;
   for the others here.
4. Losses of two kinds of rows averaged apart: test_shortcut.py::
   test_losses_and_gradients_equal_a_reference_written_row_by_row, test_train.py::test_a_batch_in_parts_is_the_batch;
   for live reflow here.
5. Targets from the online network, EMA never used: test_shortcut.py (the same reference, with a target_net unlike the
   network), test_train.py::test_averages_forget_the_start_as_their_decays_say, test_stages.py::
   test_the_averages_begin_again_in_each_stage; for all methods, and for what is saved and judged, here.
6. Labels dropped but passed on to the target_net, or not dropped there: test_shortcut.py::
   test_labels_reach_network_and_teacher_less_those_dropped, test_flow.py::
   test_labels_reach_the_network_less_those_dropped; for all others here.
7. Resuming forgets the optimiser and every schedule: test_resume.py::
   test_a_run_that_crashed_ends_as_one_that_did_not, test_kill.py, test_stages.py::
   test_a_run_that_was_stopped_ends_as_one_that_was_not, test_pairs.py::
   test_a_run_on_pairs_goes_on_as_if_nothing_had_happened.
8. Fewer samples judged than asked for: here.
9. Guidance compounds: test_shortcut.py::test_guided_targets_of_gaussians_have_their_mean_moved_on_a_line,
   test_distilled_objectives.py::test_only_the_first_stage_is_guided and
   test_live_reflow_learns_lines_to_its_own_samples (guided samples come from the steps that were not); a whole chain
   of stages here.
10. Times change too slowly to be distinguished: test_networks.py::test_neighbouring_times_are_told_apart and
    test_a_new_network_tells_times_and_step_sizes_apart; for diffusion's thousand timesteps here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.contract import every_variant
from helpers.objective_variants import VARIANTS
from helpers.oracle import ClassOracle, Spy, batch_of, random_network, wake
from helpers.runs import same
from shortcut_models.base import Batch, Losses, Network, Objective
from shortcut_models.evaluation.evaluate import evaluate
from shortcut_models.models import checkpoint
from shortcut_models.models.loading import load
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.networks.layers import TimeStepEmbedding
from shortcut_models.objectives import OBJECTIVES, ConsistencyDistillation, LiveReflow, ProgressiveDistillation
from shortcut_models.tasks import Toy
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training

ON_A_GRID = [name for name in VARIANTS if not name.startswith(("flow", "reflow", "two-model", "diffusion"))]


class Seen(NamedTuple):
    """The losses of a batch, and what each network was asked."""

    losses: Losses
    net: Spy
    target_net: Spy
    teacher: Spy


def watched(
    objective: Objective, batch: Batch, seeds: tuple[int, int, int] = (1, 2, 3), draw: int = 0, progress: float = 0.0
) -> Seen:
    net, target_net, teacher = (Spy(random_network(seed=seed)) for seed in seeds)
    torch.manual_seed(100 + draw)
    return Seen(objective.losses(net, target_net, batch, progress=progress, teacher=teacher), net, target_net, teacher)


@pytest.mark.parametrize("name", ON_A_GRID)
def test_times_are_on_the_grid_and_no_step_leads_over_the_end(name: str) -> None:
    """Defect 3: whichever network is asked, at whichever time of training."""
    objective = VARIANTS[name]
    for draw in range(7):
        seen = watched(objective, batch_of(40), draw=draw, progress=(draw + 0.5) / 7)
        for spy in (seen.net, seen.target_net, seen.teacher):
            for call in spy.calls:
                samples = isinstance(objective, LiveReflow) and spy is seen.target_net  # a grid of its own, of 8 steps
                grid = objective.self_steps if samples else 2 * objective.max_steps
                on = call.t * grid
                torch.testing.assert_close(on, on.round(), rtol=0, atol=1e-5)
                assert call.t.min() >= 0
                assert call.t.max() <= 1
        (own,) = seen.net.calls
        assert torch.equal((own.t * objective.max_steps).frac(), torch.zeros(40))
        assert own.t.max() < 1


def test_rows_of_both_kinds_weigh_the_same() -> None:
    """Defect 4, for live reflow: a row's share of the gradient does not depend on how many are of its kind."""
    objective, batch = LiveReflow(bootstrap_fraction=0.25, label_dropout=0.0), batch_of(8)
    seen = watched(objective, batch)
    own = int((seen.net.calls[0].d == 1).sum())
    assert own == 2
    parameters = list(seen.net.parameters())
    whole = torch.autograd.grad(seen.losses.per_example.mean(), parameters, retain_graph=True, allow_unused=True)
    rows = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in seen.losses.per_example
    ]
    for mine, *each in zip(whole, *rows, strict=True):
        if mine is not None:
            torch.testing.assert_close(mine, torch.stack(each).mean(0), rtol=1e-6, atol=1e-9)
    assert torch.equal(torch.cat([seen.losses.logs["own"], seen.losses.logs["flow"]]), seen.losses.per_example)


@every_variant
def test_targets_are_never_made_with_the_network_that_learns(objective: Objective) -> None:
    """Defect 5: it is called once, with its gradient; another target network or teacher changes only the targets."""
    batch = batch_of(40)
    seen = watched(objective, batch, progress=0.3)
    assert len(seen.net.calls) == 1
    assert bool(seen.teacher.calls) == (objective.requires == "teacher")
    teacher_asked = objective.uses_target_net and not isinstance(objective, ProgressiveDistillation)
    assert bool(seen.target_net.calls) == teacher_asked  # its average teaches the next stage, and this one not at all
    other = watched(objective, batch, (1, 4, 5), progress=0.3)
    for mine, theirs in zip(seen.net.calls, other.net.calls, strict=True):
        rows = mine.d != 1 if isinstance(objective, LiveReflow) else torch.ones(40, dtype=torch.bool)
        assert torch.equal(mine.x[rows], theirs.x[rows])
    learns_from_another = objective.uses_target_net or objective.requires == "teacher"
    assert torch.equal(seen.losses.per_example, other.losses.per_example) != learns_from_another


@pytest.mark.parametrize("method", [ProgressiveDistillation, ConsistencyDistillation])
def test_where_the_teacher_is_missing_no_other_network_replaces_it(method: Any) -> None:
    with pytest.raises(TypeError, match="teacher"):
        method().losses(random_network(seed=1), random_network(seed=2), batch_of(4))


@every_variant
def test_a_method_says_whether_its_targets_follow_a_schedule(objective: Objective) -> None:
    """Defect 7, for a run that is made longer: its schedule would restart."""
    batch = batch_of(40)
    begin, end = (watched(objective, batch, progress=progress).losses.per_example for progress in (0.0, 0.99))
    assert objective.has_schedule != torch.equal(begin, end)


@pytest.mark.parametrize("name", ["shortcut", "live-reflow", "consistency-training", "diffusion"])
def test_what_is_saved_sampled_and_judged_is_the_average(name: str, tmp_path: Path) -> None:
    """Defect 5: not the weights that were trained."""
    task, seen = Toy(size=200), []
    torch.manual_seed(0)
    net = MLPConfig(width=8, depth=1).build(task.shape, task.conditions)
    training = Training(train_steps=5, batch_size=16, warmup=0, precision="fp32", device="cpu", compile="off")
    model = fit(net, OBJECTIVES[name](max_steps=4), task, run=tmp_path, training=training, quiet=True)  # type: ignore[call-arg]
    (path,) = checkpoint.list_checkpoints(tmp_path / "checkpoints")
    saved, _ = checkpoint.read(path / checkpoint.MODEL)
    state, _ = checkpoint.read(path / checkpoint.STATE)
    trained = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    assert same(saved, dict(model.network.state_dict()))
    assert same(saved, dict(load(tmp_path).network.state_dict()))
    assert not same(saved, trained)
    model.network.register_forward_pre_hook(lambda module, _: seen.append(module))
    evaluate(model, [1], 5, quiet=True)
    assert set(seen) == {model.network}


@every_variant
def test_the_rows_that_lose_their_label_lose_it_wherever_they_go(objective: Objective) -> None:
    """Defect 6. Each row has a label of its own, by which it is known wherever it goes.

    Nor does live reflow make a sample with a label that it then learns without.
    """
    rows, lost = 40, 0
    labels = torch.arange(rows)
    for draw in range(10):
        net, target_net, teacher = Spy(), Spy(), Spy()
        batch = Batch(torch.randn(rows, 2, dtype=torch.float64), {"label": labels})
        objective.losses(net, target_net, batch, progress=draw / 10, teacher=teacher)
        (own,) = net.calls
        dropped = own.label < 0
        lost += int(dropped.sum())
        assert torch.equal(own.label, torch.where(dropped, -1, labels))
        for call in (*target_net.calls, *teacher.calls):
            assert not set(call.label.tolist()) & set(labels[dropped].tolist())
            if objective.guidance == 1:  # otherwise, rows are asked without their label as well
                assert torch.equal(call.label, own.label[: len(call.label)])
    assert abs(lost / (10 * rows) - objective.label_dropout) < 5 * math.sqrt(0.1 * 0.9 / (10 * rows))


class Counting(Toy):
    """Keeps the samples that it is to judge."""

    judged: list[tuple[np.ndarray, np.ndarray]] = []  # noqa: RUF012  # shared on purpose

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        self.judged.append((samples, labels))
        return super().evaluate(samples, labels)


@pytest.mark.parametrize(("num", "batch_size"), [(103, 25), (100, 25), (7, 250), (1, 1), (51, 50)])
def test_as_many_samples_are_judged_as_were_asked_for(num: int, batch_size: int) -> None:
    """Defect 8: also where they are not a whole number of batches, and no two are the same."""
    model = Model(wake(MLPConfig(width=8, depth=1).build((2,), {})), OBJECTIVES["flow"](), Counting(size=50))
    Counting.judged.clear()
    evaluate(model, [1, 2], num, batch_size=batch_size, quiet=True)
    del Counting.judged[:2]  # chance, and real points
    assert [len(samples) for samples, _ in Counting.judged] == [num, num]
    assert [len(labels) for _, labels in Counting.judged] == [num, num]
    assert all(len(np.unique(samples, axis=0)) == num for samples, _ in Counting.judged)


def test_guidance_of_all_stages_together_is_that_of_the_first() -> None:
    """Defect 9: seven exact stages, each learning from the one before, end at the weight that was asked for."""
    means = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]], dtype=torch.float64)
    oracle, weight = ClassOracle(means, torch.zeros(2, dtype=torch.float64), 0.4), 1.5
    objective = ProgressiveDistillation(guidance=weight, label_dropout=0.0)

    class Learned(Network):
        """What a perfect student of a stage answers, with the labels' means where guidance has moved them."""

        def __init__(self, d: float, scale: float) -> None:
            super().__init__()
            self.d, self.scale = d, scale

        def encode(self, cond: Any, drop: Tensor | None = None) -> Any:
            moved = self.scale * means[cond["label"]]
            return moved if drop is None else torch.where(drop[:, None], 0.0, moved)

        def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
            return oracle(x, t, torch.full_like(t, self.d), context)

    teacher = Learned(1 / 128, 1.0)
    for stage in range(7):
        student = Learned(2.0**stage / 64, weight)
        losses = objective.losses(student, Spy(), batch_of(60), progress=(stage + 0.5) / 7, teacher=teacher)
        assert losses.per_example.max() < 1e-10
        teacher = student
    noise = torch.randn(3, 2, dtype=torch.float64)
    made = objective.sample(teacher, noise, {"label": torch.arange(3)}, 1)
    torch.testing.assert_close(made, weight * means + 0.4 * noise, rtol=0, atol=1e-6)


def test_a_thousand_timesteps_are_told_apart() -> None:
    """Defect 10, for diffusion: its times are 1/1000 apart."""
    features = TimeStepEmbedding(64).time_features(torch.arange(1000) / 1000)
    apart = torch.nn.functional.pdist(features)
    assert (features[1:] - features[:-1]).norm(dim=1).min() > 0.03 * features[0].norm()
    assert apart.min() > 0.03 * features[0].norm()
