"""From files to a trained model."""

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..base import NetworkConfig, Objective, Task
from ..errors import UserError
from ..networks.wrapped import as_network
from ..system.defaults import torch_defaults
from . import checkpoint
from .legacy import upgrade
from .model import Model
from .parts import rebuild
from .run import Run

CONFIG = "config.json"
LAYOUT = (CONFIG, checkpoint.MODEL)  # the files of a folder in the Hub's layout


def read_layout(folder: Path) -> checkpoint.Content:
    """Return weights and configuration of a folder in the Hub's layout."""
    try:
        header = json.loads((folder / CONFIG).read_bytes())[checkpoint.HEADER]
        return upgrade(safetensors.torch.load_file(folder / checkpoint.MODEL), dict(header))
    except (KeyError, TypeError):
        raise UserError(f"{folder / CONFIG} was not saved by shortcut-models: choose another folder") from None
    except (ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder} is damaged ({error}): choose another") from None


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
        model = Model(network, objective, task, int(header["step"]), str(header["recipe"]))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"the configuration in {where} is not understood ({error!r}): choose another file") from None
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the weights in {where} do not fit the network: {reason}") from None
    network.to(device).eval()
    return model


def load(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    network: nn.Module | None = None,
    objective: Objective | None = None,
    task: Task | None = None,
) -> Model:
    """The model of a run directory (its newest checkpoint that is whole), of one `model.safetensors` file, or of a
    folder in the Hub's layout (see `hub.HubModel`).

    Args:
        path: a run directory, a checkpoint (`RUN/checkpoints/STEP`), a file, or a folder of `config.json` and
            `model.safetensors`.
        device: where the network goes.
        network, objective, task: in place of those that the file names; needed where they are your own.

    Raises:
        UserError: no run, no checkpoint yet, a damaged or foreign file, or parts that do not fit the weights.
    """
    where, (weights, header) = find(Path(path))
    return assemble(weights, header, where, device=device, network=network, objective=objective, task=task)


def find(path: Path) -> tuple[Path, checkpoint.Content]:
    """Return the file that `load` takes at a path, or the folder in the Hub's layout, and what it holds.

    Of a run, the newest checkpoint may be another one a moment later: to load the same weights twice, use this.
    """
    if all((path / name).is_file() for name in LAYOUT):
        return path, read_layout(path)
    if (path / checkpoint.MODEL).is_file():  # the folder of a checkpoint
        path /= checkpoint.MODEL
    if path.is_dir():
        run = Run(path)
        run.read_config()
        found = checkpoint.newest(run.checkpoints, (checkpoint.MODEL,))
        if found is None:
            raise UserError(f"{path} has no checkpoint yet: train it with `shortcut train`")
        folder, [content] = found
        return folder / checkpoint.MODEL, content
    if not path.exists():
        raise UserError(f"{path} does not exist: pass a run directory or a model file")
    content = checkpoint.read(path)
    if path.name == checkpoint.STATE:
        raise UserError(f"{path} is what a run resumes from, not its model: pass {checkpoint.MODEL} beside it")
    return path, content
