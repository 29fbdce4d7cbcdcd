"""The command `shortcut sample`."""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from ..errors import UserError
from .shared import Sampling, check_out, check_place, labels_of, steps_of

if TYPE_CHECKING:
    import numpy as np

    from ..models.model import Model

SUFFIX = ".npz"
FACTS = "samples.json"
"""the file by which a folder of samples is known"""
PICTURE = re.compile(r"steps_\d+(/\d{5,}(_.*)?\.png)?")


@dataclass(frozen=True, kw_only=True)
class Sample(Sampling):
    out: Annotated[str, arg(metavar="PATH")]
    """file of the samples, .npz, with arrays steps_1, ..., and labels, and with a picture beside it; or a folder, with
    / at its end, for a picture of each sample"""
    label: Sequence[str] | None = None
    """classes of the samples in turn, each by name or number (default: all)"""

    def __call__(self) -> None:
        out = Path(self.out).expanduser()
        as_folder = self.out.endswith(tuple(filter(None, (os.sep, os.altsep)))) or (
            out.is_dir() and out.suffix != SUFFIX
        )
        check_folder(out) if as_folder else check_file(out)
        model = self.generator()
        model.precision = self.precision
        chosen = steps_of(self.steps, model)
        if as_folder:
            model.check_pictures()
        held = 2 * len(chosen) * (not as_folder)
        model.check_request(self.num, self.seed, self.guidance, self.batch_size, decoded=held)
        labels = model.labels(self.num, labels_of(self.label, self.num, model))
        (self.write_folder if as_folder else self.write_file)(model, chosen, labels, out)

    def write_file(self, model: "Model", chosen: list[int], labels: "np.ndarray", out: Path) -> None:
        """Write all samples into one file, and a picture of the first beside it."""
        import numpy as np

        from ..drawing.png import save_png
        from ..drawing.sheets import stack
        from ..system.files import write_atomically
        from ..system.progress import progress
        from ..text import format_steps

        arrays: dict[str, Any] = {}
        options: dict[str, Any] = {"seed": self.seed, "guidance": self.guidance, "batch_size": self.batch_size}
        if model.classes:
            options["label"] = labels
        with progress(len(chosen), "number of steps", disable=None) as bar:
            for steps in chosen:
                arrays[f"steps_{steps}"] = model.sample(self.num, steps=steps, **options)
                bar.update()
        num, columns = model.task.preview_grid
        shown = slice(4 * num)
        drawn = [model.draw(made[shown], labels[shown], columns) for made in arrays.values()]
        content = io.BytesIO()
        np.savez_compressed(content, labels=labels, **arrays)
        write_atomically(out, content.getvalue())
        save_png(out.with_suffix(".png"), stack([format_steps(steps) for steps in chosen], drawn))
        print(f"{out} and {out.with_suffix('.png')}")

    def write_folder(self, model: "Model", chosen: list[int], labels: "np.ndarray", out: Path) -> None:
        """Write a picture of each sample, steps_4/00000_tulip.png, into a folder that is complete or not there."""
        from ..models.pictures import file_name
        from ..system.files import write_json, writing_folder
        from ..system.progress import progress

        facts = {"model": str(self.run), "steps": chosen, "num": self.num, "seed": self.seed, "labels": labels.tolist(),
                 "guidance": self.guidance, "precision": self.precision}  # fmt: skip
        with writing_folder(out) as folder, progress(len(chosen) * self.num, "sample", disable=None) as bar:
            for steps in chosen:
                (folder / f"steps_{steps}").mkdir()
                row = 0
                for noise, cond in model.batches(self.num, self.seed, labels, self.batch_size):
                    made = model.sample_from(noise, steps, cond, self.guidance)
                    for picture in model.task.to_pil(made):
                        picture.save(folder / f"steps_{steps}" / file_name(model.task, row, self.num, int(labels[row])))
                        row += 1
                    bar.update(len(made))
            write_json(folder / FACTS, facts)
        print(out)


def check_file(path: Path) -> None:
    """Raise UserError, before any work, where the file of samples cannot be written."""
    try:
        check_out(path, SUFFIX)
    except UserError as error:
        more = "" if path.suffix == SUFFIX or path.name == SUFFIX else ", or in / for a folder of pictures"
        raise UserError(f"{error}{more}") from None


def check_folder(path: Path) -> None:
    """Raise UserError, before any work, where a folder of pictures cannot be written, or has anything else."""
    path = Path(os.path.abspath(path))
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file: choose another folder")
    check_place(path)
    if not path.is_dir():
        return
    found = [each.relative_to(path).as_posix() for each in path.rglob("*")]
    odd = sorted(name for name in found if name != FACTS and not PICTURE.fullmatch(name))
    if odd or (found and FACTS not in found):
        raise UserError(
            f"{path} holds {(odd or found)[0]}, which `shortcut sample` did not write: choose an empty or new folder"
        )
