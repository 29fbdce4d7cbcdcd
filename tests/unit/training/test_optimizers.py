"""Optimisers: each does what its own library says, skips bad steps, and resumes to the bit."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from helpers.runs import POINTS, assert_refused, refusal, same, tensors, train
from helpers.tiny_parts import TRAINING, Line, Regress, Scale, at, infinite_gradient, nan_loss
from shortcut_models import Training, fit
from shortcut_models.models.run import Run
from shortcut_models.networks import DiTConfig, MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Toy
from shortcut_models.training.fit import check_parts
from shortcut_models.training.optimizers import inner_matrices, make_optimizer
from shortcut_models.training.options import MakeOptimizer

TINY = MLPConfig(width=16, depth=2, condition_width=8)
TASK = Toy(size=200)
NO_SCHEDULE_FREE = importlib.util.find_spec("schedulefree") is None


def momentum(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.2, momentum=0.9)


class Counting(torch.optim.Optimizer):
    """An optimiser that keeps Python numbers, in its state and in its groups, and depends on them."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1, "k": 0, "scale": 1.0, "odd": False})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["k"], group["odd"] = group["k"] + 1, not group["odd"]
            group["scale"] *= 0.9
            for parameter in group["params"]:
                slot = self.state[parameter]
                slot["n"] = slot.get("n", 0) + 1
                slot["unused"] = None
                parameter -= group["lr"] * group["scale"] * (1 + group["odd"]) / slot["n"] * parameter.grad


def backwards(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Groups in another order than the network's."""
    return Counting([{"params": parameters[3:]}, {"params": parameters[:3], "lr": 0.05}])


def schedule_free_sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    import schedulefree

    made: torch.optim.Optimizer = schedulefree.SGDScheduleFree(parameters, lr=0.1)
    return made


needs_extra = pytest.mark.skipif(NO_SCHEDULE_FREE, reason="needs the extra schedule-free")
OPTIMIZERS = [
    "adamw", "muon", momentum, backwards, functools.partial(torch.optim.Adam, lr=0.01, fused=True),
    pytest.param("schedule-free", marks=needs_extra), pytest.param(schedule_free_sgd, marks=needs_extra),
]  # fmt: skip
NAMES = ["adamw", "muon", "momentum", "backwards", "adam", "schedule-free", "schedule-free sgd"]
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=NAMES)


def go(run: Path | None, optimizer: Any, *, network: Any = TINY, callbacks: Any = (), **options: Any) -> Any:
    training = replace(TRAINING, **{"batch_size": 32, "optimizer": optimizer, "checkpoint_every": 5, **options})
    return fit(network, FlowMatching(max_steps=8), TASK, run=run, training=training, callbacks=callbacks, quiet=True)


class Stop:
    def on_step(self, trainer: Any) -> None:
        if trainer.step == 7:
            trainer.stop()


@each_optimizer
def test_a_run_resumes_to_the_bit(optimizer: Any, tmp_path: Path) -> None:
    go(tmp_path / "straight", optimizer)
    assert go(tmp_path / "broken", optimizer, callbacks=[Stop()]).step == 7
    go(tmp_path / "broken", optimizer)
    straight, broken = tensors(tmp_path / "straight"), tensors(tmp_path / "broken")
    assert same(straight, broken)
    assert any(name.startswith("optimizer") for name in straight) or optimizer is backwards


@each_optimizer
@pytest.mark.parametrize("spoil", [nan_loss, infinite_gradient])
def test_a_step_that_is_not_finite_is_skipped(optimizer: Any, spoil: Any) -> None:
    weights: dict[int, dict[str, torch.Tensor]] = {}

    class Keep:
        def on_step(self, trainer: Any) -> None:
            weights[trainer.step] = {n: v.detach().clone() for n, v in trainer.state.network.named_parameters()}

    class Matrix(Scale):  # with a matrix, for Muon
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: Any, t: Any, d: Any, context: Any = None) -> Any:
            return super().forward(x, t, d) + self.inner(x)

    training = replace(TRAINING, optimizer=optimizer, train_steps=4)
    fit(Matrix(), Regress(before=at({2}, spoil)), Line(), training=training, callbacks=[Keep()], quiet=True)
    assert same(weights[1], weights[2])
    assert not same(weights[2], weights[3])
    assert all(torch.isfinite(value).all() for value in weights[4].values())


