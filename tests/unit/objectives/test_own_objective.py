"""A method from outside the package is one class and one line: everything that comes with a method works for it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from shortcut_models.base import Batch, Cond, Losses, Network, Objective, PairBatch, Requires, X
from shortcut_models.compare.comparison import Comparison
from shortcut_models.config import Fraction, PowerOfTwo
from shortcut_models.models.loading import load
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import OBJECTIVES, FlowMatching, Shortcut, TwoModel, with_shared_options
from shortcut_models.path import interpolate, velocity
from shortcut_models.recipes.library import Recipe
from shortcut_models.recipes.train import train_recipe
from shortcut_models.sampling import euler, last
from shortcut_models.tasks import Toy
from shortcut_models.training import Training


@dataclass(frozen=True)
class Plain(Objective):
    """Flow matching in ten lines, at the one step size 1/4, with an option that no other method has."""

    uses_target_net: ClassVar[bool] = False
    learns_velocity: ClassVar[bool] = True
    conditioned_step_size = 0.25

    max_steps: PowerOfTwo = 8
    scale: Fraction = 0.5

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        noise = batch.noise if isinstance(batch, PairBatch) else torch.randn_like(batch.data)
        t = torch.rand(len(batch))
        error = net(interpolate(noise, batch.data, t), t, torch.full_like(t, 0.25)) - velocity(noise, batch.data)
        return Losses(self.scale * error.square().mean(1), {})

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        return last(euler(net, noise, cond, [i / steps for i in range(steps + 1)], step_cond=0.25))


@dataclass(frozen=True)
class FromTeacher(Plain):
    """The same from a teacher's answers, with whose step size it agrees; all is said by the base class otherwise."""

    requires: ClassVar[Requires] = "teacher"

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        assert teacher is not None
        assert 0 <= progress <= 1
        zeros = torch.zeros(len(batch))
        with torch.no_grad():
            target = teacher(batch.data, zeros, zeros + 0.25)
        return Losses((net(batch.data, zeros, zeros + 0.25) - target).square().mean(1), {})


@dataclass(frozen=True)
class OnPairs(Plain):
    """The same from pairs, without options of its own for them."""

    requires: ClassVar[Requires] = "pairs"
    pairs = 40
    pair_steps = 2


METHODS: dict[str, type[Objective]] = {"plain": Plain, "from-teacher": FromTeacher, "on-pairs": OnPairs}
RECIPE = Recipe(
    about="",
    task=Toy(size=200),
    network=MLPConfig(width=8, depth=1, condition_width=8),
    objective=Plain(),
    training=Training(train_steps=8, batch_size=16, warmup=0, precision="fp32", device="cpu", compile="off"),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in METHODS.items():
        monkeypatch.setitem(OBJECTIVES, name, method)


def with_objective(objective: Objective) -> Recipe:
    return dataclasses.replace(RECIPE, objective=objective)


@pytest.mark.parametrize("student", [FromTeacher(), OnPairs(), TwoModel(pairs=40, pair_steps=2)])
def test_it_trains_is_opened_by_its_name_and_is_a_teacher(tmp_path: Path, student: Objective) -> None:
    train_recipe("own", RECIPE, tmp_path / "own", quiet=True)
    model = load(tmp_path / "own")
    assert model.objective == Plain()
    assert model.sample(3, steps=4).shape == (3, 2)
    trained = train_recipe("own", with_objective(student), tmp_path / "student", tmp_path / "own", quiet=True)
    assert trained.step == 8


def test_its_network_begins_another_one(tmp_path: Path) -> None:
    """Frozen at the step size that the class names: no table by type has to know it."""
    train_recipe("own", RECIPE, tmp_path / "own", quiet=True)
    known = load(tmp_path / "own").network
    zero_steps = dataclasses.replace(RECIPE.training, train_steps=1, learning_rate=1e-30, weight_decay=0.0)
    recipe = dataclasses.replace(with_objective(Shortcut()), training=zero_steps)
    begun = train_recipe("own", recipe, tmp_path / "begun", init_from=tmp_path / "own", quiet=True).network
    x, t = torch.randn(5, 2), torch.rand(5)
    for d in (0.0, 0.25, 1.0):
        expected = known(x, t, torch.full_like(t, 0.25))
        torch.testing.assert_close(begun(x, t, torch.full_like(t, d)), expected, rtol=1e-4, atol=1e-5)


def test_it_is_compared(tmp_path: Path) -> None:
    comparison = Comparison("own", RECIPE, [*METHODS, "flow"], 20_000, 1, [1, 2], 50, tmp_path)
    trials = {trial.method: trial for trial in comparison.trials()}
    assert set(trials) == {"teacher", "flow", *METHODS}
    assert trials["plain"].recipe.objective == Plain()
    assert trials["on-pairs"].cost["pairs"] == 40 * 2
    assert trials["from-teacher"].teacher == "teacher-seed0"


def test_options_are_shared_by_name() -> None:
    """Also one that only the user's methods have, where both say so."""

    @dataclass(frozen=True)
    class First(Plain):
        shared_options: ClassVar[tuple[str, ...]] = (*Plain.shared_options, "scale")

    @dataclass(frozen=True)
    class Second(First):
        extra: Fraction = 0.1

    assert with_shared_options(First(max_steps=4, scale=0.75), Second) == Second(max_steps=4, scale=0.75)
    assert with_shared_options(First(max_steps=4, scale=0.75), Plain) == Plain(max_steps=4)
    # A step size that is part of what a method is, and no option of it, is not handed on.
    assert with_shared_options(TwoModel(max_steps=4), FlowMatching) == FlowMatching(max_steps=4)


def test_options_that_a_method_does_not_have_are_left_out() -> None:
    assert Plain().with_options(scale=0.25, guidance=2.0, conditioned_step_size=0.5) == Plain(scale=0.25)
