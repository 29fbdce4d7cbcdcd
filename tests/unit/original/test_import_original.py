"""The command that turns a checkpoint of the paper's own code into a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.original_fixtures import SIZES, checkpoint, group
from helpers.original_maker import Original, write
from helpers.runs import environment, shortcut, tree
from shortcut_models import load
from shortcut_models.errors import UserError
from shortcut_models.objectives import OBJECTIVES, Shortcut
from shortcut_models.original.network import load_network
from shortcut_models.tasks import ImportedModel

CASE = Original()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("imported") / "new" / "run"
    outcome = shortcut(
        "import-original", checkpoint("teacher"), "--out", out, "--num-heads", 4, "--image-size", 8
    )  # fmt: skip
    file = out / "checkpoints" / "00000301" / "model.safetensors"
    said = f"{file}: try `shortcut sample {out} --steps 1 4 128 --out samples.npz`\n"
    assert outcome == (0, said, "")
    return out


def test_the_command_makes_a_run(imported: Path) -> None:
    assert sorted(tree(imported)) == [
        "checkpoints", "checkpoints/00000301", "checkpoints/00000301/model.safetensors", "config.json",
    ]  # fmt: skip
    assert os.listdir(imported.parent) == ["run"]
    config = json.loads((imported / "config.json").read_text())
    assert config["task"] == {"name": "imported", "shape": [4, 8, 8], "classes": 10}
    assert config["network"]["variant"] == "original"
    assert config["objective"]["name"] == "shortcut"


def test_the_run_gives_the_recorded_samples(imported: Path) -> None:
    recorded = group("sampling")
    noise = torch.from_numpy(recorded["noise"]).permute(0, 3, 1, 2)
    cond = {"label": torch.from_numpy(recorded["labels"]).long()}
    for path in (imported, imported / "checkpoints" / "00000301" / "model.safetensors"):
        model = load(path)
        assert (model.step, model.classes, model.task) == (301, 10, ImportedModel((4, 8, 8), 10))
        assert model.objective == Shortcut.original()
        for guidance in (0.0, 1.0, 1.5):
            made = model.sample_from(noise, 8, cond, guidance).transpose(0, 2, 3, 1)
            expected = recorded[f"cfg{guidance}/steps8"]
            assert np.abs(made - expected).max() / np.abs(expected).max() < 1e-5


def test_the_run_samples_from_the_command_line(imported: Path, tmp_path: Path) -> None:
    before = tree(imported)
    for number, path in enumerate((imported, imported / "checkpoints" / "00000301" / "model.safetensors")):
        out = tmp_path / f"{number}.npz"
        outcome = shortcut("sample", path, "--steps", 1, 3, "--num", 5, "--guidance", 1.5, "--out", out)
        assert outcome == (0, f"{out} and {out.with_suffix('.png')}\n", "")
        made = np.load(out)
        assert made["steps_3"].shape == (5, 4, 8, 8)
        assert made["steps_3"].dtype == np.float32
        assert made["labels"].tolist() == [0, 1, 2, 3, 4]
        assert Image.open(out.with_suffix(".png")).format == "PNG"
    assert (tmp_path / "0.npz").read_bytes() == (tmp_path / "1.npz").read_bytes()
    outcome = shortcut("evaluate", imported, "--num", 10)
    assert outcome.code == 2
    assert "this model came without its data" in outcome.complaint
    assert outcome.err.count("\n") == 1
    assert shortcut("report", imported, "--out", tmp_path / "report.html").code == 0
    assert shortcut("animate", imported, "--out", tmp_path / "a.gif").code == 2
    assert tree(imported) == before


def test_raw_takes_the_parameters_themselves(imported: Path, tmp_path: Path) -> None:
    words = ("--num-heads", 4, "--image-size", 8, "--raw")
    assert shortcut("import-original", checkpoint("teacher"), "--out", tmp_path / "raw", *words).code == 0
    raw, averaged = (load(path).network.state_dict() for path in (tmp_path / "raw", imported))
    expected = load_network(checkpoint("teacher"), **SIZES, ema=False).state_dict()
    assert all(torch.equal(raw[name], expected[name]) for name in expected)
    assert not any(torch.equal(raw[name], averaged[name]) for name in expected)


@pytest.mark.parametrize("name", [name for name, cls in OBJECTIVES.items() if hasattr(cls, "original")])
def test_every_method_of_the_original_can_be_named(name: str, tmp_path: Path) -> None:
    path, out = write(tmp_path / "checkpoint.pkl", CASE.checkpoint()), tmp_path / "run"
    words = ("--num-heads", 2, "--image-size", 8, "--objective", name)
    assert shortcut("import-original", path, "--out", out, *words).code == 0
    model = load(out)
    assert model.objective == OBJECTIVES[name].original()  # type: ignore[attr-defined]
    assert model.step == 7
    assert model.sample(2, steps=2).shape == (2, 3, 8, 8)


def test_a_checkpoint_without_classes_becomes_a_model_without_labels(tmp_path: Path) -> None:
    case = Original(classes=0)
    path, out = write(tmp_path / "checkpoint.pkl", case.checkpoint()), tmp_path / "run"
    assert shortcut("import-original", path, "--out", out, "--num-heads", 2, "--image-size", 8).code == 0
    assert load(out).sample(2).shape == (2, 3, 8, 8)


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    path, full = write(tmp_path / "checkpoint.pkl", CASE.checkpoint()), tmp_path / "full"
    full.mkdir()
    (full / ".hidden").touch()
    words = ("--num-heads", 2, "--image-size", 8)
    before = tree(tmp_path)
    for arguments, said in (
        ((path, "--out", full, *words), f"{full} is not empty: choose another directory with --out"),
        ((path, "--out", path, *words), f"{path} is a file: choose another directory with --out"),
        ((path, "--out", path / "run", *words), f"error: {path}/run: Not a directory: fix this, or choose another"),
        ((tmp_path / "none.pkl", "--out", tmp_path / "run", *words), "none.pkl does not exist"),
        ((path, "--out", tmp_path / "run", "--num-heads", 3, "--image-size", 8), "num-heads 3 does not divide"),
        ((path, "--out", tmp_path / "run", "--num-heads", "two", "--image-size", 8), "must be a whole number"),
        ((path, "--out", tmp_path / "run", "--num-heads", 2), "image-size"),
        ((path, "--num-heads", 2, "--image-size", 8), "--out"),
        ((path, "--out", tmp_path / "run", *words, "--objective", "diffusion"), "choose one of flow, shortcut"),
    ):
        outcome = shortcut("import-original", *arguments)
        assert outcome.code == 2
        assert outcome.out == ""
        assert said in outcome.complaint
        assert outcome.err.count("\n") == 1
    assert tree(tmp_path) == before


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    path, out = write(tmp_path / "checkpoint.pkl", CASE.checkpoint()), tmp_path / "run"
    out.mkdir()
    assert shortcut("import-original", path, "--out", out, "--num-heads", 2, "--image-size", 8).code == 0
    assert load(out).step == 7


def test_nothing_of_jax_is_imported_nor_a_pickle_run(tmp_path: Path) -> None:
    path = write(tmp_path / "checkpoint.pkl", CASE.checkpoint())
    code = f"""
