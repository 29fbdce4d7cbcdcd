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

    def forward(self, teacher: Network, batch: Batch, source: Network | None = None) -> Losses:
        return losses(self.objective, self.network, teacher, batch, source)


def losses(objective: Objective, net: Network, teacher: Network, batch: Batch, source: Network | None) -> Losses:
    """The objective's losses; the source goes to those that learn from one."""
    more = {"source": source} if objective.learns_from == "source" else {}
    return objective.losses(net, teacher, batch, **more)


@dataclass
class State:
    """Networks, optimiser and counters of a run."""

    network: Network
    teacher: Network
    """average that makes targets; the network itself where the objective needs none"""
    ema: Network
    """slower average that is sampled from"""
    source: Network | None
    """trained network that is learned from, where the objective does so"""
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
    def new(
        cls,
        network: Network,
        objective: Objective,
        training: Training,
        device: torch.device,
        source: Network | None = None,
    ) -> State:
        """The state before the first step. source: a trained network, kept where the objective's losses ask for it."""
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
        if source is not None:
            source = copy.deepcopy(source).to(device).eval() if objective.learns_from == "source" else None
        zero = torch.zeros((), dtype=torch.int64, device=device)
        loss = LossModule(network, objective)
        return cls(network, teacher, ema, source, loss, optimizer, 0, zero, zero.clone(), 0.0)

    @property
    def stages(self) -> int:
        return self.loss.objective.stages

    def compile(self) -> None:
        """Compile all networks that training runs, each when it first runs."""
        for network in {self.network, self.teacher, *([] if self.source is None else [self.source])}:
            network.compile()

    def enter_stage(self, training: Training) -> None:
        """Where a stage of training begins: what was learned becomes the source, and the averages start anew."""
        if self.source is None or self.step == 0 or training.stage(self.step, self.stages).start != self.step:
            return
        self.source.load_state_dict(self.teacher.state_dict())
        self.teacher.load_state_dict(self.network.state_dict())
        self.ema.load_state_dict(self.network.state_dict())

    def average(self, training: Training) -> None:
        """Move both averages towards the weights; short at the start, as the first weights are random."""
        done = self.step - training.stage(self.step, self.stages).start
        longest = (1 + done) / (10 + done) if training.ema_warmup else 1.0
        _move(self.ema, self.network, min(training.ema, longest))
        if self.teacher is not self.network:
            _move(self.teacher, self.network, min(training.teacher_ema, longest))

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the sampling EMA, by name."""
        modules = {"network": self.network} | ({} if self.teacher is self.network else {"teacher": self.teacher})
        modules |= {"source": self.source} if self.source is not None and self.stages > 1 else {}  # it changes
        found = {"step": torch.tensor(self.step), "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        found |= {"skipped": self.skipped, "streak": self.streak}
        for name, module in modules.items():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{key}": value for key, value in slots.items()}
        return found

    def restore(self, tensors: dict[str, Tensor], ema: dict[str, Tensor]) -> None:
        """The reverse of `tensors`."""
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "teacher": {}, "source": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            if rest:
                parts[part][rest] = value
        self.network.load_state_dict(parts["network"])
        self.ema.load_state_dict(ema)
        if self.teacher is not self.network:
            self.teacher.load_state_dict(parts["teacher"])
        if self.source is not None and self.stages > 1:
            self.source.load_state_dict(parts["source"])
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
