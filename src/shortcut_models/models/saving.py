"""A trained model to a file or a folder, without a run."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from .._version import __version__
from ..errors import UserError
from ..system.files import write_atomically, write_json, writing_folder
from . import checkpoint
from .parts import describe
from .run import Run
from .sampler import Sampler

CONFIG = "config.json"
LAYOUT = (CONFIG, checkpoint.MODEL)  # the files of a folder in the Hub's layout
SUFFIX = Path(checkpoint.MODEL).suffix


def header_of(model: Sampler) -> dict[str, Any]:
    """Return what a file says of a model beside its weights, as JSON values."""
    # A network from outside the package may do without a configuration.
    parts = {
        "task": model.task,
        "network": getattr(model.network, "config", model.network),
        "objective": model.objective,
    }
    own = {"version": __version__, "recipe": model.recipe, "step": model.step, "precision": model.precision}
    return {**own, **{kind: describe(part) for kind, part in parts.items()}}


def save_model(model: Sampler, path: Path) -> None:
    """Write a model to a file, or to a folder in the Hub's layout; see `Model.save`."""
    try:
        if path.suffix == SUFFIX:
            check_file(path)
            write_atomically(path, content_of(model))
        elif check_folder(path):
            write_layout(model, path)
        else:
            with writing_folder(path) as folder:
                write_layout(model, folder)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot save to {error.filename or path}: {reason}: fix this, or choose another path"
        ) from None


def content_of(model: Sampler) -> bytes:
    """Return the content of a model's file. Raises UserError where its network holds more than tensors."""
    weights = model.network.state_dict()
    odd = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if odd:
        raise UserError(f"the network's state has {odd[0]!r}, which is not a tensor: leave it out of its state_dict")
    return checkpoint.to_bytes(weights, header_of(model), format="pt")  # which programs of the Hub look for


def write_layout(model: Sampler, folder: Path) -> None:
    """Write both files of the Hub's layout into a folder, each whole or not at all."""
    content = content_of(model)
    write_atomically(folder / checkpoint.MODEL, content)
    write_json(folder / CONFIG, {checkpoint.HEADER: header_of(model)})


def check_file(path: Path) -> None:
    """Raise UserError where a model cannot be saved to a file without loss of something else."""
    if path.is_dir():
        raise UserError(f"{path} is a folder: choose a file that is not, or a folder without {SUFFIX} in its name")
    if path.name == checkpoint.STATE:
        raise UserError(f"{path} is named as what a run resumes from: choose another name")
    if path.name == checkpoint.MODEL and (path.parent / CONFIG).exists():
        raise UserError(f"{path.parent} has a {CONFIG} of its own, which belongs to a {path.name}: choose another name")
    _check_not_a_checkpoint(path.parent)
    if path.exists() and not checkpoint.is_ours(path):
        raise UserError(f"{path} was not saved by shortcut-models: choose another name, or remove it")


def check_folder(path: Path) -> bool:
    """Return whether a folder is there that is empty or has a saved model; raise UserError for anything else."""
    if path.is_file():
        raise UserError(f"{path} is a file: choose a name that ends in {SUFFIX} for one file, or a folder")
    if not path.is_dir():
        return False
    if not any(path.iterdir()):
        return True
    if Run(path).checkpoints.exists() or Run(path).metrics.exists():
        raise UserError(f"{path} is a run directory: choose another folder")
    _check_not_a_checkpoint(path)
    try:
        ours = checkpoint.HEADER in json.loads((path / CONFIG).read_bytes())
    except (FileNotFoundError, ValueError, TypeError):
        ours = False
    if not ours:
        raise UserError(f"{path} is not empty, and what is there is not a saved model: choose another folder")
    return True


def _check_not_a_checkpoint(folder: Path) -> None:
    if folder.name.isdecimal() and folder.parent.name == "checkpoints":
        raise UserError(f"{folder} is a checkpoint of a run: choose another path")