import pickle, sys
def refuse(*_, **__):
    raise SystemExit("a pickle was run")
pickle.load = pickle.loads = refuse
class Refused(pickle.Unpickler):
    def __init__(self, *_, **__):
        refuse()
from shortcut_models.original.network import load_network
pickle.Unpickler = pickle._Unpickler = Refused
load_network({str(path)!r}, num_heads=2, image_size=8)
heavy = {{"jax", "jaxlib", "flax", "optax", "ml_dtypes", "chex"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr


def test_models_without_data_give_what_they_make_and_refuse_to_be_judged() -> None:
    values = torch.tensor([[-1.0, 1.0, 0.0, 9.0], [3.0, -3.0, 0.2, 9.0]])
    x = values[:, :, None, None].expand(2, 4, 8, 8).contiguous()
    drawn = {1: [[0] * 3, [255] * 3], 2: [[0] * 3, [255] * 3], 3: [[0, 255, 128], [255, 0, 153]]}
    for channels, colours in (*drawn.items(), (4, drawn[3])):
        task = ImportedModel((channels, 8, 8))
        made = task.decode(x[:, :channels])
        assert made.dtype == np.float32
        assert np.array_equal(made, x[:, :channels].numpy())
        picture = np.asarray(task.draw(made, 2))
        assert [picture[0, 0].tolist(), picture[-1, -1].tolist()] == colours
        assert task.evaluate(made, np.full(2, -1)) == {}
        with pytest.raises(UserError, match="came without its data"):
            task.dataset("test")
    for shape in ((8, 8), (0, 8, 8), ()):
        with pytest.raises(UserError, match="shape must be three sizes of at least 1, not"):
            ImportedModel(shape)
