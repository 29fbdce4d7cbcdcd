"""Any torch module as a network: how it is called, what is said of one that cannot be, and events with padding."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import shortcut_models as sm
from helpers.oracle import wake
from shortcut_models.base import Condition, Label, Mask, Vector
from shortcut_models.networks import MLPConfig
from shortcut_models.networks.wrapped import MaskedNetwork, WrappedNetwork, foreign_inside, try_out
from shortcut_models.objectives import FlowMatching, Shortcut
from shortcut_models.tasks import Digits

CPU = torch.device("cpu")
BOTH: dict[str, Condition] = {"label": Label(3), "state": Vector(2)}


class Plain(nn.Module):
    """A linear function of x, t and d."""

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(size + 2, size)

    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
        return self.layer(torch.cat([x.flatten(1), t[:, None], d[:, None]], 1)).reshape(x.shape)


class Conditioned(Plain):
    def __init__(self, rows: int = 4, size: int = 4) -> None:
        super().__init__(size)
        self.classes, self.state = nn.Embedding(rows, size), nn.Linear(2, size)

    def forward(self, x: Tensor, t: Tensor, d: Tensor, *, label: Tensor, state: Tensor) -> Tensor:
        return super().forward(x, t, d) + (self.classes(label) + self.state(state)).reshape(x.shape)


class Recording(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor, **cond: Tensor) -> Tensor:
        self.seen = cond
        return super().forward(x, t, d)


def check(module: nn.Module, conditions: dict[str, Condition], *, varies: bool = True, drops: bool = True) -> None:
    inner = foreign_inside(sm.as_network(module, conditions))
    assert inner is not None
    try_out(inner, (4,), device=CPU, needs_step_size=varies, drops_conditions=drops)


def test_a_network_stays_as_it_is() -> None:
    network = MLPConfig(width=8).build((2,), {})
    assert sm.as_network(network, {}) is network
    assert foreign_inside(network) is None


def test_the_module_is_called_with_x_t_and_d() -> None:
    module, x, t, d = Plain(), torch.randn(3, 4), torch.rand(3), torch.rand(3)
    network = sm.as_network(module)
    assert torch.equal(network(x, t, d, network.encode({})), module(x, t, d))
    assert torch.equal(network(x, t, d), module(x, t, d))


def test_conditions_come_by_name_and_dropped_ones_are_null() -> None:
    class WithDrop(Recording):
        def forward(self, x: Tensor, t: Tensor, d: Tensor, drop: Any = None, **cond: Tensor) -> Tensor:
            self.drop = drop
            return super().forward(x, t, d, **cond)

    cond, drop = {"label": torch.tensor([1, 2]), "state": torch.ones(2, 2)}, torch.tensor([True, False])
    for module in (Recording(), WithDrop()):
        network = sm.as_network(module, BOTH)
        network(torch.zeros(2, 4), drop.float(), drop.float(), network.encode(cond, drop))
        assert module.seen["label"].tolist() == [3, 2]
        assert module.seen["state"].tolist() == [[0, 0], [1, 1]]
        assert torch.equal(module.drop, drop) if isinstance(module, WithDrop) else "drop" not in module.seen
    assert cond["state"].sum() == 4  # what was passed stays as it was


def test_only_the_conditions_in_the_signature_are_passed() -> None:
    class OnlyState(Plain):
        def forward(self, x: Tensor, t: Tensor, d: Tensor, state: Tensor) -> Any:
            return super().forward(x, t, d) + state.sum(1, keepdim=True)

    assert sm.as_network(OnlyState(), BOTH).takes == ("state",)  # type: ignore[attr-defined]
    with pytest.warns(UserWarning, match="OnlyState does not take label: samples will not depend on it"):
        check(OnlyState(), BOTH)


class ReturnsTuple(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
        return x, t


class ReturnsLess(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
        return super().forward(x, t, d)[:, :3]


class ReturnsWhole(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
        return super().forward(x, t, d).long()


class TwoArguments(Plain):
    def forward(self, x: Tensor, t: Tensor) -> Any:  # type: ignore[override]
        return x


class Requires(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor, weather: Tensor) -> Any:  # type: ignore[override]
        return x


class Elsewhere(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
        return super().forward(x, t, d).to("meta")


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (ReturnsTuple(), "ReturnsTuple must return one tensor, not tuple: return the velocity alone"),
        (ReturnsLess(), r"ReturnsLess returns \[2, 3\] for x \[2, 4\]: return a velocity of the shape of x"),
        (ReturnsWhole(), "ReturnsWhole returns torch.int64: return floats"),
        (Elsewhere(), "Elsewhere returns a tensor on meta for x on cpu: keep it there"),
        (TwoArguments(), r"TwoArguments.forward must take x, t and d, and conditions by name, not \(x, t\)"),
        (nn.Linear(4, 4), r"Linear.forward must take x, t and d, .* not \(input\)"),
        (Requires(), "Requires.forward requires 'weather', and the task has label, state"),
        (Plain(5), r"Plain cannot be called with x \[2, 4\], t \[2\], d \[2\]: mat1 and mat2 shapes"),
        (Conditioned(2), "Conditioned cannot be called with x .*, label, state: index out of range"),
        (torch.jit.script(nn.Linear(2, 2)), "is a script of TorchScript"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.filterwarnings("ignore:.* does not take", "ignore:.*torch.jit")
def test_a_module_that_cannot_be_used_is_refused_before_training(module: nn.Module, message: str) -> None:
    with pytest.raises(sm.UserError, match=message):
        check(module, BOTH)


def test_a_table_without_a_row_for_no_label_is_refused_where_labels_are_dropped() -> None:
    with pytest.raises(sm.UserError, match="label 3 stands for none, so an embedding of it has 4 rows; or train with"):
        check(Conditioned(3), BOTH)
    check(Conditioned(3), BOTH, drops=False)
    check(Conditioned(4), BOTH)


def test_a_module_without_parameters_is_refused() -> None:
    frozen = Plain().requires_grad_(False)
    with pytest.raises(sm.UserError, match="Plain has no parameters to train"):
        check(frozen, {})


class IgnoresD(Plain):
    def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
        return super().forward(x, t, torch.zeros_like(d))


def test_a_module_that_ignores_d_is_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    silent = Plain()
    nn.init.zeros_(silent.layer.weight)  # which ignores everything at first, as many networks do
    before = copy.deepcopy(silent.state_dict())
    check(silent, {})
    check(IgnoresD(), {}, varies=False)
    assert not recwarn.list
    assert all(torch.equal(value, before[name]) for name, value in silent.state_dict().items())
    with pytest.warns(UserWarning, match="IgnoresD ignores d, the step size, so it cannot learn to take large steps"):
        check(IgnoresD(), {})


def test_trying_out_leaves_everything_as_it_was() -> None:
    module = Recording()
    module.norm = nn.BatchNorm1d(4)  # type: ignore[assignment]
    network = sm.as_network(module.train(), {})
    state, random = copy.deepcopy(network.state_dict()), torch.random.get_rng_state()
    assert isinstance(network, WrappedNetwork)
    try_out(network, (4,), device=CPU, needs_step_size=True, drops_conditions=True)
    assert network.training
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not hasattr(module, "seen")


def test_half_precision_is_brought_to_that_of_x() -> None:
    class Half(Plain):
        def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Any:
            return super().forward(x, t, d).bfloat16()

    assert sm.as_network(Half())(torch.randn(2, 4), torch.rand(2), torch.rand(2)).dtype == torch.float32


class DigitNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classes, self.layer = nn.Embedding(11, 8), nn.Linear(64 + 2 + 8, 64)

    def forward(self, x: Tensor, t: Tensor, d: Tensor, label: Tensor) -> Tensor:
        parts = [x.flatten(1), t[:, None], d[:, None], self.classes(label)]
        return self.layer(torch.cat(parts, 1)).reshape(x.shape)


def test_a_module_is_trained_saved_loaded_and_sampled(tmp_path: Path) -> None:
    training = sm.Training(train_steps=2, batch_size=8, device="cpu", precision="fp32", snapshots=0, side_share=1.0)
    module = DigitNet()
    before = module.layer.weight.detach().clone()
    model = sm.fit(module, Shortcut(max_steps=4), Digits(), run=tmp_path / "run", training=training, quiet=True)
    assert not torch.equal(module.layer.weight, before)  # it was trained in place
    loaded = sm.load(tmp_path / "run", network=DigitNet())
    assert np.array_equal(loaded.sample(4, steps=2, guidance=1.5), model.sample(4, steps=2, guidance=1.5))
    with pytest.raises(sm.UserError, match=r"test_wrapped.DigitNet, from outside the package: pass load\(..., network"):
        sm.load(tmp_path / "run")
    with pytest.raises(sm.UserError, match="do not fit the network"):
        sm.load(tmp_path / "run", network=DigitTwice())


class DigitTwice(DigitNet):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(1, 1)


def test_fit_says_what_is_wrong_before_the_first_step(tmp_path: Path) -> None:
    training = sm.Training(train_steps=2, batch_size=8, device="cpu")
    with pytest.raises(sm.UserError, match="Plain cannot be called"), pytest.warns(UserWarning, match="label"):
        sm.fit(Plain(), Shortcut(), Digits(), run=tmp_path / "run", training=training, quiet=True)
    assert not (tmp_path / "run").exists()


MASK: dict[str, Condition] = {"mask": Mask((5, 1))}


def masked_rows() -> Tensor:
    mask = torch.ones(3, 5, 1)
    mask[0, 3:], mask[1, 1:] = 0, 0
    return mask


@pytest.mark.parametrize("config", [MLPConfig(width=8, depth=1)])
def test_padding_is_0_for_the_network_and_in_its_velocity(config: MLPConfig) -> None:
    network = sm.as_network(config.build((5, 2), MASK), MASK)
    assert isinstance(network, MaskedNetwork)
    assert sm.as_network(network, MASK) is network
    wake(network)
    x, t, mask = torch.randn(3, 5, 2), torch.rand(3), masked_rows()
    v = network(x, t, t, network.encode({"mask": mask}))
    empty = (mask == 0).expand(x.shape)
    assert bool((v[empty] == 0).all())
    assert bool((v[~empty] != 0).all())
    other = torch.where(empty, torch.nan, x)
    assert torch.equal(network(other, t, t, network.encode({"mask": mask})), v)
    dropped = network.encode({"mask": mask}, torch.ones(3, dtype=torch.bool))
    assert bool((network(x, t, t, dropped)[empty] == 0).all())


@pytest.mark.parametrize("objective", [FlowMatching(), Shortcut(max_steps=8)])
def test_padding_has_no_gradient_and_no_loss(objective: Any) -> None:
    """Closed form: rows padded from 3 to 5 places have 3/5 of the loss of rows that are not padded."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(0.3))

        def forward(self, x: Tensor, t: Tensor, d: Tensor) -> Tensor:
            return self.w * x * (1 + d[:, None, None])

    data, found = torch.randn(16, 3, 2), []
    pad = torch.nn.functional.pad
    mask = pad(torch.ones(16, 3, 1), (0, 0, 0, 2))
    for padded in (False, True):
        module = Scale()
        network = sm.as_network(module, {"mask": Mask((5, 1))} if padded else {})
        batch = sm.Batch(pad(data, (0, 0, 0, 2)), {"mask": mask}) if padded else sm.Batch(data)
        noise = torch.randn(16, 5, 2, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(4)
        draws = objective.draw(sm.Batch(torch.zeros(16, 1)))._replace(noise=noise * mask if padded else noise[:, :3])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(objective), "draw", lambda self, batch, drawn=draws: drawn)
            losses = objective.losses(network, network, batch).per_example
        losses.mean().backward()
        found.append((losses.detach(), module.w.grad))
    torch.testing.assert_close(found[1][0], found[0][0] * 3 / 5)
    torch.testing.assert_close(found[1][1], found[0][1] * 3 / 5)