def test_muon_is_torchs_own_on_inner_matrices_and_adamw_on_the_rest() -> None:
    torch.manual_seed(0)
    network, twin = (MLPConfig(width=16, depth=2, condition_width=8).build((2,), {}) for _ in range(2))
    twin.load_state_dict(network.state_dict())
    training = Training(optimizer="muon", learning_rate=0.02, weight_decay=0.3)
    inner = [name for name, _ in inner_matrices(network)]
    mine = make_optimizer(network, training)
    theirs = dict(twin.named_parameters())
    matrices = [theirs.pop(name) for name in inner]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.3, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(theirs.values(), lr=0.02, betas=(0.9, 0.99), weight_decay=0.3, fused=True)
    for _ in range(3):
        for one, other in zip(network.parameters(), twin.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for optimizer in (mine, muon, adamw):
            optimizer.step()
    assert same(dict(network.state_dict()), dict(twin.state_dict()))


@pytest.mark.parametrize("config", [MLPConfig(), DiTConfig(width=16, depth=1, heads=2, patch_size=2)])
def test_muon_leaves_the_ends_of_a_network_to_adamw(config: Any) -> None:
    network = config.build((1, 8, 8), {})
    names = [name for name, _ in inner_matrices(network)]
    assert names
    assert not {"proj_in", "proj_out", "skip", "embed", "conditions"} & {
        part for name in names for part in name.split(".")
    }


def test_of_another_network_the_first_matrix_and_the_last_are_its_ends() -> None:
    class Other(Scale):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 4), nn.Embedding(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))

    assert [name for name, _ in inner_matrices(Other())] == ["layers.2.weight"]


def test_muon_needs_a_matrix() -> None:
    with refusal("optimizer muon is for matrices of inner layers, and this network has none: use adamw"):
        fit(Scale(), Regress(), Line(), training=replace(TRAINING, optimizer="muon"), quiet=True)


@needs_extra
def test_schedule_free_samples_from_its_own_average() -> None:
    averages: list[bool] = []

    class Look:
        def on_step(self, trainer: Any) -> None:
            state = trainer.state
            now = {name: value.clone() for name, value in state.network.state_dict().items()}
            state.optimizer.eval()
            pairs = zip(state.network.parameters(), state.ema.parameters(), strict=True)
            averages.append(all(torch.equal(mine, theirs) for mine, theirs in pairs))
            state.optimizer.train()
            assert averages == [True] or not same(now, dict(state.ema.state_dict()))
            state.network.load_state_dict(now)

    go(None, "schedule-free", callbacks=[Look()])
    assert averages == [True] * 12
    # The learning rate stays at its peak after the warm-up: averaging takes the place of a schedule.
    training = replace(TRAINING, optimizer="schedule-free")
    assert [training.learning_rate_at(step) for step in (4, 11)] == [training.learning_rate] * 2


def test_a_functions_learning_rates_are_peaks_of_the_schedule() -> None:
    def two_rates(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.4}], lr=0.2)

    rates: list[tuple[float, float]] = []

    class Look:
        def on_step(self, trainer: Any) -> None:
            first, second = (group["lr"] for group in trainer.state.optimizer.param_groups)
            rates.append((first, second))

    go(None, two_rates, callbacks=[Look()])
    shape = [TRAINING.learning_rate_at(step) / TRAINING.learning_rate for step in range(12)]
    assert [first for first, _ in rates] == pytest.approx([0.2 * each for each in shape])
    assert [second for _, second in rates] == pytest.approx([0.4 * each for each in shape])


def test_a_function_is_described_by_its_name_and_must_be_the_same_to_resume(tmp_path: Path) -> None:
    go(tmp_path, momentum, train_steps=3)
    name = Run(tmp_path).read_config()["training"]["optimizer"]
    assert name == f"{momentum.__module__}.momentum"
    with refusal("was started with --optimizer .*momentum, not adamw"):
        go(tmp_path, "adamw", train_steps=3)
    partial: MakeOptimizer = functools.partial(torch.optim.SGD, lr=0.1)
    go(tmp_path / "partial", partial, train_steps=3)
    assert Run(tmp_path / "partial").read_config()["training"]["optimizer"].endswith("SGD(lr=0.1)")


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda parameters: None, "optimizer must return a torch.optim.Optimizer, not NoneType"),
        (lambda parameters: torch.optim.SGD([nn.Parameter(torch.ones(1))]), "has parameters of another network"),
        ("adam", "optimizer must be one of adamw, muon, schedule-free or a function, not 'adam'"),
        (3, "or a function, not 3"),
    ],
)
@pytest.mark.usefixtures("annotations_unchecked")
def test_what_is_not_an_optimizer_is_refused(optimizer: Any, message: str) -> None:
    with refusal(message):
        go(None, optimizer)


def test_an_extra_that_is_missing_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "schedulefree", None)
    with refusal(r"optimizer schedule-free needs an extra: pip install 'shortcut-models\[schedule-free\]'"):
        go(tmp_path / "run", "schedule-free")


def test_sharding_is_for_adamw() -> None:
    training = Training(optimizer="muon", parallel="fsdp", batch_size=4)
    with refusal("parallel fsdp shards the state of adamw alone: pass --optimizer adamw, or --parallel ddp"):
        check_parts(FlowMatching(), training, {split: Line().dataset(split) for split in ("train", "test")}, 2)


def test_the_command_takes_names(tmp_path: Path) -> None:
    train(tmp_path / "run", "--optimizer", "muon", "--train-steps", 2, options=POINTS)
    assert Run(tmp_path / "run").read_config()["training"]["optimizer"] == "muon"
    message = "--optimizer must be one of adamw, muon, schedule-free, not 'mun': did you mean muon?"
    assert_refused([*POINTS, "--run", tmp_path / "other", "--optimizer", "mun"], message)
