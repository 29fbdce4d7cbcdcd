"""The trainer's options, and values derived from them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import annotated_types as at
import torch
from torch import nn

from ..config import NonNegativeInt, PositiveInt, check
from ..errors import UserError
from ..path import stage_of

Decay = Annotated[float, at.Ge(0), at.Lt(1)]
OptimizerName = Literal["adamw", "muon", "schedule-free"]
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""a function of the parameters, from Python; its learning rates are peaks, which the schedule scales"""


@dataclass(frozen=True)
class Training:
    """How a network is trained. Everything here but the rates of logging and saving decides the weights."""

    train_steps: PositiveInt = 10_000
    """optimiser steps"""
    batch_size: Annotated[int, at.Ge(1), at.Le(2**20)] = 256
    """examples of a step, over all processes"""
    accumulate: PositiveInt = 1
    """parts that a process cuts its batch into to save memory; parts of all processes must divide batch-size"""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """what several processes, started by torchrun, hold of the networks: all (ddp), or a share (fsdp)"""
    optimizer: OptimizerName | MakeOptimizer = "adamw"
    """adamw; muon: Muon for matrices of inner layers, AdamW for the rest; schedule-free: AdamW that needs no schedule
    and averages by itself (needs an extra: pip install 'shortcut-models[schedule-free]')"""
    learning_rate: Annotated[float, at.Gt(0)] = 1e-3
    """peak learning rate"""
    warmup: NonNegativeInt = 200
    """steps over which the learning rate rises to its peak"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """after the warm-up: down to 0 along a half cosine, or constant"""
    beta1: Decay = 0.9
    """AdamW's decay of the mean gradient"""
    beta2: Decay = 0.99
    """AdamW's decay of the mean squared gradient"""
    weight_decay: Annotated[float, at.Ge(0)] = 0.1
    """decoupled weight decay, on every parameter"""
    clip: Annotated[float, at.Gt(0)] = 1.0
    """largest norm of the gradient; a longer one is shortened to it"""
    ema: Decay = 0.999
    """decay of the average of the weights that is sampled from and saved"""
    ema_warmup: bool = True
    """shorten both averages at the start, when the weights are random"""
    target_ema: Decay = 0.99
    """decay of the average of the weights that makes the self-consistency targets: faster than the other"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """arithmetic of the network: auto is bf16 where the hardware multiplies it; weights stay float32"""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile: auto is on for a GPU"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ...; auto is a CUDA GPU where there is one"""
    seed: NonNegativeInt = 0
    """of everything random"""
    workers: Annotated[int, at.Ge(0), at.Le(256)] = 0
    """processes that read data beside the trainer; 0 reads in the trainer"""
    checkpoint_every: PositiveInt = 1000
    """steps between checkpoints"""
    keep: PositiveInt = 3
    """number of checkpoints kept"""
    log_every: PositiveInt = 50
    """steps between lines of metrics.jsonl"""
    heldout_every: PositiveInt = 1000
    """steps between losses on held-out data"""
    sample_every: PositiveInt = 1000
    """steps between pictures of samples"""
    evaluate_every: NonNegativeInt = 0
    """steps between evaluations of samples in 1, 4 and 128 steps, by the task's own measures; 0: none"""
    keep_best: str | None = None
    """figure of the log by which the best model is kept in checkpoints/best: heldout_loss, or a measure of the task"""
    snapshots: Annotated[int, at.Ge(0), at.Le(1000)] = 0
    """number of snapshots for `shortcut animate`, denser at the start; for 2-D tasks"""
    side_share: Annotated[float, at.Ge(0), at.Le(1)] = 0.05
    """largest share of the steps' time for previews, held-out losses, evaluations and snapshots; the last are always
    made; 1: all"""

    def __post_init__(self) -> None:
        check(self)
        if self.batch_size % self.accumulate:
            raise UserError(f"accumulate {self.accumulate} does not divide batch-size {self.batch_size}")

    def part_size(self, world: int) -> int:
        """Return the examples of one pass. Raise UserError where processes cannot share a batch evenly."""
        parts = world * self.accumulate
        if self.batch_size % parts:
            raise UserError(
                f"batch-size {self.batch_size} cannot be shared evenly by {world} processes of {self.accumulate} "
                f"parts: use a multiple of {parts}, or another number of processes"
            )
        return self.batch_size // parts

    def stage(self, step: int, stages: int) -> range:
        """Return the steps of the stage that a step belongs to, where training is cut into so many equal stages."""
        stage = stage_of(step / self.train_steps, stages)
        return range(-(-stage * self.train_steps // stages), -(-(stage + 1) * self.train_steps // stages))

    def learning_rate_at(self, step: int, stages: int = 1) -> float:
        """Return the learning rate of step 0, 1, ...; every stage has the whole schedule, with a short warm-up."""
        within = self.stage(step, stages)
        warmup, done = self.warmup if stages == 1 else min(self.warmup, len(within) // 10), step - within.start
        rise = min(1.0, (done + 1) / warmup) if warmup else 1.0
        if self.schedule == "constant" or self.optimizer == "schedule-free":
            return self.learning_rate * rise
        progress = max(0, done - warmup) / max(1, len(within) - warmup)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * progress))

    def snapshot_steps(self) -> frozenset[int]:
        """Return the steps after which snapshots are taken, evenly spaced on a logarithmic scale."""
        if self.snapshots < 2:
            return frozenset({self.train_steps} if self.snapshots else ())
        return frozenset(round(self.train_steps ** (i / (self.snapshots - 1))) for i in range(self.snapshots))

    def compiles(self, device: torch.device) -> bool:
        """Return whether the network is compiled on this device."""
        return self.compile == "on" or (self.compile == "auto" and device.type == "cuda")

    def bfloat16(self, device: torch.device) -> bool:
        """Return whether the network computes in bfloat16 on this device."""
        if self.precision != "auto":
            return self.precision == "bf16"
        if device.type == "cuda":
            return torch.cuda.is_bf16_supported(including_emulation=False)
        # Emulated on other CPUs, where it is slower than float32; torch has no public name for the question.
        tests = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
        return device.type == "cpu" and any(test is not None and test() for test in tests)
