"""Runs, model files and images with all sorts of faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from shortcut_models.models import checkpoint
from shortcut_models.models.checkpoint import HEADER, MODEL
from shortcut_models.system.hashing import HASH, hash_tensors

from .runs import DIGITS, POINTS, train


def altered(source: Path, target: Path, **change: Any) -> None:
    """A model file with another configuration, and the right hash."""
    weights, config = checkpoint.read(source)
    text = change.pop("text", json.dumps(config | change))
    safetensors.torch.save_file(weights, target, {HEADER: text, HASH: hash_tensors(weights, text)})


def models(place: Path) -> None:
    """Runs, and model files with all sorts of faults."""
    train(place / "digits", "--checkpoint-every", 6)
    train(place / "points", "--schedule", "constant", options=POINTS)
    source = place / "digits" / "checkpoints" / "00000012" / MODEL
    for name in ("untrained", "broken", "damaged"):
        shutil.copytree(place / "digits", place / name)
    shutil.rmtree(place / "untrained" / "checkpoints")
    (place / "broken" / "config.json").write_text('{"recipe": "digits"')
    for path in (place / "damaged" / "checkpoints").glob("*/*"):
        path.write_bytes(path.read_bytes()[:-10])
    content = source.read_bytes()
    (place / "short.safetensors").write_bytes(content[: len(content) // 2])
    (place / "flipped.safetensors").write_bytes(content[:-5] + bytes([content[-5] ^ 64]) + content[-4:])
    (place / "nothing").touch()
    torch.save({"weight": torch.ones(3)}, place / "model.pt")
    safetensors.torch.save_file({"weight": torch.ones(3)}, place / "foreign.safetensors", {"format": "pt"})
    altered(source, place / "header.safetensors", text='{"task": ')
    altered(source, place / "task.safetensors", task={"name": "dogs"})
    altered(source, place / "objective.safetensors", objective={"name": "magic"})
    altered(source, place / "network.safetensors", network={"name": "brain"})
    altered(source, place / "outside.safetensors", network={"name": None, "class": "mine.Net"})


def data(place: Path) -> None:
    """Images with all sorts of faults."""
    rng = np.random.default_rng(0)
    for name in ("good", "truncated", "mixed", "fake", "moved-data"):
        (place / name).mkdir()
        for i in range(12):
            side = 10 if (name, i) == ("mixed", 5) else 8
            Image.fromarray(rng.integers(0, 256, (side, side), np.uint8)).save(place / name / f"{i}.png")
    bad = place / "truncated" / "3.png"
    bad.write_bytes(bad.read_bytes()[:50])
    for path in (place / "fake").iterdir():
        path.write_text("<html>404</html>")
    images = rng.random((12, 8, 8), np.float32)
    np.savez(place / "labels.npz", images=images, labels=np.arange(11))
    images[5, 3, 3] = np.nan
    np.savez(place / "nan.npz", images=images)
    np.savez(place / "objects.npz", images=np.array([{}, []], dtype=object))
    for name in ("text.npz", "text.tar", "text.parquet", "t-images-idx3-ubyte"):
        (place / name).write_text("words " * 200)
    train(place / "moved", "--data", place / "moved-data", options=("train", "images", *DIGITS[2:]))
    shutil.rmtree(place / "moved-data")
