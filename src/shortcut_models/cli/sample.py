"""The command `shortcut sample`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .shared import Sampling, check_out, steps_of


@dataclass(frozen=True, kw_only=True)
class Sample(Sampling):
    out: Path
    """file of the samples, .npz, with arrays steps_1, ..., and labels; a picture is written beside it"""
    label: int | None = None
    """class of all samples (default: all classes in turn)"""

    def __call__(self) -> None:
        check_out(self.out, ".npz")
        model = self.generator()
        model.precision = self.precision
        chosen = steps_of(self.steps, model)
        model.check_request(self.num, self.seed, self.guidance, self.batch_size, decoded=2 * len(chosen))
        labels = model.labels(self.num, self.label)
        import numpy as np
        from tqdm import tqdm

        from ..drawing.sheets import stack
        from ..system.files import write_atomically
        from ..text import counted

        arrays: dict[str, Any] = {}
        for steps in tqdm(chosen, unit="number of steps", disable=None):
            arrays[f"steps_{steps}"] = model.sample(
                self.num, steps=steps, label=self.label, seed=self.seed, guidance=self.guidance,
                batch_size=self.batch_size,
            )  # fmt: skip
        num, columns = model.task.preview_grid
        drawn = [model.task.draw(made[: 4 * num], columns) for made in arrays.values()]
        picture, content = io.BytesIO(), io.BytesIO()
        stack([counted(steps) for steps in chosen], drawn).save(picture, "PNG")
        np.savez_compressed(content, labels=labels, **arrays)
        write_atomically(self.out, content.getvalue())
        write_atomically(self.out.with_suffix(".png"), picture.getvalue())
        print(f"{self.out} and {self.out.with_suffix('.png')}")
