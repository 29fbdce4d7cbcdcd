"""Convert a checkpoint of the paper's own code to a run that samples."""

import os
import shutil
from pathlib import Path

from ..errors import UserError

RECIPE = "original"  # the recipe in the run's configuration


def import_original(
    file: Path, out: Path, *, num_heads: int, image_size: int, ema: bool = True, objective: str = "shortcut"
) -> Path:
    """Write the network of an original checkpoint as a run, and return the path of its model's file.

    Args:
        file: the checkpoint; for it, num_heads, image_size and ema see `load_network`.
        out: a directory that does not exist or is empty.
        objective: the method it was trained by, which decides which step size its network gets when sampling.

    Raises UserError if the file is not such a checkpoint, the sizes do not fit it, or the directory is not empty.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: choose another directory with --out")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: choose another directory with --out")

    from ..models import checkpoint
    from ..models.run import Run
    from ..objectives import OBJECTIVES
    from ..tasks import ImportedModel
    from ..training.fit import run_config
    from ..training.options import Training
    from .network import read_network

    methods = {name: cls.original for name, cls in OBJECTIVES.items() if hasattr(cls, "original")}
    if objective not in methods:
        raise UserError(f"the original code does not have the method {objective!r}: choose one of {', '.join(methods)}")
    network, sizes, step = read_network(file, num_heads=num_heads, image_size=image_size, ema=ema)
    task = ImportedModel((sizes.channels, image_size, image_size), sizes.classes)
    # How it was trained is not known, so the configuration leaves it out.
    config = run_config(network, methods[objective](), task, Training(), RECIPE) | {"training": {"name": RECIPE}}
    whole = out.resolve()
    temporary = whole.with_name(f".{whole.name}.{os.getpid()}.tmp")
    try:  # under another name until it is complete
        run = Run(temporary)
        path = checkpoint.save(run.checkpoints, step, network.state_dict(), {}, config | {"step": step}, keep=1)
        (path / checkpoint.STATE).unlink()  # there is no training to resume
        run.write_config(config)
        temporary.rename(whole)
    except OSError as error:
        raise UserError(f"{out}: {error.strerror}: fix this, or choose another directory with --out") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out / path.relative_to(temporary) / checkpoint.MODEL
