"""The benchmark of a service, and what a model imports, which decides how soon it is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from helpers.models import FLOWERS, model_of
from helpers.paths import ROOT
from helpers.runs import environment

HEAVY = (
    "scipy",
    "sklearn",
    "matplotlib",
    "diffusers",
    "transformers",
    "tabulate",
    "huggingface_hub",
    "pandas",
    "datasets",
)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import service

    return service


@pytest.mark.long
def test_a_quick_run_writes_its_result(service: ModuleType, tmp_path: Path) -> None:
    service.main(["--quick", "--json", str(tmp_path / "service.json")])
    measures = json.loads((tmp_path / "service.json").read_text())["measures"]
    assert {"load", "load, on the clock", "samples in one request"} < set(measures)
    assert all(measure["min"] >= 0 for measure in measures.values())
    assert measures["load"]["at_most"] == 1.0


@pytest.mark.multiprocess
def test_to_load_and_sample_imports_nothing_heavy_beside_torch(tmp_path: Path) -> None:
    model_of(FLOWERS).save(tmp_path / "flowers")
    code = f"""
import sys
import torch
before = {{*sys.modules}}
import shortcut_models as sm
sm.load({str(tmp_path / "flowers")!r}).sample(2, label="tulip", output="pil")
more = {{name.partition(".")[0] for name in {{*sys.modules}} - before}}
assert not more & {set(HEAVY)!r}, more
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
