"""The optimisers of a training: AdamW, Muon, schedule-free AdamW, or one that a function of the user makes."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Network
from ..errors import UserError
from .options import Training

OUTER = ("proj_in", "proj_out", "skip", "embed", "conditions")  # layers at the ends of a network, by parts of names
EXTRA = "schedule-free"


def make_optimizer(network: Network, training: Training) -> torch.optim.Optimizer:
    """Return the optimiser of a network. Raises UserError where it is not installed, or does not fit the network."""
    parameters = list(network.parameters())
    if callable(training.optimizer):
        return _own(training.optimizer, parameters)
    if training.optimizer == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise UserError(f"optimizer muon needs torch 2.9, and this is {torch.__version__}: update it, or use adamw")
        return Muon(network, training)
    if training.optimizer == "schedule-free":
        try:
            schedulefree = importlib.import_module("schedulefree")
        except ImportError:
            raise UserError(f"optimizer {EXTRA} needs an extra: pip install 'shortcut-models[{EXTRA}]'") from None
        made: torch.optim.Optimizer = schedulefree.AdamWScheduleFree(
            parameters, lr=training.learning_rate, betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
        )  # fmt: skip
        made.train()  # type: ignore[attr-defined]
        return made
    return _adamw(parameters, training)


def _adamw(parameters: Any, training: Training) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters,
        lr=training.learning_rate,
        betas=(training.beta1, training.beta2),
        weight_decay=training.weight_decay,
        fused=True,  # the other kinds cannot skip a step without waiting for the device
    )


def _own(make: Callable[[list[nn.Parameter]], Any], parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return what the user's function makes, with each learning rate as a peak."""
    made = make(parameters)
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"optimizer must return a torch.optim.Optimizer, not {type(made).__name__}")
    known = {id(parameter) for parameter in parameters}
    if any(id(parameter) not in known for parameter in ordered(made)):
        raise UserError("optimizer has parameters of another network: use those that it is called with")
    for group in made.param_groups:
        group["initial_lr"] = float(group["lr"])
    if averages_by_itself(made):
        made.train()  # type: ignore[attr-defined]
    return made


def ordered(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return the parameters of an optimiser in the order in which its state numbers them."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def averages_by_itself(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimiser keeps an average of the weights, to which `eval` changes them (schedule-free)."""
    return callable(getattr(optimizer, "eval", None)) and callable(getattr(optimizer, "train", None))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float, training: Training) -> None:
    """Set the learning rate of a step; for an optimiser of the user, the same share of each of its own peaks."""
    for group in optimizer.param_groups:
        own = callable(training.optimizer)
        group["lr"] = group["initial_lr"] * rate / training.learning_rate if own else rate


def step_unless(bad: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Take a step of the optimiser, unless `bad` (a boolean on the device) is true."""
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        # A fused optimiser skips the step by itself where this says so: no wait for the device.
        optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        optimizer.step()
    elif not bool(bad):
        optimizer.step()


@torch.no_grad()
def copy_averaged(optimizer: Any, network: nn.Module, average: nn.Module) -> None:
    """Copy the weights that a schedule-free optimiser averages into another module; the network stays as it is."""
    pairs = list(zip(network.parameters(), average.parameters(), strict=True))
    weights = [mine.detach().clone() for mine, _ in pairs]
    if any(optimizer.state.values()):  # its average begins with its first step
        optimizer.eval()
    for mine, other in pairs:
        other.copy_(mine)
    optimizer.train()
    for (mine, _), weight in zip(pairs, weights, strict=True):
        mine.copy_(weight)  # to the bit, which there and back again is not


class Muon(torch.optim.Optimizer):
    """Muon (torch.optim.Muon) for the matrices of a network's inner layers, and AdamW for all other parameters.

    Updates of Muon are scaled to the size of AdamW's, so that one learning rate serves both. The state of both is in
    one place.
    """

    def __init__(self, network: Network, training: Training) -> None:
        inner = dict(inner_matrices(network))
        if not inner:
            raise UserError("optimizer muon is for matrices of inner layers, and this network has none: use adamw")
        rest = [value for name, value in network.named_parameters() if name not in inner]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                list(inner.values()), lr=training.learning_rate, weight_decay=training.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            *([_adamw(rest, training)] if rest else []),
        ]  # fmt: skip
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give both optimisers this one's groups and state."""
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step of both."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: Any) -> None:
        """Take the state that `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()


def inner_matrices(network: Network) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the two-dimensional weights that are neither at the ends of a network nor tables of embeddings.

    Of a network whose layers at the ends have other names than ours, these are the first matrix and the last.
    """
    tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    matrices = [(name, value) for name, value in network.named_parameters() if value.ndim == 2]
    inner = [(name, value) for name, value in matrices if not set(OUTER) & set(name.split("."))]
    if len(inner) == len(matrices) > 2:
        inner = inner[1:-1]
    return ((name, value) for name, value in inner if id(value) not in tables)


NUMBER, GROUP = "optimizer_number", "optimizer_group"
_DTYPES = {bool: torch.bool, int: torch.int64, float: torch.float64}


def state_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Return the state of an optimiser as tensors, by the place of each parameter in the network.

    Python numbers, and those that groups keep, have names of their own, so that they become numbers again.
    """
    found: dict[str, Tensor] = {}
    places = _places(optimizer, network)
    for index, slots in optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            if isinstance(value, Tensor):
                found[f"optimizer.{places[index]}.{key}"] = value
            elif type(value) in _DTYPES:
                found[f"{NUMBER}.{places[index]}.{key}"] = torch.tensor(value, dtype=_DTYPES[type(value)])
            elif value is not None:
                raise UserError(f"the optimizer keeps {type(value).__name__} as {key!r}, which cannot be saved")
    if not isinstance(optimizer, (torch.optim.AdamW, Muon)):  # whose groups keep nothing
        for number, group in enumerate(optimizer.param_groups):
            for key, value in group.items():
                if type(value) in _DTYPES:
                    found[f"{GROUP}.{number}.{key}"] = torch.tensor(value, dtype=_DTYPES[type(value)])
    return found


def restore_state(
    optimizer: torch.optim.Optimizer, network: nn.Module, slots: dict[int, dict[str, Any]], groups: dict[str, Tensor]
) -> None:
    """Undo `state_tensors`. slots: by the place of each parameter in the network; groups: "0.k" and so on."""
    index_of = {place: index for index, place in enumerate(_places(optimizer, network))}
    described = optimizer.state_dict()["param_groups"]
    for name, value in groups.items():
        number, _, key = name.partition(".")
        described[int(number)][key] = value.item()
    optimizer.load_state_dict({"state": {index_of[k]: v for k, v in slots.items()}, "param_groups": described})


def _places(optimizer: torch.optim.Optimizer, network: nn.Module) -> list[int]:
    place = {id(parameter): number for number, parameter in enumerate(network.parameters())}
    return [place[id(parameter)] for parameter in ordered(optimizer)]
