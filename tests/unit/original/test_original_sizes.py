"""Checkpoints of the paper's own code in all sizes, against that code's network in NumPy, and wrong ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.original_fixtures import group
from helpers.original_maker import Original, write
from shortcut_models.errors import UserError
from shortcut_models.original.network import load_network

CASES = {
    "grey": Original(channels=1),
    "latents": Original(channels=4, classes=1000),
    "wide": Original(width=72, heads=3, hidden=288),
    "one block": Original(depth=1),
    "eleven blocks": Original(width=8, depth=11, hidden=8),
    "one class": Original(classes=1),
    "no class": Original(classes=0),
    "patches of 1": Original(patch_size=1, image_size=5),
    "patches of 3": Original(patch_size=3, image_size=9),
    "patches of 8": Original(patch_size=8, image_size=16, width=32, heads=8),
    "one patch": Original(patch_size=8),
    "odd hidden size": Original(width=12, heads=3, hidden=17),
    "one head": Original(heads=1),
    "heads of one": Original(heads=16),
}


def sizes_of(case: Original) -> dict[str, int]:
    return {"num_heads": case.heads, "image_size": case.image_size}


def compare(case: Original, path: Path, params: Any, ema: bool, rows: int = 9) -> float:
    """The largest difference of our velocities from NumPy's, over the largest velocity."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((rows, case.image_size, case.image_size, case.channels))
    t, k, labels = rng.random(rows), np.arange(rows) % 8, np.arange(rows) % (case.classes + 1)
    expected = case.velocity(params, x, t, k, labels)
    net = load_network(path, **sizes_of(case), ema=ema)
    assert not net.training
    context = net.encode({"label": torch.from_numpy(labels)})
    with torch.no_grad():
        made = net(
            torch.from_numpy(x).permute(0, 3, 1, 2).float(),
            torch.from_numpy(t).float(),
            torch.exp2(-torch.from_numpy(k).float()),
            context,
        )
    return float(np.abs(made.permute(0, 2, 3, 1).numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_checkpoints_of_every_size_give_the_velocities_of_numpy(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    content = case.checkpoint()
    path = write(tmp_path / "checkpoint.pkl", content)
    for ema in (False, True):
        params = content["train_state"]["params_ema" if ema else "params"]
        assert compare(case, path, params, ema) < 1e-5
        assert compare(case, path, case.parameters(9), ema) > 1e-2, "other parameters would not pass"


@pytest.mark.parametrize("seed", range(8))
def test_checkpoints_of_any_size_give_the_velocities_of_numpy(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    heads, patch_size = draw.randint(1, 5), draw.randint(1, 8)
    case = Original(
        width=4 * heads * draw.randint(1, 5), depth=draw.choice([1, 2, 3, 10, 12]), heads=heads, patch_size=patch_size,
        channels=draw.choice([1, 3, 4]), hidden=draw.randint(1, 90), classes=draw.randint(1, 30),
        image_size=patch_size * draw.randint(1, 3),
    )  # fmt: skip
    content = case.checkpoint(seed)
    path = write(tmp_path / "checkpoint.pkl", content, protocol=draw.randint(0, 5))
    assert compare(case, path, content["train_state"]["params_ema"], ema=True) < 1e-5, case


def test_numpy_agrees_with_the_recorded_velocities() -> None:
    """What the other tests compare with is the original's network."""
    from helpers.original_fixtures import nested, trimmed_weights

    recorded = group("forward")
    case = Original(width=64, heads=4, channels=4, hidden=256, classes=10)
    made = case.velocity(
        nested(trimmed_weights()["teacher.ema"]), *(recorded[name] for name in ("x", "t", "dt_base", "labels"))
    )
    assert np.abs(made - recorded["v_ema"]).max() / np.abs(recorded["v_ema"]).max() < 5e-6


CASE = Original()


def changed(change: str) -> Any:
    """A checkpoint with something wrong, and the word for it."""
    content = CASE.checkpoint()
    params = content["train_state"]["params_ema"]
    block, table = params["DiTBlock_1"], params["LabelEmbedder_0"]["Embed_0"]
    match change:
        case "no block":
            del params["DiTBlock_0"]
        case "no layer":
            del block["Dense_3"]
        case "no bias":
            del block["Dense_3"]["bias"]
        case "a block too many":
            params["DiTBlock_3"] = CASE.parameters(4)["DiTBlock_1"]
        case "a layer too many":
            block["Dense_5"] = {"bias": np.zeros(4, np.float32)}
        case "another shape":
            block["Dense_3"]["kernel"] = np.zeros((16, 15), np.float32)
        case "another axis":
            params["PatchEmbed_0"]["Conv_0"]["kernel"] = np.zeros((2, 2, 2, 3, 16), np.float32)
        case "not square":
            params["PatchEmbed_0"]["Conv_0"]["kernel"] = np.zeros((2, 3, 3, 16), np.float32)
        case "an empty axis":
            table["embedding"] = np.zeros((0, 16), np.float32)
        case "not a number":
            block["Dense_3"]["kernel"][3, 4] = np.nan
        case "infinite":
            block["Dense_3"]["bias"][3] = np.inf
        case "too large":
            block["Dense_3"]["bias"] = np.full(16, 1e300)
        case "whole numbers":
            block["Dense_3"]["bias"] = np.arange(16)
        case "complex":
            block["Dense_3"]["bias"] = np.ones(16, np.complex64)
        case "texts":
            block["Dense_3"]["bias"] = np.array(["a"] * 16)
        case "objects":
            block["Dense_3"]["bias"] = np.array([None] * 16)
        case "records":
            block["Dense_3"]["bias"] = np.zeros(16, [("a", "f4")])
        case "a list":
            block["Dense_3"]["bias"] = [0.0] * 16
        case "not by 4":
            content = Original(width=6, heads=2).checkpoint()
        case "no average":
            del content["train_state"]["params_ema"]
        case "no state":
            content = content["train_state"]["params"]
        case "no dict":
            content = [content]
        case "a step of text":
            content["train_state"]["step"] = "seven"
        case "a negative step":
            content["train_state"]["step"] = -1
    return content


WRONG = {
    "no block": "does not have the array DiTBlock_0.MlpBlock_0.Dense_0.kernel",
    "no layer": "does not have the array DiTBlock_1.Dense_3.bias, DiTBlock_1.Dense_3.kernel",
    "no bias": "does not have the array DiTBlock_1.Dense_3.bias",
    "a block too many": "does not have the array DiTBlock_2.Dense_0.bias, .* and 11 more",
    "a layer too many": "unknown array DiTBlock_1.Dense_5.bias",
    "another shape": r"DiTBlock_1.Dense_3.kernel has shape \(16, 15\), not \(16, 16\)",
    "another axis": r"PatchEmbed_0.Conv_0.kernel has shape .*, not 4 axes",
    "not square": r"PatchEmbed_0.Conv_0.kernel has shape \(2, 3, 3, 16\), not \(2, 2, 3, 16\)",
    "an empty axis": r"embedding has shape \(0, 16\)",
    "not a number": "DiTBlock_1.Dense_3.kernel holds numbers that are not finite",
    "infinite": "DiTBlock_1.Dense_3.bias holds numbers that are not finite",
    "too large": "DiTBlock_1.Dense_3.bias holds numbers that are not finite",
    "whole numbers": "DiTBlock_1.Dense_3.bias is not an array of floating-point numbers",
    "complex": "DiTBlock_1.Dense_3.bias .* holds 'c8'",
    "texts": "DiTBlock_1.Dense_3.bias .* holds 'U1'",
    "objects": "DiTBlock_1.Dense_3.bias .* holds 'O8'",
    "records": "DiTBlock_1.Dense_3.bias .* its numbers are records",
    "a list": "DiTBlock_1.Dense_3.bias is not an array of floating-point numbers",
    "not by 4": "width 6 must be a multiple of 4",
    "no average": "no train_state/params_ema: train_state holds opt_state, params, step",
    "no state": "no train_state/params_ema: it holds DiTBlock_0, DiTBlock_1, Embed_0",
    "no dict": "no train_state/params_ema: it holds nothing",
    "a step of text": "its step is not a whole number",
    "a negative step": "its step is not a whole number",
}


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_is_named_in_one_line(change: str, tmp_path: Path) -> None:
    path = write(tmp_path / "checkpoint.pkl", changed(change))
    with pytest.raises(UserError, match=WRONG[change]) as error:
        load_network(path, num_heads=2, image_size=8)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_what_is_not_asked_for_may_be_wrong(tmp_path: Path) -> None:
    content = changed("not a number")
    del content["train_state"]["step"], content["_timestamp"]
    path = write(tmp_path / "checkpoint.pkl", content)
    load_network(path, num_heads=2, image_size=8, ema=False)


@pytest.mark.usefixtures("annotations_unchecked")
@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"num_heads": 3, "image_size": 8}, "num-heads 3 does not divide its width 16"),
        ({"num_heads": 0, "image_size": 8}, "num-heads must be a whole number of at least 1, not 0"),
        ({"num_heads": True, "image_size": 8}, "num-heads must be a whole number of at least 1, not True"),
        ({"num_heads": 2.0, "image_size": 8}, r"num-heads must be a whole number of at least 1, not 2\.0"),
        ({"num_heads": 2, "image_size": 7}, "image-size 7 is not a multiple of its patch size 2"),
        ({"num_heads": 2, "image_size": -8}, "image-size must be a whole number of at least 1, not -8"),
        ({"num_heads": 2, "image_size": 10**6}, "image-size 1000000 makes more than 1,048,576 tokens"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "checkpoint.pkl", CASE.checkpoint())
    with pytest.raises(UserError, match=said):
        load_network(path, **sizes)
