"""From files to a trained model."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..base import NetworkConfig, Objective, Task
from ..errors import UserError
from ..networks.wrapped import as_network
from ..system.defaults import torch_defaults
from . import checkpoint as checkpoints
from .legacy import upgrade
from .model import Model
from .parts import rebuild
from .run import Run
from .saving import CONFIG, LAYOUT


def read_layout(folder: Path) -> checkpoints.Content:
    """Return weights and configuration of a folder in the Hub's layout."""
    try:
        header = json.loads((folder / CONFIG).read_bytes())[checkpoints.HEADER]
        return upgrade(checkpoints.read_tensors(folder / checkpoints.MODEL), dict(header))
    except (KeyError, TypeError):
        raise UserError(f"{folder / CONFIG} was not saved by shortcut-models: choose another folder") from None
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is damaged ({error}): choose another folder") from None


@torch_defaults(gradients=True)
def assemble(
    weights: dict[str, Tensor], header: dict[str, Any], where: Path, *, device: str | torch.device,
    network: nn.Module | None = None, objective: Objective | None = None, task: Task | None = None,
) -> Model:  # fmt: skip
    """Make a model from its weights and configuration; see `load`. where: what messages call it."""
    try:
        task = rebuild("task", header["task"], task)
        objective = rebuild("objective", header["objective"], objective)
        if network is None:
            config: NetworkConfig = rebuild("network", header["network"], None)
            network = config.build(task.shape, task.conditions)
        network = as_network(network, task.conditions)
        precision = header.get("precision", "fp32")
        model = Model(network, objective, task, int(header["step"]), str(header["recipe"]), precision)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the configuration in {where} is not understood ({error!r}): choose another file") from None
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the weights in {where} do not fit the network: {reason}") from None
    network.eval()
    return model.to(device)


def load(
    path: Path | str,
    *,
    checkpoint: str | int | None = None,
    device: str | torch.device = "cpu",
    network: nn.Module | None = None,
    objective: Objective | None = None,
    task: Task | None = None,
) -> Model:
    """Load the model of a run directory (its newest checkpoint that is whole), of one `model.safetensors` file, or of a
    folder in the Hub's layout (see `hub.HubModel`).

    Args:
        path: a run directory, a checkpoint (`RUN/checkpoints/STEP`), a file, or a folder of `config.json` and
            `model.safetensors`.
        checkpoint: of a run, the step of another checkpoint than the newest, or "best": see `Training.keep_best`.
        device: where the network goes.
        network, objective, task: in place of those that the file names; needed where they are your own.

    Raises:
        UserError: no run, no checkpoint yet, a damaged or foreign file, or parts that do not fit the weights.
    """
    where, (weights, header) = find(Path(path) if checkpoint is None else _checkpoint(Path(path), checkpoint))
    return assemble(weights, header, where, device=device, network=network, objective=objective, task=task)


def _checkpoint(path: Path, name: str | int) -> Path:
    """Return the folder of a run's checkpoint. Raises UserError, naming those that it has."""
    run = Run(path)
    run.read_config()
    step = int(name) if str(name).isdecimal() else None
    found = run.best if name == "best" else run.checkpoints / f"{step:08d}" if step is not None else None
    if found is None or not (found / checkpoints.MODEL).is_file():
        there = [str(checkpoints.step_of(each)) for each in checkpoints.list_checkpoints(run.checkpoints)] + [
            "best"
        ] * run.best.is_dir()
        raise UserError(f"{path} does not have a checkpoint {name!r}: choose one of {', '.join(there) or 'none'}")
    return found


def find(path: Path) -> tuple[Path, checkpoints.Content]:
    """Return the file that `load` takes at a path, or the folder in the Hub's layout, and what it holds.

    Of a run, the newest checkpoint may be another one a moment later: to load the same weights twice, use this.
    """
    if all((path / name).is_file() for name in LAYOUT):
        return path, read_layout(path)
    if (path / checkpoints.MODEL).is_file():  # the folder of a checkpoint
        path /= checkpoints.MODEL
    if path.is_dir():
        run = Run(path)
        run.read_config()
        found = checkpoints.newest(run.checkpoints, (checkpoints.MODEL,))
        if found is None:
            raise UserError(f"{path} has no checkpoint yet: train it with `shortcut train`")
        folder, [content] = found
        return folder / checkpoints.MODEL, content
    if not path.exists():
        raise UserError(f"{path} does not exist: pass a run directory or a model file")
    content = checkpoints.read(path)
    if path.name == checkpoints.STATE:
        raise UserError(f"{path} is the state of a training, not a model: pass {checkpoints.MODEL} beside it")
    return path, content
