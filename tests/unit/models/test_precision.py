"""Sampling in bfloat16: the network's products are of it, and nothing else is."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from shortcut_models.cli import main
from shortcut_models.errors import UserError
from shortcut_models.evaluation.results import merge_fid_results
from shortcut_models.models.loading import load
from shortcut_models.models.model import Model
from shortcut_models.models.sampler import PRECISIONS, Precision
from shortcut_models.recipes.commands import evaluate_command

TRAINING = "--train-steps 12 --batch-size 64 --network.width 32 --network.depth 1 --sample-every 12"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, hardly trained."""
    place = tmp_path_factory.mktemp("precision") / "run"
    assert main(f"train digits --run {place} {TRAINING}".split()) == 0
    return place


@pytest.fixture
def model(run: Path) -> Model:
    """The same, with weights that make the network's part of a sample large."""
    model = load(run)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    return model


def dtypes(model: Model, steps: int) -> tuple[set[torch.dtype], set[torch.dtype]]:
    """Of the results of linear layers, and of what the network is given and answers, while a sample is made."""
    products, ways = set(), set()
    for layer in model.network.modules():
        if isinstance(layer, nn.Linear):
            layer.register_forward_hook(lambda _, given, made: products.add(made.dtype))
    model.network.register_forward_hook(lambda _, given, made: ways.update(x.dtype for x in (*given[:3], made)))
    assert model.sample_from(torch.randn(2, *model.task.shape), steps, decode=False).dtype == torch.float32
    return products, ways


def test_products_are_of_the_precision_and_the_way_is_float32(model: Model) -> None:
    assert dtypes(model, 2) == ({torch.float32}, {torch.float32})


def test_bfloat16_is_for_products_alone(model: Model) -> None:
    model.precision = "bf16"
    assert dtypes(model, 2) == ({torch.bfloat16}, {torch.float32})


@pytest.mark.parametrize("steps", [1, 128])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_samples_differ_by_rounding_and_do_not_drift(model: Model, steps: int, guidance: float) -> None:
    noise, cond = torch.randn(32, *model.task.shape), model.conditions(range(32))
    exact = model.sample_from(noise, steps, cond, guidance, decode=False)
    model.precision = "bf16"
    rounded = model.sample_from(noise, steps, cond, guidance, decode=False)
    gap, moved = (rounded - exact).norm() / (exact - noise).norm(), (exact - noise).norm() / noise.norm()
    assert moved > 0.1
    assert 0 < gap < 0.02


def test_samples_in_bfloat16_repeat(model: Model) -> None:
    model.precision = "bf16"
    assert np.array_equal(model.sample(8, steps=4), model.sample(8, steps=4))


def test_another_precision_is_refused(model: Model) -> None:
    model.precision = "fp8"  # type: ignore[assignment]
    with pytest.raises(UserError, match="precision must be fp32 or bf16, not fp8"):
        model.sample(1)


def test_commands_take_a_precision(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = Model.sample_from, []
    monkeypatch.setattr(Model, "sample_from", lambda self, *a, **b: seen.append(self.precision) or made(self, *a, **b))
    for precision in PRECISIONS:
        assert main(f"sample {run} --num 20 --precision {precision} --out {tmp_path / 'samples.npz'}".split()) == 0
    assert tuple(seen) == PRECISIONS
    result = tmp_path / "result.json"
    assert main(f"evaluate {run} --steps 1 --num 20 --precision bf16 --json {result}".split()) == 0
    assert json.loads(result.read_bytes())["precision"] == "bf16"


def test_an_unknown_precision_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"sample {run} --precision fp16 --out {tmp_path / 'a.npz'}".split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--precision" in line
    assert "fp32" in line


def test_a_quick_look_in_bfloat16_leaves_a_larger_result(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    assert main(f"evaluate {tmp_path / 'run'} --steps 1 --num 30".split()) == 0
    before = (tmp_path / "run/evaluation.json").read_bytes()
    assert main(f"evaluate {tmp_path / 'run'} --steps 1 --num 20 --precision bf16".split()) == 0
    assert (tmp_path / "run/evaluation.json").read_bytes() == before


def test_results_of_unlike_precision_are_not_drawn_together(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PRECISIONS:
        shutil.copytree(run, tmp_path / name)
        assert main(f"evaluate {tmp_path / name} --steps 1 --num 20 --precision {name}".split()) == 0
    capsys.readouterr()
    assert main(f"plot {tmp_path / 'fp32'} {tmp_path / 'bf16'} --out {tmp_path / 'quality.png'}".split()) == 2
    assert "fp32 was evaluated in fp32 and bf16 in bf16, which do not compare" in capsys.readouterr().err


def test_the_command_behind_a_result_names_its_precision() -> None:
    result = {"steps": {"1": {}}, "num": 5, "seed": 0, "guidance": 1.0}
    assert "--precision" not in evaluate_command(result, Path("run"))
    assert evaluate_command(result | {"precision": "bf16"}, Path("run")).endswith("--precision bf16")


def test_rows_of_unlike_precision_are_not_put_together(tmp_path: Path) -> None:
    old: dict[str, Any] = {"num": 5, "seed": 0, "reference": {}, "steps": {"4": {"guidance": 1.0}}, "checks": []}
    (tmp_path / "fid.json").write_text(json.dumps(old))
    new = old | {"guidance": 1.0, "steps": {"1": {"guidance": 1.0}}}
    assert set(merge_fid_results(tmp_path / "fid.json", new | {"precision": "fp32"})["steps"]) == {"1", "4"}
    assert set(merge_fid_results(tmp_path / "fid.json", new | {"precision": "bf16"})["steps"]) == {"1"}


@pytest.mark.parametrize(("precision", "enabled"), [("fp32", False), ("bf16", True)])
def test_only_bfloat16_computes_under_autocast(model: Model, precision: Precision, enabled: bool) -> None:
    """A device without bfloat16 refuses that context, even an empty one."""
    seen: list[bool] = []
    model.network.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    model.precision = precision
    model.sample(1, steps=2)
    assert seen == [enabled, enabled]


def test_float32_leaves_the_autocast_around_it(model: Model) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert dtypes(model, 1) == ({torch.bfloat16}, {torch.float32})
