"""Numbers that the paper's own code produced: whole where ../shared has them, trimmed in tests/data where not.

`python tests/original_fixtures.py` writes the trimmed file anew. It leaves out the student's online weights and all
that needs them, steps 2 to 4 of the trajectory with its final weights, and rows of groups whose rows do not depend
on one another. What it keeps is what was recorded, bit for bit: of the three sets of weights, one is stored whole
and two by the bits in which they differ from another, the four bytes of a number apart from one another, as equal
bytes compress well.
"""

from __future__ import annotations

import functools
import json
import pickle
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from shortcut_models.base import Network
from shortcut_models.original.arrays import read_checkpoint
from shortcut_models.original.network import load_network

from .paths import DATA, SHARED

WHOLE = SHARED / "fixtures" / "original"
TRIMMED = DATA / "original.npz"
FILES = {"teacher": "original_checkpoint.pkl", "student": "original_checkpoint_student.pkl"}
SIZES = {"num_heads": 4, "image_size": 8}
Which = Literal["teacher", "student"]

ALL_ROWS = ("shortcut/", "shortcut_cfg/", "trajectory/0/", "trajectory/1/", "forward/")
SOME_ROWS = {"naive/": 4, "progressive_": 4, "consistency_": 4, "sampling/": 4}
"""and how many"""
WEIGHTS = {"teacher.ema": None, "teacher.params": "teacher.ema", "student.ema": "teacher.ema"}
"""the sets of weights, and the one that each is stored against"""


def have_whole() -> bool:
    return (WHOLE / "fixtures.npz").exists()


@functools.cache
def fixtures() -> dict[str, np.ndarray]:
    """Every recorded array that there is, by its name; images are NHWC."""
    if have_whole():
        with np.load(WHOLE / "fixtures.npz") as file:
            return dict(file)
    return trimmed()


def group(name: str) -> dict[str, np.ndarray]:
    """The arrays of one group, by the rest of their names; skips the test where they were trimmed away."""
    found = {key.removeprefix(f"{name}/"): value for key, value in fixtures().items() if key.startswith(f"{name}/")}
    if not found:
        pytest.skip(f"the numbers of {name} are in ../shared/fixtures/original only")
    return found


def checkpoint(which: Which) -> Path:
    """A checkpoint of the original code; the trimmed one of the student has its averaged weights alone."""
    return WHOLE / FILES[which] if have_whole() else _made(which)


def network(which: Which, ema: bool) -> Network:
    """A new network with the weights of the teacher's file or the student's; skips where they were trimmed away."""
    if not have_whole() and f"{which}.{'ema' if ema else 'params'}" not in WEIGHTS:
        pytest.skip(f"the online weights of the {which} are in ../shared/fixtures/original only")
    return load_network(checkpoint(which), **SIZES, ema=ema)


@functools.cache
def trimmed() -> dict[str, np.ndarray]:
    """The recorded arrays of the trimmed file."""
    with np.load(TRIMMED) as file:
        return {name: value for name, value in file.items() if not name.startswith("weights")}


@functools.cache
def trimmed_weights() -> dict[str, dict[str, np.ndarray]]:
    """The weights of the trimmed file, by set and then by the original's names."""
    with np.load(TRIMMED) as file:
        shapes: dict[str, list[int]] = json.loads(str(file["weights/shapes"]))
        bits: dict[str, np.ndarray] = {}
        for name, base in WEIGHTS.items():
            own = np.ascontiguousarray(file[f"weights/{name}"].T).view(np.uint32)[:, 0]
            bits[name] = own if base is None else own ^ bits[base]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes.values()])[:-1]
    return {
        name: {
            key: part.reshape(shape)
            for (key, shape), part in zip(shapes.items(), np.split(value.view(np.float32), ends), strict=True)
        }
        for name, value in bits.items()
    }


@functools.cache
def _made(which: Which) -> Path:
    """A pickle as the original writes it, of the trimmed weights."""
    state: dict[str, object] = {"step": 301 if which == "teacher" else 321}
    for name, key in ((f"{which}.params", "params"), (f"{which}.ema", "params_ema")):
        if name in WEIGHTS:
            state[key] = nested(trimmed_weights()[name])
    path = Path(tempfile.mkdtemp(prefix="shortcut-original-")) / FILES[which]
    path.write_bytes(pickle.dumps({"train_state": state, "_timestamp": 0.0}))
    return path


def nested(arrays: dict[str, np.ndarray]) -> dict[str, object]:
    """Names with dots -> dicts in dicts."""
    tree: dict[str, object] = {}
    for name, array in arrays.items():
        *above, last = name.split(".")
        level = tree
        for part in above:
            level = level.setdefault(part, {})  # type: ignore[assignment]
        level[last] = array
    return tree


def select(whole: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the trimmed file keeps of the recorded arrays."""
    kept = {name: whole[name][:2] for name in ("trajectory/losses", "trajectory/grad_norms")}
    kept |= {name: value for name, value in whole.items() if name.startswith(ALL_ROWS)}
    for prefix, rows in SOME_ROWS.items():
        kept |= {name: value[:rows] for name, value in whole.items() if name.startswith(prefix)}
    return kept


def read_weights() -> dict[str, dict[str, np.ndarray]]:
    """The weights of both checkpoints, as `trimmed_weights`."""
    found = {}
    for which, file in FILES.items():
        for ema, name in ((False, "params"), (True, "ema")):
            arrays, _ = read_checkpoint(WHOLE / file, ema=ema)
            found[f"{which}.{name}"] = {key: array.numbers() for key, array in sorted(arrays.items())}
    return found


def write_trimmed() -> None:
    """Write the trimmed file from the whole one."""
    weights = read_weights()
    bits = {
        name: np.concatenate([a.ravel() for a in arrays.values()]).view(np.uint32) for name, arrays in weights.items()
    }
    shapes = {name: array.shape for name, array in weights["teacher.ema"].items()}
    stored = {"weights/shapes": np.array(json.dumps(shapes))}
    for name, base in WEIGHTS.items():
        own = bits[name] if base is None else bits[name] ^ bits[base]
        stored[f"weights/{name}"] = np.ascontiguousarray(own.view(np.uint8).reshape(-1, 4).T)
    with np.load(WHOLE / "fixtures.npz") as file:
        np.savez_compressed(TRIMMED, **stored, **select(dict(file)))


if __name__ == "__main__":
    write_trimmed()
    print(f"{TRIMMED}: {TRIMMED.stat().st_size / 1e6:.2f} MB")
