"""Two processes train one network: what they reach is what one process reaches with the same draws."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from helpers.runs import steps_of, tensors
from helpers.tiny_parts import Line, Regress, Scale, at, lines, nan_loss
from helpers.torchrun_pair import together
from shortcut_models import load
from shortcut_models.base import Batch, Losses, Network, Objective
from shortcut_models.errors import Stopped, UserError
from shortcut_models.models import checkpoint
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import OBJECTIVES, FlowMatching, ProgressiveDistillation, Shortcut
from shortcut_models.recipes import train as training_runs
from shortcut_models.recipes.library import Recipe
from shortcut_models.system.distributed import Processes
from shortcut_models.training import sharded_checkpoint, state
from shortcut_models.training.fit import fit
from shortcut_models.training.options import Training

pytestmark = [pytest.mark.multiprocess, pytest.mark.long]  # two processes train each method

TRAINING = Training(
    train_steps=5,
    batch_size=16,
    learning_rate=0.01,
    warmup=2,
    precision="fp32",
    device="cpu",
    log_every=1,
    sample_every=5,
    side_share=1.0,
)
SHORTCUT = Shortcut(max_steps=8, bootstrap_fraction=0.4)
SHARDED = replace(TRAINING, parallel="fsdp", train_steps=6, checkpoint_every=2)
"""what the runs that are saved, stopped and damaged have in common"""


def network(seed: int = 3) -> Network:
    torch.manual_seed(seed)
    return MLPConfig(width=8, depth=2, condition_width=8).build((2,), {})


def train(run: Path, objective: Objective, training: Training, **more: Any) -> Model:
    return fit(network(), objective, Line(), run=run, training=training, quiet=True, **more)


def each_objective() -> dict[str, Objective]:
    """Every method, so small that two steps and eight pairs are all it takes."""
    small: dict[str, Any] = {"max_steps": 4}
    pairs = {"pairs": 24, "pair_steps": 1}
    return {name: cls(**small, **(pairs if cls.requires == "pairs" else {})) for name, cls in OBJECTIVES.items()}


def source_for(objective: Objective) -> dict[str, Any]:
    if objective.requires == "data":
        return {}
    return {"teacher": Model(network(4), FlowMatching(max_steps=4), Line())}


@dataclass(frozen=True)
class Unreached(Regress):
    """A method that leaves a part of its network alone."""

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        zeros = torch.zeros(len(batch))
        return Losses(net.skip(zeros[:, None].expand(-1, 8)).square().mean(1), {})  # type: ignore[operator]


@dataclass(frozen=True)
class Interrupted(Shortcut):
    """A method during one of whose six steps one of the two processes gets a signal to stop."""

    step: int = 0

    def losses(self, net: Network, target_net: Network, batch: Batch, **context: Any) -> Losses:
        if torch.is_grad_enabled() and context["progress"] == (self.step - 1) / 6 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return super().losses(net, target_net, batch, **context)


LEFT_IN_PEACE = Interrupted(max_steps=8, bootstrap_fraction=0.4)


def scenario(processes: Processes, folder: Path) -> None:
    """All that needs two processes, in one go, as they take seconds to start."""
    train(folder / "ddp", SHORTCUT, TRAINING)
    train(folder / "ddp parts", SHORTCUT, replace(TRAINING, accumulate=2))
    train(folder / "ddp regress", Regress(), TRAINING)
    train(folder / "fsdp", SHORTCUT, replace(TRAINING, parallel="fsdp"))
    train(folder / "fsdp parts", SHORTCUT, replace(TRAINING, parallel="fsdp", accumulate=2))
    before = at({3}, nan_loss) if processes.rank == 1 else Regress().before
    train(folder / "bad step", Regress(before=before), TRAINING)
    before = at({3}, nan_loss) if processes.rank == 1 else Regress().before
    train(folder / "bad sharded step", Regress(before=before), replace(TRAINING, parallel="fsdp"))
    for name, objective in each_objective().items():
        train(folder / name, objective, replace(TRAINING, train_steps=2), **source_for(objective))
    staged = ProgressiveDistillation(max_steps=4)
    train(folder / "sharded teacher", staged, replace(TRAINING, train_steps=4, parallel="fsdp"), **source_for(staged))

    train(folder / "sharded", SHORTCUT, SHARDED)
    train(folder / "one, then two", SHORTCUT, SHARDED)  # begun by the test, in one process
    with pytest.raises(Stopped, match="stopped at step 3 of 6, and saved"):
        train(folder / "stopped", replace(LEFT_IN_PEACE, step=3), SHARDED)
    assert processes.gather(steps_of(folder / "stopped")) == [[2, 3]] * 2
    processes.run_on_main(lambda: shutil.copytree(folder / "stopped", folder / "two, then one"))
    processes.run_on_main(lambda: shutil.copytree(folder / "stopped", folder / "whole again"))
    train(folder / "stopped", LEFT_IN_PEACE, SHARDED)
    train(folder / "whole again", LEFT_IN_PEACE, replace(SHARDED, parallel="ddp"))
    processes.run_on_main(lambda: tear(folder / "sharded"))
    with pytest.warns(UserWarning, match="is damaged .*: the checkpoint before it is used"):
        model = train(folder / "sharded", SHORTCUT, SHARDED)
    for name, value in load(folder / "sharded", task=Line()).network.state_dict().items():
        assert torch.equal(value, model.network.state_dict()[name])
    refusals(folder)


def tear(run: Path) -> None:
    """Damage a byte of one process's share of the newest checkpoint."""
    shares = run / "checkpoints" / "00000006" / sharded_checkpoint.FOLDER
    path = sorted(shares.iterdir())[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def refusals(folder: Path) -> None:
    """What is wrong is said by all processes alike, and none is left waiting."""
    with pytest.raises(UserError, match="batch-size 15 cannot be shared evenly by 2 processes of 1 parts: use a mul"):
        train(folder / "new", Regress(), replace(TRAINING, batch_size=15))
    with pytest.raises(UserError, match="snapshots need a network that is not sharded: pass --snapshots 0"):
        train(folder / "new", Regress(), replace(SHARDED, snapshots=2))
    with pytest.raises(UserError, match="parallel fsdp cannot cut up 'c', which has no axis"):
        fit(Scale(), Regress(), Line(), run=folder / "scalar", training=SHARDED, quiet=True)
    with pytest.raises(UserError, match="was started with --batch-size 16, not 32"):
        train(folder / "ddp", SHORTCUT, replace(TRAINING, batch_size=32))
    with pytest.raises(UserError, match=r"the loss does not depend on embed\.time\.0\.weight"):
        train(folder / "unreached", Unreached(), TRAINING)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(folder / "one, then two", SHORTCUT, replace(SHARDED, accumulate=2))
    for path in checkpoint.list_checkpoints(folder / "one, then two" / "checkpoints")[1:]:
        shutil.rmtree(path)
    together(scenario, folder)
    return folder


def distance(a: dict[str, Any], b: dict[str, Any]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def weights(run: Path) -> dict[str, Any]:
    (ema, _), *_ = checkpoint.newest(run / "checkpoints", (checkpoint.MODEL,))[1]  # type: ignore[index]
    return ema


@pytest.mark.parametrize(("run", "parts"), [("ddp", 2), ("ddp parts", 4)])
def test_two_processes_do_what_one_does_in_twice_the_parts(tmp_path: Path, runs: Path, run: str, parts: int) -> None:
    train(tmp_path / "one", SHORTCUT, replace(TRAINING, accumulate=parts))
    assert distance(tensors(runs / run), tensors(tmp_path / "one")) < 1e-6
    for two, one in zip(lines(runs / run), lines(tmp_path / "one"), strict=True):
        two, one = ({k: v for k, v in line.items() if "second" not in k} for line in (two, one))
        assert two == pytest.approx(one, rel=1e-5, abs=1e-9)


def test_two_processes_do_what_one_does_with_the_whole_batch(tmp_path: Path, runs: Path) -> None:
    """Of a method without draws, so that any split of a batch has the same."""
    train(tmp_path / "one", Regress(), TRAINING)
    assert distance(tensors(runs / "ddp regress"), tensors(tmp_path / "one")) < 1e-6


@pytest.mark.parametrize("parts", ["", " parts"])
def test_sharded_is_as_whole(runs: Path, parts: str) -> None:
    assert distance(weights(runs / f"fsdp{parts}"), weights(runs / f"ddp{parts}")) < 1e-5
    for sharded, whole in zip(lines(runs / f"fsdp{parts}"), lines(runs / f"ddp{parts}"), strict=True):
        assert sharded.keys() == whole.keys()
        assert sharded["heldout_loss" if sharded["step"] == 5 else "gradient_norm"] == pytest.approx(
            whole["heldout_loss" if whole["step"] == 5 else "gradient_norm"], rel=1e-5
        )


def test_a_step_that_is_not_finite_in_one_process_is_skipped_by_both(tmp_path: Path, runs: Path) -> None:
    train(tmp_path / "one", Regress(before=at({3}, nan_loss)), TRAINING)
    assert distance(tensors(runs / "bad step"), tensors(tmp_path / "one")) < 1e-6
    assert distance(weights(runs / "bad sharded step"), weights(tmp_path / "one")) < 1e-6
    assert lines(runs / "bad step")[-1]["skipped"] == lines(runs / "bad sharded step")[-1]["skipped"] == 1


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_method_trains_in_two_processes_as_in_one(tmp_path: Path, runs: Path, name: str) -> None:
    objective = each_objective()[name]
    train(tmp_path / "one", objective, replace(TRAINING, train_steps=2, accumulate=2), **source_for(objective))
    assert distance(tensors(runs / name), tensors(tmp_path / "one")) < 1e-6


def test_a_sharded_source_changes_with_its_stages(tmp_path: Path, runs: Path) -> None:
    objective = ProgressiveDistillation(max_steps=4)
    train(tmp_path / "one", objective, replace(TRAINING, train_steps=4, accumulate=2), **source_for(objective))
    assert distance(weights(runs / "sharded teacher"), weights(tmp_path / "one")) < 1e-5


@pytest.mark.parametrize("name", ["sharded", "one, then two", "stopped", "whole again", "two, then one"])
def test_what_was_saved_goes_on_in_any_number_of_processes(tmp_path: Path, runs: Path, name: str) -> None:
    """Saved by one and by two, whole and sharded, in pieces and after damage: all end at the same weights."""
    train(tmp_path / "whole", SHORTCUT, replace(SHARDED, accumulate=2))
    if name == "two, then one":
        train(runs / name, LEFT_IN_PEACE, replace(SHARDED, accumulate=2))
    assert steps_of(runs / name)[-1] == 6
    assert distance(weights(runs / name), weights(tmp_path / "whole")) < 1e-5
    assert [line["step"] for line in lines(runs / name)] == [1, 2, 3, 4, 5, 6]


@dataclass(frozen=True)
class Slow(Line):
    """A task whose data takes longer to prepare than processes wait for one another while they train."""

    def resolve(self) -> Slow:
        time.sleep(2)
        return self


def prepares_slowly(processes: Processes, folder: Path) -> None:
    recipe = Recipe("", Slow(), MLPConfig(width=8, depth=1), SHORTCUT, TRAINING)
    hasty = replace(processes, group=dist.new_group(timeout=datetime.timedelta(seconds=0.5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_runs, "process_group", lambda device: contextlib.nullcontext(hasty))
        patch.setattr(training_runs, "fit", lambda network, objective, task, *rest, **more: task)
        found = training_runs.train_recipe("slow", recipe, folder / "run")
    assert [type(task) for task in processes.gather(found)] == [Slow, Slow]


def test_processes_wait_for_data_longer_than_for_one_another(tmp_path: Path) -> None:
    together(prepares_slowly, tmp_path)


def test_what_is_sharded_is_never_whole_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without memory in the place of a GPU; the networks are to be on the CPU until they are cut up."""
    seen: dict[str, list[str]] = {}

    def watch(
        trained: Network, sampled: Network, others: list[Network], device: torch.device, *_: Any, **__: Any
    ) -> None:
        seen[device.type] = [p.device.type for net in (trained, sampled, *others) for p in net.parameters()]

    monkeypatch.setattr(state, "shard", watch)
    monkeypatch.setattr(Processes, "broadcast_parameters", lambda self, module: None)
    objective = ProgressiveDistillation(max_steps=4)
    state.State.new(network(), objective, SHARDED, torch.device("meta"), network(4), Processes(0, 2))
    assert set(seen["meta"]) == {"cpu"}
    assert len(seen["meta"]) == 4 * len(list(network().parameters()))
