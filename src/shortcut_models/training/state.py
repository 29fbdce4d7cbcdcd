"""All that changes while training, and how it is saved and restored."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..base import Batch, Losses, Network, Objective
from ..system.distributed import ALONE, Processes
from .optimizers import GROUP, NUMBER, averages_by_itself, copy_averaged, make_optimizer, restore_state, state_tensors
from .options import Training
from .sharding import is_sharded, replicate, shard, shard_like, to_local


class LossModule(nn.Module):
    """The objective and its network as one module from batch to losses: what data parallelism wraps."""

    def __init__(self, network: Network, objective: Objective) -> None:
        super().__init__()
        self.network, self.objective = network, objective

    def forward(self, target_net: Network, batch: Batch, progress: float, teacher: Network | None) -> Losses:
        return self.objective.losses(self.network, target_net, batch, progress=progress, teacher=teacher)


@dataclass
class State:
    """Networks, optimiser and counters of a run."""

    network: Network
    target_net: Network  # average that makes targets; the network itself where the objective needs none
    ema: Network  # slower average that is sampled from
    teacher: Network | None  # trained network that is learned from, where the objective does so
    objective: Objective
    processes: Processes  # those that train this state together
    loss: nn.Module  # a LossModule of the network and the objective, as data parallelism wraps it
    optimizer: torch.optim.Optimizer
    step: int  # steps taken
    skipped: Tensor  # steps skipped because their loss or gradient was not finite
    bad_steps_in_a_row: Tensor  # how many of them came last, without a good one between
    seconds: float  # time spent training, over all resumptions

    @classmethod
    def new(
        cls, network: Network, objective: Objective, training: Training, device: torch.device,
        teacher: Network | None = None, processes: Processes = ALONE,
    ) -> "State":  # fmt: skip
        """Return the state before the first step: the same in all processes, with the first weights of the main one."""
        sharding = processes.world > 1 and training.parallel == "fsdp"
        # What is to be sharded goes to the device a unit at a time: whole, it might not fit there.
        start = torch.device("cpu") if sharding else device
        network.to(start).train()
        processes.broadcast_parameters(network)
        ema = copy.deepcopy(network).eval()
        # The target network keeps requires_grad, though it is never differentiated: autocast converts such weights once
        # a step, and all others again in each pass.
        target_net = copy.deepcopy(network).eval() if objective.uses_target_net else network
        if teacher is not None:
            teacher = copy.deepcopy(teacher).to(start).eval() if objective.requires == "teacher" else None
        loss: nn.Module = LossModule(network, objective)
        if processes.world > 1 and not sharding:
            loss = replicate(loss)
        elif sharding:
            others = [target_net, *([] if teacher is None else [teacher])]
            shard(network, ema, others, device, processes.world, bfloat16=training.bfloat16(device))
        optimizer = make_optimizer(network, training)
        zero = torch.zeros((), dtype=torch.int64, device=device)
        return cls(network, target_net, ema, teacher, objective, processes, loss, optimizer, 0, zero, zero.clone(), 0.0)

    @property
    def stages(self) -> int:
        return self.objective.stages

    @property
    def sharded(self) -> bool:
        """Whether each process holds but a share of the networks and of the optimiser's state."""
        return any(map(is_sharded, self.network.parameters()))

    def compile(self) -> None:
        """Compile all networks that training runs, each when it first runs."""
        for network in {self.network, self.target_net, *([] if self.teacher is None else [self.teacher])}:
            # What gathers a sharded network runs between its units, and cannot be compiled with them.
            for module in network.shard_units() if self.sharded else [network]:
                module.compile()

    def enter_stage(self, training: Training) -> None:
        """Make what was learned the teacher, and restart the averages, where a stage of training begins."""
        if self.teacher is None or self.step == 0 or training.stage(self.step, self.stages).start != self.step:
            return
        self.teacher.load_state_dict(self.target_net.state_dict())
        self.target_net.load_state_dict(self.network.state_dict())
        self.ema.load_state_dict(self.network.state_dict())

    def average(self, training: Training) -> None:
        """Move both averages towards the weights; short at the start, as the first weights are random."""
        done = self.step - training.stage(self.step, self.stages).start
        longest = (1 + done) / (10 + done) if training.ema_warmup else 1.0
        if averages_by_itself(self.optimizer):
            copy_averaged(self.optimizer, self.network, self.ema)
        else:
            _move(self.ema, self.network, min(training.ema, longest))
        if self.target_net is not self.network:
            _move(self.target_net, self.network, min(training.target_ema, longest))

    def _changing(self) -> dict[str, nn.Module]:
        """Return the networks beside the sampling EMA that training changes; a teacher only from stage to stage."""
        found: dict[str, nn.Module] = {"network": self.network}
        found |= {} if self.target_net is self.network else {"target_net": self.target_net}
        return found | ({"teacher": self.teacher} if self.teacher is not None and self.stages > 1 else {})

    def tensors(self) -> dict[str, Tensor]:
        """Return what a resumed run needs beside the sampling EMA, by name."""
        found = {"step": torch.tensor(self.step), "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
        found |= {"skipped": self.skipped, "bad_steps_in_a_row": self.bad_steps_in_a_row}
        for name, module in self._changing().items():
            found |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        return found | state_tensors(self.optimizer, self.network)

    def state_template(self) -> dict[str, Tensor]:
        """Return what to read `tensors` into: the same names, shapes and places, before the first step as well."""
        found = self.tensors()
        for index, parameter in enumerate(self.network.parameters()):
            for key in ("exp_avg", "exp_avg_sq"):
                found.setdefault(f"optimizer.{index}.{key}", torch.zeros_like(parameter.detach()))
            found.setdefault(f"optimizer.{index}.step", torch.zeros(()))
        return found

    def restore(self, tensors: dict[str, Tensor], ema: dict[str, Tensor]) -> None:
        """Undo `tensors`, of which each process may have the whole or its share."""
        names = ("network", "target_net", "teacher", "optimizer", NUMBER, GROUP)
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            if rest:
                parts[part][rest] = value
        _load(self.ema, ema)
        for part, module in self._changing().items():
            _load(module, parts[part])
        slots: dict[int, dict[str, Any]] = {}
        parameters = list(self.network.parameters())
        for name, value in parts["optimizer"].items():
            index, _, key = name.partition(".")
            slots.setdefault(int(index), {})[key] = shard_like(value, parameters[int(index)])
        for name, value in parts[NUMBER].items():
            index, _, key = name.partition(".")
            slots.setdefault(int(index), {})[key] = value.item()
        restore_state(self.optimizer, self.network, slots, parts[GROUP])
        self.step, self.seconds = int(tensors["step"]), float(tensors["seconds"])
        self.skipped = tensors["skipped"].to(self.skipped.device)
        self.bad_steps_in_a_row = tensors["bad_steps_in_a_row"].to(self.bad_steps_in_a_row.device)


def _load(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    mine = module.state_dict()
    module.load_state_dict({name: shard_like(value, mine.get(name, value)) for name, value in tensors.items()})


def _move(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Set average to decay average + (1 - decay) network; buffers are copied."""
    get_ema_multi_avg_fn(decay)(to_local(average.parameters()), to_local(network.parameters()), None)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(theirs)