def test_noise_is_0_in_padding() -> None:
    batch = sm.Batch(torch.zeros(3, 5, 2), {"mask": masked_rows()})
    noise = FlowMatching().draw(batch).noise
    empty = (masked_rows() == 0).expand(noise.shape)
    assert bool((noise[empty] == 0).all())
    assert bool((noise[~empty] != 0).all())


def test_a_model_with_padding_is_trained_loaded_and_sampled(tmp_path: Path) -> None:
    mask = masked_rows().repeat(8, 1, 1)
    task = sm.FromDataset({"x": 7 + torch.randn(24, 5, 2), "mask": mask})
    training = sm.Training(train_steps=2, batch_size=8, device="cpu", precision="fp32", snapshots=0, side_share=1.0)
    config = MLPConfig(width=8, depth=1, condition_width=8)
    for objective in (Shortcut(max_steps=4), FlowMatching(max_steps=4)):
        run = tmp_path / type(objective).__name__
        model = sm.fit(config, objective, task, run=run, training=training, quiet=True)
        loaded = sm.load(run)
        assert isinstance(loaded.network, MaskedNetwork)
        noise = torch.randn(3, 5, 2)
        made = loaded.sample_from(noise, 2, {"mask": masked_rows()})
        assert np.array_equal(made, model.sample_from(noise, 2, {"mask": masked_rows()}))
        empty = (masked_rows() == 0).expand(noise.shape).numpy()
        np.testing.assert_allclose(made[empty], task.mean, rtol=1e-6)
        assert sm.evaluate(model, [1], num=4, quiet=True)["steps"]
    assert isinstance(sm.as_network(Plain(10), {"mask": Mask((5, 1))}).wrapped, WrappedNetwork)  # type: ignore[attr-defined]
