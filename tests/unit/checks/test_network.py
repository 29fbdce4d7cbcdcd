"""`check_network` names what is wrong with a network: one broken network for each kind of fault."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.runs import refusal
from shortcut_models.base import Label, Network, NetworkConfig, Task
from shortcut_models.checks import check_network
from shortcut_models.networks import MLPConfig
from shortcut_models.networks.layers import ConditionEmbedding, TimeStepEmbedding
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Digits, Toy

pytestmark = pytest.mark.usefixtures("annotations_unchecked")

LABEL = {"label": Label(3)}


class Good(Network):
    """A network of two layers for points, right in every respect; each test breaks one."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed = TimeStepEmbedding(width)
        self.conditions = ConditionEmbedding(LABEL, width)
        self.proj_in = nn.Linear(2, width)
        self.proj_out = nn.Linear(width, 2)

    def encode(self, cond: Any, drop: Tensor | None = None) -> Any:
        return self.conditions(cond, drop)

    def conditioning(self, t: Tensor, d: Tensor, context: Any) -> Tensor:
        return self.embed(t, d) + context

    def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
        return self.proj_out(torch.tanh(self.proj_in(x) + self.conditioning(t, d, context)))


def check(network: Network, **more: Any) -> None:
    check_network(network, shape=(2,), conditions=LABEL, **more)


def test_a_good_network_passes_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check(Good()) is None
        check_network(MLPConfig(width=16, depth=1), Digits())


def test_a_check_changes_neither_the_network_nor_the_randomness_of_its_caller() -> None:
    network, state = Good(), torch.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training


def broken(forward: Callable[..., Tensor]) -> Network:
    """A network whose answer is a function of the good one's and of the call."""

    class Broken(Good):
        def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
            return forward(self, super().forward(x, t, d, context), x, t, d)

    return Broken()


class Adding(nn.Module):
    """A module that counts its calls in a buffer, whose value it adds."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + 0 * self.calls


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda net, v, x, t, d: v[:, :1], r"returns float32 \[6, 1\], not \[6, 2\]: return one velocity for each x"),
        (lambda net, v, x, t, d: v.double(), r"returns float64 \[6, 2\], not float32 \[6, 2\]: return the dtype of x"),
        (lambda net, v, x, t, d: (v, v), r"forward\(x float32 \[6, 2\], .*\) returns tuple .*: return a tensor"),
        (lambda net, v, x, t, d: v.detach().numpy(), "returns a NumPy array float32 .*: return a tensor"),
        (lambda net, v, x, t, d: v / d[:, None], r"not finite at t = 1 and d = 0, t = 0.25 and d = 0: t and d reach"),
        (lambda net, v, x, t, d: v + x.mean(0), "gives row 0 of a batch of 6 another velocity than alone"),
        (lambda net, v, x, t, d: v + torch.randn_like(v), "gives another answer to the same call: draw nothing"),
        (lambda net, v, x, t, d: v + x.mul_(2), "changes its input x in place: compute new tensors"),
        (lambda net, v, x, t, d: v @ torch.zeros(3, 2), "raises RuntimeError: .*: make it take these shapes"),
        (lambda net, v, x, t, d: v.detach(), "returns a velocity without a gradient: leave out no_grad, detach"),
        (lambda net, v, x, t, d: v + 0 * net.train().scale if hasattr(net, "scale") else v + 0 * _train(net),
         "switches the network to training mode"),
        (lambda net, v, x, t, d: v + torch.ones(6, 2)[: len(x)], "on another device .* raises MixedDevicesError: add"),
        (lambda net, v, x, t, d: v.cpu() if x.device.type == "cpu" else torch.zeros(len(x), 2),
         "returns a tensor on cpu, not on the device of its input: make tensors with device=x.device"),
        (lambda net, v, x, t, d: v * (v.square().sum(1, keepdim=True) * 0).sqrt() + v,
         "the gradient of forward is not finite at the parameter .*: square roots and norms have no slope at 0"),
    ],
)  # fmt: skip
def test_wrong_answers(forward: Callable[..., Tensor], message: str) -> None:
    with refusal(message):
        check(broken(forward))


def _train(network: Network) -> float:
    network.train()
    return 0.0


class Ignoring(Good):
    """A network that leaves out a part of what it gets."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
        given = {"x": x, "t": t, "d": d, "label": context}
        given[self.part] = torch.full_like(given[self.part], 0.5)
        return super().forward(given["x"], given["t"], given["d"], given["label"])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("x", "gives every x the same velocity: let the answer depend on x"),
        ("t", r"ignores t, the time from 0 \(noise\) to 1 \(data\): add networks.layers.TimeStepEmbedding"),
        ("d", "ignores d, the step size, so one step and 128 small ones .* Shortcut, can learn no large step: add"),
        ("label", "forward and encode ignore the condition 'label'"),
    ],
)
def test_what_an_answer_must_depend_on(part: str, message: str) -> None:
    with refusal(message):
        check(Ignoring(part))


