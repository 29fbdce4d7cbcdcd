"""All that changes while training, and how it is saved and restored."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .base import Batch, Losses, Network, Objective
from .training import Training


class LossModule(nn.Module):
    """The objective and its network as one module from batch to losses: what data parallelism wraps."""

    def __init__(self, network: Network, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, teacher: Network, batch: Batch) -> Losses:
        return self.objective.losses(self.network, teacher, batch)


@dataclass
class State:
    """Networks, optimiser and counters of a run."""

    network: Network
    teacher: Network
    """average that makes targets; the network itself where the objective needs none"""
    ema: Network
    """slower average that is sampled from"""
    loss: LossModule
    optimizer: torch.optim.Optimizer
    step: int
    """steps taken"""
    skipped: Tensor
    """steps skipped because their loss or gradient was not finite"""
    streak: Tensor
    """how many of them came last, without a good one between"""
    seconds: float
    """time spent training, over all resumptions"""

    @classmethod
    def new(cls, network: Network, objective: Objective, training: Training, device: torch.device) -> State:
        """The state before the first step."""
        network.to(device).train()
        ema = copy.deepcopy(network).eval()
        # The teacher keeps requires_grad, though it is never differentiated: autocast converts such weights once
        # a step, and all others anew in each pass.
        teacher = copy.deepcopy(network).eval() if objective.uses_teacher else network
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=training.learning_rate,
            betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
            fused=True,  # the other kinds cannot skip a step without waiting for the device
        )
        zero = torch.zeros((), dtype=torch.int64, device=device)
        return cls(network, teacher, ema, LossModule(network, objective), optimizer, 0, zero, zero.clone(), 0.0)

    def average(self, training: Training) -> None:
        """Move both averages towards the weights; short at the start, as the first weights are random."""
        longest = (1 + self.step) / (10 + self.step)
        _move(self.ema, self.network, min(training.ema, longest))
        if self.teacher is not self.network:
            _move(self.teacher, self.network, min(training.teacher_ema, longest))

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the sampling EMA, by name."""
        modules = {"network": self.network} | ({} if self.teacher is self.network else {"teacher": self.teacher})
        found = {"step": torch.tensor(self.step), "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        found |= {"skipped": self.skipped, "streak": self.streak}
        for name, module in modules.items():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{key}": value for key, value in slots.items()}
        return found

    def restore(self, tensors: dict[str, Tensor], ema: dict[str, Tensor]) -> None:
        """The reverse of `tensors`."""
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "teacher": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            if rest:
                parts[part][rest] = value
        self.network.load_state_dict(parts["network"])
        self.ema.load_state_dict(ema)
        if self.teacher is not self.network:
            self.teacher.load_state_dict(parts["teacher"])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition(".")
            slots.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.step, self.seconds = int(tensors["step"]), float(tensors["seconds"])
        self.skipped = tensors["skipped"].to(self.skipped.device)
        self.streak = tensors["streak"].to(self.streak.device)


def _move(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) network; buffers are copied."""
    get_ema_multi_avg_fn(decay)(list(average.parameters()), list(network.parameters()), None)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)
