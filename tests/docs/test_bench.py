"""The benchmark runs, counts FLOPs correctly, and writes what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from helpers.paths import ROOT
from shortcut_models.networks import DiTConfig

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import bench

    return bench


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import policy

    return policy


@pytest.mark.parametrize("rows", [1, 5])
def test_flops_are_two_for_each_multiplication_of_the_matrix_products(bench: ModuleType, rows: int) -> None:
    width, depth, tokens, patch = 384, 6, 64, 3 * 2 * 2
    linear = 12 * width**2  # q, k, v and the product after them, and the two of the MLP, four times as wide
    attention = 2 * tokens * width  # scores and means
    token = depth * (linear + attention) + 2 * patch * width
    once = (depth * 6 + 2) * width**2 + 2 * (128 * width + width**2) + 3 * width  # modulations, t and d, skip
    network = DiTConfig(width=width, depth=depth, heads=6).build((3, 16, 16), {})
    assert bench.model_flops(network, (3, 16, 16), rows) == 2 * rows * (tokens * token + once)


def test_works_take_turns_and_what_is_fast_is_repeated(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    cost = {"a": 0.25, "b": 0.0625}
    monkeypatch.setattr("stopwatch.time.perf_counter", lambda: sum(cost[name] for name in done))
    works = {name: (lambda name=name: done.append(name)) for name in cost}
    seconds = bench.Stopwatch(torch.device("cpu"), least=0.25).in_turns(works, rounds=2, warm=1)
    assert "".join(done) == "ab" + 2 * "abbbb"
    assert seconds == {"a": [0.25] * 2, "b": [0.0625] * 2}


def test_a_quick_run_writes_every_measure_with_the_machine(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "speed.json"
    bench.main(["--quick", "--device", "cpu", "--json", str(path)])
    result, said = json.loads(path.read_text()), capsys.readouterr().out
    assert result["command"] == f"python benchmarks/bench.py --quick --device cpu --json {path}"
    assert result["machine"]["device"] == "cpu"
    assert result["machine"]["processor"]
    assert result["versions"]["shortcut_models"]
    assert said.strip().endswith(str(path))
    for name, measure in result["measures"].items():
        assert f"\n{name} " in said
        assert 0 < measure["min"] <= measure["median"] <= measure["max"]
    bounds = {name: measure for name, measure in result["measures"].items() if "met" in measure}
    assert [measure.get("at_least", measure.get("at_most")) for measure in bounds.values()] == [0.5, 1.05]
    for measure in bounds.values():
        low, high = measure.get("at_least", 0), measure.get("at_most", float("inf"))
        assert measure["met"] == (low <= measure["median"] <= high)


def test_a_quick_run_replaces_no_result(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench.record, "RESULTS", tmp_path)
    for part in ("training_rows", "sampling_rows", "digits_rows"):
        monkeypatch.setattr(bench, part, lambda *_: [bench.Row("x", "", [1.0])])
    bench.main(["--quick", "--device", "cpu"])
    assert not list(tmp_path.iterdir())
    bench.main(["--device", "cpu"])
    (path,) = tmp_path.iterdir()
    assert path.name == path.name.lower()
    assert path.suffix == ".json"


def test_a_device_that_is_not_there_is_named(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(["--device", "cuda:99"])
    assert stopped.value.code == 2
    assert "'cuda:99' is not available here" in capsys.readouterr().err


def test_a_quick_run_times_the_decisions_of_policies(
    policy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "STEPS", 4)
    policy.main(["--quick", "--device", "cpu", "--json", str(tmp_path / "speed.json")])
    measures = json.loads((tmp_path / "speed.json").read_text())["measures"]
    assert torch.get_num_threads() == 1
    for network in ("mlp", "unet1d", "chunk-dit"):
        for work in ("encoder", "one pass", "decision, 1 step", "decision, 4 steps", "4 steps over 1"):
            assert measures[f"{network}, {work}, 1 thread"]["min"] > 0
        assert measures[f"{network}, decision, 1 step, 1 thread"]["at_most"] == 16


def test_published_sizes_are_measured_where_they_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import dit

    monkeypatch.setattr(dit, "PACKAGE", "a_package_that_nobody_has")
    dit.main(["--quick", "--device", "cpu", "--json", str(tmp_path / "speed.json")])
    measures = json.loads((tmp_path / "speed.json").read_text())["measures"]
    assert measures["DiT-S/2, training step of 1"]["min"] > 0
    assert measures["DiT-S/2, 2 samples, 1 step, fp32"]["unit"] == "1/s"
    assert "FID's Inception is not installed" in capsys.readouterr().out
    monkeypatch.setattr(dit, "free_memory", lambda device: 0.5)
    assert dit.measure(torch.device("cpu"), quick=True) == []  # 33 M parameters, with their averages, take more
    assert "DiT-S/2 needs about 1 GiB, and 0 are free: it is not measured" in capsys.readouterr().out
