"""The way from noise to data, between two noises, and from data to noise and back."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from helpers.models import FLOWERS, Steered, model_of, oracle_model
from helpers.objective_variants import VARIANTS
from helpers.oracle import ClassOracle
from helpers.runs import refusal
from shortcut_models.base import Batch, Cond, Label, Losses, Network, Objective, X
from shortcut_models.config import PowerOfTwo
from shortcut_models.models.model import Model
from shortcut_models.objectives import BehaviourCloning, Diffusion, FlowMatching, LiveReflow, Shortcut, TwoModel
from shortcut_models.path import sampling_times
from shortcut_models.randomness import sample_noise
from shortcut_models.sampling import euler, euler_back, last
from shortcut_models.tasks import Digits, Toy

ONE_STEP = (TwoModel, BehaviourCloning)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_a_trajectory_begins_with_the_noise_and_ends_with_the_samples(name: str, steps: int) -> None:
    if isinstance(VARIANTS[name], Diffusion):
        pytest.importorskip("diffusers")
    model = model_of(Digits(), VARIANTS[name])
    steps = min(steps, model.objective.max_steps)
    options: dict[str, Any] = {"steps": steps, "seed": 4, "label": [3, 1, 4], "guidance": 1.5, "batch_size": 2}
    points = model.trajectory(3, **options)
    count = 2 if isinstance(VARIANTS[name], ONE_STEP) else steps + 1
    assert points.shape == (count, 3, 8, 8)
    np.testing.assert_array_equal(points[-1], model.sample(3, **options))
    np.testing.assert_array_equal(points[0], model.task.decode(sample_noise(4, range(3), (1, 8, 8))))


def test_the_points_on_the_way_are_those_of_the_flow() -> None:
    """Under an exact flow, x_t - t mean over sigma_t stays as it is."""
    model = oracle_model()
    points, network = torch.from_numpy(model.trajectory(6, steps=5, seed=1)), model.network
    times = torch.tensor(sampling_times(5, 128)).view(-1, 1, 1)
    constant = (points - times * network.mean) / network.sigma(times)
    torch.testing.assert_close(constant, points[:1].expand(6, -1, -1), rtol=1e-4, atol=1e-5)


def test_points_as_the_network_sees_them() -> None:
    model = model_of(FLOWERS)
    raw = model.trajectory(2, steps=4, label="tulip", decode=False)
    assert (raw.shape, raw.dtype) == ((5, 2, 3, 8, 8), np.float32)
    np.testing.assert_array_equal(raw[0], sample_noise(0, range(2), (3, 8, 8)))
    decoded = model.trajectory(2, steps=4, label="tulip")
    assert (decoded.shape, decoded.dtype) == ((5, 2, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(model.task.decode(torch.from_numpy(raw[2])), decoded[2])


def test_a_trajectory_takes_other_conditions() -> None:
    model, cond = model_of(Steered()), {"state": np.arange(4.0)}
    points = model.trajectory(3, steps=2, cond=cond, label="rose")
    np.testing.assert_array_equal(points[-1], model.sample(3, steps=2, cond=cond, label="rose"))
    assert not np.array_equal(points[-1], model.sample(3, steps=2, label="rose"))


@dataclass(frozen=True)
class Ends(Objective):
    """A method that knows where samples end, and nothing on the way there."""

    max_steps: PowerOfTwo = 4

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        raise NotImplementedError

    def sample(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> X:
        return last(euler(net, noise, cond, sampling_times(steps, 4), guidance=guidance))


def test_a_method_that_defines_sample_alone_samples_and_has_no_trajectory() -> None:
    model = oracle_model(objective=Ends())
    assert model.sample(3, steps=2).shape == (3, 2)
    with refusal("Ends does not give the points .*: define its method trajectory in place of sample"):
        model.trajectory(3, steps=2)


def test_a_method_defines_one_of_the_two() -> None:
    @dataclass(frozen=True)
    class Neither(Objective):
        max_steps: PowerOfTwo = 4

        def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
            raise NotImplementedError

    with pytest.raises(TypeError, match="Neither must define trajectory, or sample"):
        Neither()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1 to 128, not 0"),
        ({"steps": 129}, "steps must be a whole number from 1 to 128"),
        ({"steps": 2.5}, "steps must be a whole number, not 2.5"),
        ({"num": 0}, "num must be a whole number of at least 1"),
        ({"num": 10**11, "steps": 128}, "make fewer at a time"),
        ({"label": 1}, "trained without labels"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_a_trajectory_refuses_what_sampling_refuses(options: dict[str, Any], message: str) -> None:
    with refusal(message):
        oracle_model().trajectory(**{"num": 2} | options)


# Between two noises


def test_an_interpolation_has_the_samples_of_both_noises_at_its_ends() -> None:
    model = model_of(FLOWERS)
    made = model.interpolate(3, 5, steps=4, seed=2, label=["tulip", 0, "rose"])
    assert made.shape == (3, 5, 8, 8, 3)
    noise = sample_noise(2, range(6), (3, 8, 8))
    labels = {"label": torch.tensor([2, 0, 1])}
    np.testing.assert_array_equal(made[:, 0], model.sample_from(noise[1::2], 4, labels))
    np.testing.assert_array_equal(made[:, -1], model.sample_from(noise[0::2], 4, labels))
    parts = model.interpolate(3, 5, steps=4, seed=2, label=["tulip", 0, "rose"], batch_size=4)
    assert np.abs(parts.astype(int) - made).max() <= 1


def test_an_interpolation_between_given_noises() -> None:
    model, (z0, z1) = oracle_model(), torch.randn(2, 4, 2)
    made = model.interpolate((z0, z1), 3, steps=2)
    middle = 0.5 * z1 + 0.75**0.5 * z0
    for column, noise in enumerate((z0, middle, z1)):
        np.testing.assert_allclose(made[:, column], model.sample_from(noise, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pairs", "options", "message"),
    [
        (0, {}, "pairs must be at least 1, not 0"),
        (2, {"points": 1}, "points must be at least 2, not 1"),
        (2, {"steps": 200}, "steps must be a whole number from 1 to 128"),
        (2, {"seed": -1}, "seed must be"),
        (2, {"label": 0}, "trained without labels"),
        (10**12, {}, "make fewer at a time"),
        ((torch.zeros(2, 3), torch.zeros(2, 3)), {}, r"the ends must both be \[pairs, 2\], not \[2, 3\] and \[2, 3\]"),
        ((torch.zeros(2, 2), torch.zeros(3, 2)), {}, r"not \[2, 2\] and \[3, 2\]"),
        ((torch.zeros(0, 2), torch.zeros(0, 2)), {}, r"not \[0, 2\] and \[0, 2\]"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_interpolations_that_make_no_sense_are_refused(pairs: Any, options: dict[str, Any], message: str) -> None:
    with refusal(message):
        oracle_model().interpolate(pairs, **options)


# From data to noise and back


@pytest.mark.parametrize("objective", [Shortcut(max_steps=1024), FlowMatching(max_steps=1024)])
def test_the_error_of_a_reconstruction_falls_with_the_steps(objective: Objective) -> None:
    model = oracle_model(std=0.3, objective=objective)
    exact_noise, data = torch.randn(50, 2), torch.empty(0)
    data = model.network.mean + 0.3 * exact_noise  # where the exact flow takes this noise
    errors = []
    for steps in (4, 32, 256):
        noise, made = model.reconstruct(data, steps=steps)
        errors.append((float((noise - exact_noise).abs().max()), float(np.abs(made - data.numpy()).max())))
    for coarse, fine in itertools.pairwise(errors):
        assert fine[0] < coarse[0] / 4
        assert fine[1] < coarse[1] / 4
    assert max(errors[-1]) < 0.02


def test_the_velocity_is_asked_for_at_the_step_size_that_learned_it() -> None:
    from helpers.oracle import Spy

    expected = {Shortcut(max_steps=16): 1 / 16, LiveReflow(max_steps=16): 1 / 16, FlowMatching(max_steps=16): 0.0}
    for objective, size in expected.items():
        spy = Spy()
        Model(spy, objective, Toy()).reconstruct(torch.randn(3, 2), steps=4)
        back = spy.calls[:4]
        assert [call.t[0].item() for call in back] == [0.75, 0.5, 0.25, 0.0]
        assert {call.d[0].item() for call in back} == {size}


def test_the_way_back_of_a_straight_flow_is_exact() -> None:
    """A velocity that does not depend on x is inverted without error."""
    from helpers.oracle import Spy

    shift = Spy(lambda call: torch.full_like(call.x, 2.0))
    noise = last(euler_back(shift, torch.ones(3, 2), {}, [0.0, 0.5, 0.75, 1.0], step_cond=0.0))
    torch.testing.assert_close(noise, torch.full((3, 2), -1.0))


def test_a_reconstruction_is_of_the_class_that_it_is_given() -> None:
    @dataclass(frozen=True)
    class Labelled(Toy):
        @property
        def conditions(self) -> dict[str, Label]:
            return {"label": Label(2)}

    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    model = Model(ClassOracle(means, torch.zeros(2), 0.5), FlowMatching(max_steps=512), Labelled())
    exact = torch.randn(6, 2)
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    for found in (
        model.reconstruct(means[labels] + 0.5 * exact, label=labels),
        model.reconstruct(means[labels] + 0.5 * exact, cond={"label": labels}),
    ):
        torch.testing.assert_close(found.noise, exact, rtol=0, atol=0.02)
        np.testing.assert_allclose(found.samples, means[labels] + 0.5 * exact, atol=0.02)


def test_pictures_are_raw_as_the_data_set_gives_them() -> None:
    model = model_of(FLOWERS, FlowMatching(max_steps=128))
    raw = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    noise, made = model.reconstruct(raw, label="tulip")
    assert (noise.shape, noise.dtype) == ((2, 3, 8, 8), torch.float32)
    assert np.abs(made.astype(int) - raw.permute(0, 2, 3, 1).numpy()).mean() < 3
    np.testing.assert_array_equal(model.sample_from(noise, 128, {"label": torch.tensor([2, 2])}), made)


@pytest.mark.parametrize(
    ("objective", "data", "options", "message"),
    [
        (TwoModel(), torch.zeros(2, 2), {}, "TwoModel does not learn the velocity of a flow"),
        (BehaviourCloning(), torch.zeros(2, 2), {}, "BehaviourCloning does not learn"),
        (Diffusion(), torch.zeros(2, 2), {}, "Diffusion does not learn the velocity"),
        (Shortcut(), torch.zeros(2, 3), {}, r"data must be \[n, ...\] as the data set gives it, .* becomes \[2, 3\]"),
        (Shortcut(), torch.zeros(0, 2), {}, "data must be"),
        (Shortcut(), torch.zeros(2, 2), {"steps": 0}, "steps must be a whole number from 1 to 128"),
        (Shortcut(), torch.zeros(2, 2), {"label": 1}, "trained without labels"),
    ],
)
def test_reconstructions_that_cannot_be_are_refused(
    objective: Objective, data: torch.Tensor, options: dict[str, Any], message: str
) -> None:
    with refusal(message):
        oracle_model(objective=objective).reconstruct(data, **options)