def test_a_network_for_one_step_size_may_ignore_d() -> None:
    class OneSize(Good):
        def conditioning(self, t: Tensor, d: Tensor, context: Any) -> Tensor:
            return self.embed(t, torch.zeros_like(d)) + context

    check(OneSize(), objective=FlowMatching())
    with refusal("ignores d, the step size"):
        check(OneSize())


def test_step_sizes_that_are_embedded_too_coarsely() -> None:
    coarse = broken(lambda net, v, x, t, d: v)
    coarse.embed.of_step_size = lambda d: coarse.embed.level(coarse.embed.level_features(d.clamp(min=0.1)))
    coarse.__deepcopy__ = lambda memo: coarse  # type: ignore[attr-defined]  # the function holds this very network

    class Coarse(Good):
        def forward(self, x: Tensor, t: Tensor, d: Tensor, context: Any = None) -> Tensor:
            return super().forward(x, t, d.clamp(min=0.1), context)

    with refusal("gives the step sizes 1/16 and 1/32 the same velocity"):
        check(Coarse())


class Encoding(Good):
    """A network with another way to treat rows that lose their condition."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.null = way, nn.Parameter(torch.ones(16))

    def encode(self, cond: Any, drop: Tensor | None = None) -> Any:
        value = self.conditions(cond, None)
        if self.way == "ignores":
            return value
        if self.way == "keeps" and drop is not None:
            return torch.where(drop[:, None], self.null + 0.1 * value, value)
        if self.way == "all" and drop is not None:
            return torch.where(drop.any(), self.null, value)
        if self.way == "none" and drop is None:
            return value + 1
        return value if drop is None else torch.where(drop[:, None], self.null, value)


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("ignores", r"encode\(cond, drop\) ignores drop: where drop is true, put a learned null"),
        ("keeps", r"still depends on the conditions where drop is true"),
        ("all", "drops the conditions of other rows than those where drop is true: choose row by row"),
        ("none", "differs between drop=None and a drop that is all false"),
    ],
)
def test_conditions_that_are_dropped(way: str, message: str) -> None:
    with refusal(message):
        check(Encoding(way))


def test_a_network_without_encode_is_doubtful_where_there_are_conditions() -> None:
    class Plain(Good):
        encode = Network.encode  # type: ignore[assignment]

        def __init__(self) -> None:
            super().__init__()
            del self.conditions

        def conditioning(self, t: Tensor, d: Tensor, context: Any) -> Tensor:
            return self.embed(t, d)

    check_network(Plain(), shape=(2,))
    with pytest.warns(UserWarning, match=r"has no encode\(cond, drop\), so its samples do not follow label") as found:
        check(Plain())
    assert found[0].filename == __file__


def test_parameters_that_are_never_used_are_named() -> None:
    network = Good()
    network.spare = nn.Linear(2, 2)
    with refusal(r"never use spare\.weight, spare\.bias: no gradient reaches it: use it, remove it, or set"):
        check(network)
    network.spare.requires_grad_(False)
    check(network)


def test_a_network_without_parameters() -> None:
    with refusal("Good has no parameter to train"):
        check(Good().requires_grad_(False))


def test_constants_that_are_plain_tensors_stay_behind() -> None:
    network = broken(lambda net, v, x, t, d: v * net.constant)
    network.constant = torch.tensor([1.0, 2.0])
    with refusal("on another device than the CPU raises .*mul mixes .*register_buffer a module's constants"):
        check(network)
    network = broken(lambda net, v, x, t, d: v * net.constant)
    network.register_buffer("constant", torch.tensor([1.0, 2.0]))
    check(network)


def test_layers_that_a_function_holds_are_shared_by_copies() -> None:
    network = broken(lambda net, v, x, t, d: net.layer(v))
    inner = nn.Linear(2, 2)
    network.inner, network.layer = inner, lambda v: inner(v)
    with refusal("still uses the original's weights|never use inner"):
        check(network)


def test_buffers_that_a_call_changes() -> None:
    network = broken(lambda net, v, x, t, d: net.adding(v))
    network.adding = Adding()
    with refusal("in evaluation mode changes adding.calls: change nothing unless self.training"):
        check(network)


def test_what_a_configuration_draws_must_be_in_the_state_dict() -> None:
    class Drawn(NetworkConfig):
        def build(self, shape: Any, conditions: Any) -> Network:
            network = broken(lambda net, v, x, t, d: v * net.drawn)
            network.register_buffer("drawn", torch.rand(2) + 0.5, persistent=False)
            return network

    with refusal("a network with the same state_dict gives another answer: register_buffer"):
        check_network(Drawn(), shape=(2,), conditions=LABEL)


def test_batch_normalisation_is_doubtful() -> None:
    network = broken(lambda net, v, x, t, d: net.norm(v))
    network.norm = nn.BatchNorm1d(2)
    with pytest.warns(UserWarning, match="norm normalises over the batch in training mode: .* use GroupNorm"):
        check(network)


def test_shard_units_must_be_inside() -> None:
    network = Good()
    network.shard_units = lambda: [nn.Linear(2, 2)]  # type: ignore[method-assign]
    with refusal(r"shard_units\(\) returns a module that is not inside the network"):
        check(network)


@pytest.mark.parametrize(
    ("network", "more", "message"),
    [
        (3, {"shape": (2,)}, "int is not a network: pass an instance of a torch.nn.Module"),
        (nn.Linear(2, 2), {"shape": (2,)}, "Linear"),
        (Good, {"shape": (2,)}, "Good is not a network: pass an instance"),
        (Good(), {}, "the shape of an example is not known: pass task=, or shape="),
        (Good(), {"task": Toy(), "shape": (2,)}, "pass either task=, or shape= and conditions="),
        (Good(), {"task": "digits"}, "task must be a Task, not str"),
        (
            MLPConfig(width=16, depth=1),
            {"shape": (2,), "conditions": {"label": Label(0)}},
            "condition 'label' is .*: give sizes of at least 1",
        ),
    ],
)
def test_what_is_passed(network: Any, more: dict[str, Any], message: str) -> None:
    with refusal(message):
        check_network(network, **more)


def test_a_network_for_another_shape() -> None:
    with refusal(r"forward\(x float32 \[6, 3\], .* raises RuntimeError: .*: make it take these shapes"):
        check_network(Good(), shape=(3,), conditions=LABEL)
    with refusal(r"encode\(\{label: int64 \[6\]\}, drop None\) raises IndexError: .*: make it take these conditions"):
        check_network(Good(), Digits())


def test_a_task_gives_the_sizes() -> None:
    task: Task = Toy()
    check_network(MLPConfig(width=16, depth=1), task)


class Plain(nn.Module):
    """Not a `Network`, but called as one."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.layers = times, nn.Sequential(nn.Linear(2 + times, 16), nn.SiLU(), nn.Linear(16, 2))

    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Tensor:
        return self.layers(torch.cat([x, torch.stack([t, d], 1)[:, : self.times]], 1))


def test_any_module_is_checked_as_fit_takes_it() -> None:
    check_network(Plain(2), shape=(2,))
    with refusal("ignores d"):
        check_network(Plain(1), shape=(2,))
