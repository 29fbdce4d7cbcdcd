"""Files of version 0.1 open, sample, evaluate and resume as they did; see tests/data/version_0_1/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from helpers.paths import DATA
from helpers.runs import shortcut, train
from shortcut_models import load
from shortcut_models.models import checkpoint
from shortcut_models.models.run import Run
from shortcut_models.reports.report import write_report

OLD = DATA / "version_0_1"
MODELS = sorted(path for path in OLD.glob("*.safetensors") if path.stem != "run_at_step_8")
SAMPLES = np.load(OLD / "samples.npz")


def test_there_is_a_model_of_each_kind() -> None:
    assert {name.rpartition("_")[0] for name in SAMPLES.files} == {path.stem for path in MODELS}
    assert len(MODELS) == 15


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_makes_the_same_samples(path: Path) -> None:
    model = load(path)
    for name in SAMPLES.files:
        kind, _, steps = name.rpartition("_")
        if kind == path.stem:
            made = model.sample(len(SAMPLES[name]), steps=int(steps), seed=0)
            np.testing.assert_allclose(made, SAMPLES[name], rtol=0, atol=1e-4)


def test_a_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "run", run)
    options = ("train", "digits", "--network", "mlp", "--network.width", 16, "--network.depth", 1,
               "--network.condition-width", 8, "--batch-size", 32, "--warmup", 3, "--device", "cpu", "--precision",
               "fp32", "--objective.max-steps", 8, "--train-steps", 8, "--checkpoint-every", 4)  # fmt: skip
    train(run, options=options)
    assert load(run).step == 8
    final = safetensors.torch.load_file(run / "checkpoints" / "00000008" / "model.safetensors")
    expected = safetensors.torch.load_file(OLD / "run_at_step_8.safetensors")
    today = {name.replace("inlet", "proj_in").replace("outlet", "proj_out"): value for name, value in expected.items()}
    assert final.keys() == today.keys()
    for name, value in final.items():
        torch.testing.assert_close(value, today[name], rtol=1e-4, atol=1e-5)
    # What the run says of itself from now on is in today's words.
    config = json.loads((run / "config.json").read_text())
    assert config["training"]["train_steps"] == 8
    assert "bootstrap_fraction" in config["objective"]


def test_names_of_the_layers_of_an_own_network_stay(tmp_path: Path) -> None:
    """Only those of our networks, and of what training saves, have other names today."""
    weights = {"teacher.inlet.weight": torch.ones(2), "streak": torch.zeros(1)}
    header = {"version": "0.1.0", "network": {"name": None, "class": "mine.Net"}}
    checkpoint.write(tmp_path / checkpoint.MODEL, weights, header)
    assert set(checkpoint.read(tmp_path / checkpoint.MODEL)[0]) == set(weights)
    checkpoint.write(tmp_path / checkpoint.STATE, {"network.teacher.inlet": torch.ones(2), **weights}, header)
    expected = {"network.teacher.inlet", "target_net.inlet.weight", "bad_steps_in_a_row"}
    assert set(checkpoint.read(tmp_path / checkpoint.STATE)[0]) == expected


def test_commands_take_an_old_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(OLD / "run", run)
    assert write_report(run, load(run)).is_file()
    assert shortcut("sample", run, "--steps", 1, "--num", 2, "--out", tmp_path / "s.npz").code == 0
    assert shortcut("evaluate", run, "--steps", 1, "--num", 20).code == 0
    assert Run(run).read_config()["objective"]["bootstrap_fraction"] == 0.5
