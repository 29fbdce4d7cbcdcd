"""Models in the layout of the Hugging Face Hub."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from helpers.runs import shortcut
from shortcut_models import Model, UserError, load
from shortcut_models.base import Label
from shortcut_models.models.hub import HubModel
from shortcut_models.networks import DiTConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import ImportedModel

pytestmark = pytest.mark.needs_extra

SHAPE = (3, 8, 8)


@pytest.fixture
def model() -> Model:
    network = DiTConfig(width=16, depth=1, heads=2, patch_size=2).build(SHAPE, {"label": Label(4)})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1)
    return Model(network.eval(), Shortcut(guidance=1.5), ImportedModel(SHAPE, 4), step=7, recipe="mine")


def test_a_folder_gives_the_same_model_back(model: Model, tmp_path: Path) -> None:
    HubModel.of(model).save_pretrained(tmp_path / "cats")
    assert {"config.json", "model.safetensors"} <= {path.name for path in (tmp_path / "cats").iterdir()}
    again = HubModel.from_pretrained(str(tmp_path / "cats"))
    assert isinstance(again, HubModel)
    assert (again.objective, again.task, again.step, again.recipe) == (model.objective, model.task, 7, "mine")
    assert not again.network.training
    samples = model.sample(5, steps=4, guidance=2.0)
    assert np.array_equal(again.sample(5, steps=4, guidance=2.0), samples)
    again.save_pretrained(tmp_path / "dogs")
    assert np.array_equal(load(tmp_path / "dogs").sample(5, steps=4, guidance=2.0), samples)


def test_others_can_read_the_files(model: Model, tmp_path: Path) -> None:
    HubModel.of(model).save_pretrained(tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert weights.keys() == model.network.state_dict().keys()
    assert all(torch.equal(value, model.network.state_dict()[name]) for name, value in weights.items())
    config = json.loads((tmp_path / "config.json").read_text())["shortcut_models"]
    assert config["network"]["name"] == "dit"
    assert config["network"]["width"] == 16
    assert config["objective"]["guidance"] == 1.5


def test_the_command_line_takes_such_a_folder(model: Model, tmp_path: Path) -> None:
    HubModel.of(model).save_pretrained(tmp_path / "cats")
    outcome = shortcut("sample", tmp_path / "cats", "--num", 4, "--out", tmp_path / "s.npz", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert np.array_equal(np.load(tmp_path / "s.npz")["steps_1"], model.sample(4))


def test_what_is_pushed_is_what_is_saved(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The upload itself is huggingface_hub's; what it is given is ours."""
    sent: dict[str, bytes] = {}

    def upload(self: Any, *, folder_path: Any, **_: Any) -> str:
        sent.update({path.name: path.read_bytes() for path in Path(folder_path).iterdir()})
        return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", lambda *_, **__: type("R", (), {"repo_id": "r"}))
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.upload_folder", upload)
    assert HubModel.of(model).push_to_hub("me/cats") == "done"
    HubModel.of(model).save_pretrained(tmp_path)
    assert sent["config.json"] == (tmp_path / "config.json").read_bytes()
    pushed, saved = safetensors.torch.load(sent["model.safetensors"]), load(tmp_path).network.state_dict()
    assert pushed.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in pushed.items())


def test_damaged_and_foreign_folders_are_one_line(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    HubModel.of(model).save_pretrained(tmp_path)
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    good = config.read_text(), weights.read_bytes()

    def complaint() -> str:
        with pytest.raises(UserError) as caught:
            HubModel.from_pretrained(str(tmp_path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    weights.write_bytes(good[1][:-9])
    assert "is damaged" in complaint()
    weights.write_bytes(good[1])
    config.write_text(json.dumps({"model_type": "bert"}))
    assert "was not saved by shortcut-models" in complaint()
    config.write_text(good[0].replace('"width": 16', '"width": 32'))
    assert "do not fit the network" in complaint()
    config.write_text(good[0])
    weights.unlink()
    assert "does not have model.safetensors" in complaint()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="could not load no-one/nothing from the Hub"):
        HubModel.from_pretrained("no-one/nothing")


def test_without_huggingface_hub_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "shortcut_models.models.hub")
    with pytest.raises(UserError, match=r"pip install 'shortcut-models\[hub\]'"):
        import shortcut_models.models.hub  # noqa: F401
