"""`check_objective` names what is wrong with a method: one broken method for each kind of fault."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from helpers.runs import refusal
from shortcut_models.base import Batch, Label, Losses, Network, Objective, Requires
from shortcut_models.checks import check_objective
from shortcut_models.config import Fraction, PowerOfTwo
from shortcut_models.networks import DiTConfig
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.path import broadcast, check_num_steps, interpolate, velocity
from shortcut_models.sampling import euler, last
from shortcut_models.tasks import Digits

pytestmark = pytest.mark.usefixtures("annotations_unchecked")


@dataclass(frozen=True)
class Good(Objective):
    """Flow matching, right in every respect; each test breaks one."""

    uses_target_net: ClassVar[bool] = False
    learns_velocity: ClassVar[bool] = True
    conditioned_step_size = 0.0

    max_steps: PowerOfTwo = 8
    label_dropout: Fraction = 0.1

    def drop(self, batch: Batch) -> Tensor | None:
        return torch.rand(len(batch), device=batch.data.device) < self.label_dropout

    def loss(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Tensor:
        noise, t = torch.randn_like(batch.data), torch.rand(len(batch), device=batch.data.device)
        v = net(interpolate(noise, batch.data, t), t, torch.zeros_like(t), net.encode(batch.cond, self.drop(batch)))
        return (v.float() - velocity(noise, batch.data)).float().square().flatten(1).mean(1)

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        loss = self.loss(net, target_net, batch, **context)
        return Losses(loss, {"flow": loss.detach()})

    def sample(self, net: Network, noise: Tensor, cond: Any, steps: int, *, guidance: float = 1.0) -> Tensor:
        check_num_steps(steps, self.max_steps)
        times = [i / steps for i in range(steps + 1)]
        return last(euler(net, noise, cond, times, step_cond=0.0, guidance=guidance))


def with_loss(change: Callable[..., Any], kind: type[Good] = Good, **members: Any) -> Objective:
    """The good method with a change of its losses: a function of (loss, net, target_net, batch, context)."""

    def losses(self: Good, net: Network, target_net: Network, batch: Batch, **context: Any) -> Any:
        loss = kind.loss(self, net, target_net, batch, **context)
        made = change(loss, net, target_net, batch, context)
        return made if not isinstance(made, Tensor) else Losses(made, {"flow": made.detach()})

    return dataclass(frozen=True)(type("Broken", (kind,), {"losses": losses, **members}))()


def with_sample(sample: Callable[..., Tensor], **members: Any) -> Objective:
    """The good method with another way to sample: a function of (good, net, noise, cond, steps, guidance)."""

    def changed(self: Good, net: Network, noise: Tensor, cond: Any, steps: int, *, guidance: float = 1.0) -> Tensor:
        good = lambda **more: Good().sample(**({"net": net, "noise": noise, "cond": cond, "steps": steps,
                                                "guidance": guidance} | more))  # fmt: skip
        return sample(good, net, noise, cond, steps, guidance)

    return dataclass(frozen=True)(type("Broken", (Good,), {"sample": changed, **members}))()


def ahead(net: Network, batch: Batch) -> Tensor:
    """One more pass."""
    zeros = torch.zeros(len(batch), device=batch.data.device)
    return net(batch.data, zeros, zeros, net.encode(batch.cond, None)).flatten(1).mean(1)


def test_a_good_method_passes_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_objective(Good()) is None
        check_objective(Shortcut(), DiTConfig(width=16, depth=1, heads=2), Digits())
        check_objective(Shortcut(), shape=(3, 4), straight_path=True)


def test_a_check_leaves_the_randomness_of_its_caller() -> None:
    state = torch.get_rng_state()
    check_objective(Good())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loss, *_: loss.mean(), r"returns per_example float32 \[\], not float32 \[48\]: return the loss of"),
        (lambda loss, *_: loss.double(), "returns per_example float64 .*, not float32: compute the loss in float32"),
        (lambda loss, *_: (loss, {}), "returns tuple .*: return shortcut_models.Losses"),
        (lambda loss, *_: loss.detach(), "returns a per_example without a gradient: call net outside torch.no_grad"),
        (lambda loss, *_: loss / 0, "returns a per_example that is not finite"),
        (lambda loss, *_: Losses(loss.detach().numpy(), {}), r"returns per_example a NumPy array float32 \[48\]"),
        (lambda loss, *_: Losses(loss, {"flow": loss}), "returns the log 'flow' with a gradient: detach it"),
        (lambda loss, *_: Losses(loss, {"flow": 0.5}), r"returns the log 'flow' as float 0.5: give a scalar tensor"),
        (lambda loss, *_: Losses(loss, {"flow": loss.detach() / 0}), "the log 'flow' with an infinite number: use NaN"),
        (lambda loss, *_: Losses(loss, []), "returns logs list"),
        (lambda loss, net, *_: loss + (loss * 0).sqrt(), "the gradient of per_example is not finite at .*: square"),
        (lambda loss, net, target, batch, _: loss + 0 * batch.data.mul_(2).sum(), "changes batch.data in place"),
        (lambda loss, net, target, batch, _: loss + ahead(target, batch), "has a gradient in target_net: call target_"),
        (lambda loss, net, target, batch, _: loss + 0 * len(list(net.eval().modules())), "switches the network's mode"),
        (lambda loss, *_: loss * (1 + 0.1 * random.random()), "differs between two calls with the same seed: draw"),
        (lambda loss, *_: Losses(loss, {str(torch.rand(())): loss.detach()}), "returns the logs .* once and .* before"),
        (lambda loss, net, target, batch, context: loss * (1 + context["progress"]),
         "Broken.has_schedule is False, and the losses follow progress: set it to True"),
        (lambda loss, net, target, batch, _: loss + 0 * torch.ones(len(batch)),
         "losses on another device than the CPU raises MixedDevicesError: add"),
        (lambda loss, net, target, batch, _: loss + 0 * ahead(net, batch),
         r"nfe_per_example is 3, and losses takes 6 evaluations .*\(passes of a batch: 2 of net\): count 1 for a pass"),
        (lambda loss, *_: 2 * loss + 1, "the loss of Broken is 1 where it must be 0: for data that is one point"),
        (lambda *_: _boom(), "losses for 48 rows raises ZeroDivisionError"),
    ],
)  # fmt: skip
def test_wrong_losses(change: Callable[..., Any], message: str) -> None:
    with refusal(message):
        check_objective(with_loss(change))


def _boom() -> Tensor:
    raise ZeroDivisionError("division by zero")


def test_passes_of_the_target_net_are_declared_and_counted() -> None:
    @torch.no_grad()
    def target_pass(net: Network, batch: Batch) -> Tensor:
        return 0 * ahead(net, batch)

    change = lambda loss, net, target, batch, _: loss + target_pass(target, batch)
    with refusal("Broken.uses_target_net is False, and losses calls target_net 1 times a batch: set it to True"):
        check_objective(with_loss(change))
    with refusal("nfe_per_example is 3, and losses takes 4 evaluations .*1 of net, 1 of target_net"):
        check_objective(with_loss(change, uses_target_net=True))
    check_objective(with_loss(change, uses_target_net=True, nfe_per_example=4.0))
    with pytest.warns(UserWarning, match="uses_target_net is True, and losses never calls target_net: set it to False"):
        check_objective(with_loss(lambda loss, *_: loss, uses_target_net=True))
    with pytest.warns(UserWarning, match="has_schedule is True, and the losses do not follow progress"):
        check_objective(with_loss(lambda loss, *_: loss, has_schedule=True))


@dataclass(frozen=True)
class MeanFlow(Good):
    """Geng et al. 2025, arXiv 2505.13447, eq. 9 to 11, with the interval [t, t + d] of this package: the derivative
    along the path by forward-mode differentiation, of which no gradient is taken."""

    conditioned_step_size = None
    cost: float = 5.0
    nfe_per_example = property(lambda self: self.cost)  # type: ignore[assignment]

    def loss(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Tensor:
        noise, (a, b) = torch.randn_like(batch.data), torch.rand(2, len(batch), device=batch.data.device)
        t, d = torch.minimum(a, b), (a - b).abs()
        x, v, known = (
            interpolate(noise, batch.data, t),
            velocity(noise, batch.data),
            net.encode(batch.cond, self.drop(batch)),
        )
        ones = torch.ones_like(t)
        u, du = torch.func.jvp(lambda x, t, d: net(x, t, d, known), (x, t, d), (v, ones, -ones))
        return (u - (v + broadcast(d, du) * du.detach())).square().flatten(1).mean(1)


def test_how_to_count_a_jvp() -> None:
    """A pass inside `torch.func.jvp` counts 3, and 5 with the backward pass."""
    check_objective(MeanFlow())
    for cost in (3.0, 4.0, 6.0):
        with refusal(f"nfe_per_example is {cost:.0f}, and losses takes 5 evaluations for an example"):
            check_objective(MeanFlow(cost=cost))


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (lambda good, net, noise, *_: good()[:, :1], r"returns float32 \[4, 1\], not float32 \[4, 2\]"),
        (lambda good, *_: good().double(), r"returns float64 \[4, 2\], not float32 \[4, 2\]"),
        (lambda good, *_: good() / 0, "sample in 1 steps with guidance 1.0 returns numbers that are not finite"),
        (lambda good, net, noise, *_: noise.clone(), "returns the noise as it is: take steps along the velocity"),
        (lambda good, net, noise, *_: good() + 0 * noise.mul_(2), "changes the noise in place"),
        (lambda good, net, noise, *_: good() + 0 * next(net.parameters()).sum(),
         "keeps gradients, and the memory of all steps: put @torch.no_grad"),
        (lambda good, net, noise, cond, steps, _: good(steps=1) if steps < 3 else good(),
         "makes other numbers of passes than of steps: 1 in 1 steps, 1 in 2 steps, 5 in 5 steps, 8 in 8 steps"),
        (lambda good, net, noise, cond, steps, _: good(steps=min(max(steps, 1), 8)), "sample with steps=0 returns"),
        (lambda good, net, noise, cond, steps, _: good(steps=range(1, 9)[steps - 1] if steps else 1),
         "sample with steps=0 returns samples: refuse what is not in 1..8"),
        (lambda good, net, noise, *_: good() + 0 * torch.randn(1), "draws from torch's global generator: draw more"),
        (lambda good, *_: good() + random.random(), "gives other samples from the same noise"),
        (lambda good, net, noise, *_: good() + noise.mean(0), "gives row 0 of a batch another sample than alone"),
        (lambda good, net, noise, *_: good(noise=torch.zeros_like(noise)),
         "Broken.is_generative is True, and samples do not differ by their noise: set it to False"),
        (lambda good, *_: good(guidance=1.0), "sample with guidance=0 still depends on the conditions"),
        (lambda good, net, noise, cond, steps, w: good(guidance=min(w, 1.0)), "guidance=1.5 gives the same as"),
        (lambda good, net, noise, *_: 0.9 * good(), r"ends 0.025 away from the data, with an exact network: steps"),
        (lambda good, net, noise, *_: good() + torch.zeros(2), "sample on another device than the CPU raises Mixed"),
        (lambda good, net, noise, *_: _boom(), r"sample\(net, noise float32 \[4, 2\], cond, steps=1.* raises Zero"),
    ],
)  # fmt: skip
def test_wrong_samples(sample: Callable[..., Tensor], message: str) -> None:
    with refusal(message):
        check_objective(with_sample(sample))


def test_dropped_conditions() -> None:
    class Never(Good):
        def drop(self, batch: Batch) -> Tensor | None:
            return None

    with refusal(r"Never.label_dropout is 0.1, and net.encode drops the conditions of 0 of the rows: pass net.encode"):
        check_objective(dataclass(frozen=True)(Never)())

    class Silent(Good):
        label_dropout = 0.0  # type: ignore[assignment]

        def drop(self, batch: Batch) -> Tensor | None:
            return torch.rand(len(batch), device=batch.data.device) < 0.2

    with refusal("Silent.label_dropout is 0, and .* of 0.2.* of the rows: give the method a field label_dropout"):
        check_objective(dataclass(frozen=True)(Silent)(label_dropout=0.0))

    class Blind(Good):
        def loss(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Tensor:
            return super().loss(net, target_net, Batch(batch.data, {"label": 0 * batch.cond["label"]}))

    with refusal("losses ignores the conditions label: pass them on"):
        check_objective(Blind())
    check_objective(Blind(), shape=(2,), conditions={"label": Label(1)})


@dataclass(frozen=True)
class NoSteps(Objective):
    losses, sample = Good.losses, Good.sample  # type: ignore[assignment]


@dataclass(frozen=True)
class OfPairs(Good):
    requires: ClassVar[Requires] = "pairs"
    keep: bool = True

    def loss(self, net: Network, target_net: Network, batch: Any, **context: Any) -> Tensor:
        noise, t = (
            batch.noise if self.keep else torch.randn_like(batch.data),
            torch.rand(len(batch), device=batch.data.device),
        )
        drop = batch.drop if self.keep else self.drop(batch)
        v = net(interpolate(noise, batch.data, t), t, torch.zeros_like(t), net.encode(batch.cond, drop))
        return (v - velocity(noise, batch.data)).float().square().flatten(1).mean(1)


def test_pairs_and_teachers() -> None:
    check_objective(OfPairs())
    with refusal('losses of a method that requires "pairs", OfPairs, ignores batch.noise: start from it'):
        check_objective(OfPairs(keep=False))
    with pytest.warns(UserWarning, match='requires is "teacher", and losses never calls teacher: set it to "data"'):
        check_objective(with_loss(lambda loss, *_: loss, requires="teacher"))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Good, "Good is not an Objective: .*pass an instance"),
        ("flow", "str is not an Objective"),
        (type("Loose", (Good,), {"__dataclass_params__": None})(), "Loose is not a frozen dataclass"),
        (NoSteps(), "NoSteps.max_steps is None: give it a field: max_steps: PowerOfTwo = 128"),
        (with_loss(lambda loss, *_: loss, requires="nothing"), "requires is 'nothing': choose"),
        (with_loss(lambda loss, *_: loss, stages=0), "stages is int 0"),
        (with_loss(lambda loss, *_: loss, stages=2), "has_schedule is False, and there are 2 stages"),
        (with_loss(lambda loss, *_: loss, nfe_per_example=0.0), "nfe_per_example is 0.0"),
        (dataclasses.replace(Good(), label_dropout=0.1), ""),
    ],
)
def test_what_the_class_says(objective: Any, message: str) -> None:
    if not message:
        check_objective(objective)
        return
    with refusal(message):
        check_objective(objective)


def test_losses_must_take_what_the_trainer_passes() -> None:
    class Short(Good):
        def losses(self, net: Network, target_net: Network, batch: Batch) -> Losses:  # type: ignore[override]
            return super().losses(net, target_net, batch)

    with refusal("losses for 48 rows raises TypeError: .*unexpected keyword argument 'progress': take losses"):
        check_objective(Short())


def test_a_path_that_is_not_straight_is_seen_where_the_caller_says_so() -> None:
    curved = with_loss(lambda loss, *_: 2 * loss + 1, learns_velocity=False)
    check_objective(curved)
    with refusal("the loss of Broken is 1 where it must be 0"):
        check_objective(curved, straight_path=True)
    check_objective(FlowMatching(sigma_min=0.1))
