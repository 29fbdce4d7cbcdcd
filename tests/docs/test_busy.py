"""The benchmark of a busy machine runs its commands in turns, keeps all cores busy, and ends what it started."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import torch

from helpers.paths import ROOT
from shortcut_models.system.threads import CHOSEN_BY, available_cores


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import busy

    return busy


def test_each_kind_of_run_has_its_turn_and_ratios_are_of_one_round(
    busy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, bool]] = []

    def seconds_of(words: list[object], variables: dict[str, str]) -> float:
        loops = sum("while True" in " ".join(child.cmdline()) for child in psutil.Process().children())
        seen.append((str(words[0]), loops, "GOMP_SPINCOUNT" in variables))
        return 3.0 if loops else 1.5

    monkeypatch.setattr(busy, "seconds_of", seconds_of)
    monkeypatch.setattr(busy, "ROUNDS", 2)
    rows = {row.name: row for row in busy.measure(torch.device("cpu"), False)}
    each = [(0, False), (available_cores(), False), (0, True)]
    assert seen[0] == ("train", 0, False)  # the model that is sampled
    assert seen[1:] == [(name, *kind) for name in ("train", "sample") for kind in 2 * each]
    for what in ("train digits, 120 steps", "sample, 128 steps, 500 samples"):
        assert rows[f"{what}, busy"].values == [3.0, 3.0]
        assert rows[f"{what}, busy over quiet"].values == [2.0, 2.0]
        assert rows[f"{what}, busy over quiet"].at_most == 2.5
        assert rows[f"{what}, quiet over spinning"].values == [1.0, 1.0]
    assert not any("while True" in " ".join(child.cmdline()) for child in psutil.Process().children())


@pytest.mark.long
def test_a_quick_run_of_the_commands_writes_its_result(
    busy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {name for names in CHOSEN_BY.values() for name in names} & {*os.environ}:
        monkeypatch.delenv(name)
    busy.main(["--quick", "--json", str(tmp_path / "busy.json")])
    result = json.loads((tmp_path / "busy.json").read_text())
    assert result["command"].startswith("python benchmarks/busy.py --quick")
    assert len(result["measures"]) == 10
    assert all(measure["min"] > 0 for measure in result["measures"].values())
