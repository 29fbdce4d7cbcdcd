"""Your own images from Python: a folder in, a trained model and a picture of one-step samples out."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import shortcut_models as sm
from shortcut_models.networks import DiTConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.tasks import Images


def draw_bars(folder: Path, count: int = 500) -> Path:
    """Draw a stand-in for your own folder: coloured bars, 8x8 pixels, in a sub-folder for each direction."""
    rng = np.random.default_rng(0)
    for direction in ("across", "upright"):
        (folder / direction).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (8, 8), "white")
            start, red, green, blue = (int(value) for value in rng.integers(0, (5, 200, 200, 200)))
            box = (0, start, 7, start + 2) if direction == "across" else (start, 0, start + 2, 7)
            ImageDraw.Draw(image).rectangle(box, fill=(red, green, blue))
            image.save(folder / direction / f"{number:04d}.png")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder, tar shards, .npz or idx files (default: bars drawn for the purpose)")
    parser.add_argument("--image-size", type=int, help="side in pixels (default: that of the images)")
    parser.add_argument("--patch-size", type=int, default=2, help="side of a token in pixels; 4 is faster (default: 2)")
    parser.add_argument("--run", type=Path, default=Path(tempfile.mkdtemp()), help="default: a temporary directory")
    parser.add_argument("--train-steps", type=int, default=300, help="optimiser steps; more is better")
    args = parser.parse_args()

    data = args.data or draw_bars(Path(tempfile.mkdtemp()) / "bars")
    task = Images(data=str(data), image_size=args.image_size).resolve()
    print(f"images of shape {task.shape}, classes {', '.join(task.class_names) or 'none'}")

    network = DiTConfig(width=64, depth=4, heads=2, patch_size=args.patch_size)
    training = sm.Training(train_steps=args.train_steps, batch_size=64, learning_rate=5e-3, weight_decay=0.0, warmup=50)
    model = sm.fit(network, Shortcut(), task, run=args.run, training=training)

    samples = model.sample(32, steps=1)
    task.draw(samples, columns=8).save(args.run / "one-step.png")
    print(f"{samples.dtype} samples of shape {samples.shape}, drawn in {args.run / 'one-step.png'}")
    for steps, measures in sm.evaluate(model, [1, 8], num=200, quiet=True)["steps"].items():
        print(steps, "steps:", ", ".join(f"{name} {value:.3g}" for name, value in measures.items()))


if __name__ == "__main__":
    main()
