"""The command `shortcut sample`."""

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

        from ..drawing.png import save_png
        from ..drawing.sheets import stack
        from ..system.files import write_atomically
        from ..system.progress import progress
        from ..text import format_steps

        arrays: dict[str, Any] = {}
        options: dict[str, Any] = {"label": self.label, "seed": self.seed, "guidance": self.guidance}
        with progress(len(chosen), "number of steps", disable=None) as bar:
            for steps in chosen:
                arrays[f"steps_{steps}"] = model.sample(self.num, steps=steps, batch_size=self.batch_size, **options)
                bar.update()
        num, columns = model.task.preview_grid
        drawn = [model.task.draw(made[: 4 * num], columns) for made in arrays.values()]
        content = io.BytesIO()
        np.savez_compressed(content, labels=labels, **arrays)
        write_atomically(self.out, content.getvalue())
        save_png(self.out.with_suffix(".png"), stack([format_steps(steps) for steps in chosen], drawn))
        print(f"{self.out} and {self.out.with_suffix('.png')}")
