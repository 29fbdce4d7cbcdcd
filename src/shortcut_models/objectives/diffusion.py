"""Diffusion (Ho et al. 2020), with the noise schedules and the DDPM sampler of Hugging Face's diffusers.

The network gets t = 1 - (k + 1) / 1000 for timestep k of 0..999, so that here, too, 0 is noise and 1 is data. What
it predicts is not a velocity of the straight path, but v (Salimans and Ho 2022) or the noise (epsilon).
"""

import copy
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from ..base import Batch, Cond, Losses, Network, T, X
from ..errors import UserError
from ..path import check_num_steps
from ..randomness import generators_of
from ..sampling import guided
from ._shared import CommonOptions, drop_rows, squared_error
from .pairing import paired_noise

TIMESTEPS = 1000  # of the noise schedule that is trained on


@dataclass(frozen=True)
class Diffusion(CommonOptions):
    """Learn to remove noise, a thousand levels of it; generate by removing it in steps."""

    uses_target_net: ClassVar[bool] = False
    conditioned_step_size = 0.0

    schedule: Literal["cosine", "linear"] = "cosine"
    """how fast noise drowns the data"""
    prediction: Literal["v", "epsilon"] = "v"
    """what the network predicts; epsilon needs the linear schedule, whose last timestep still depends on the data"""
    sampler: Literal["ddim", "ddpm"] = "ddim"
    """ddim follows from its first noise alone, ddpm draws fresh noise in each step"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps > TIMESTEPS:
            raise UserError(f"max-steps must be <= {TIMESTEPS}, the timesteps of the schedule, not {self.max_steps}")
        if (self.prediction, self.schedule) == ("epsilon", "cosine"):
            # data = (x - sigma epsilon) / alpha, and alpha is 5e-5 at the end of this schedule, where sampling begins:
            # any error would grow 20,000 times (Lin et al. 2024, section 3.2). The linear one ends at 6e-3.
            raise UserError(
                "prediction epsilon needs schedule linear: the cosine schedule ends in pure noise, where epsilon says "
                "nothing about the data"
            )

    def scheduler(self, device: str = "cpu") -> Any:
        """Return a scheduler of diffusers, made once a device. Raise UserError where that library is missing."""
        return _scheduler(self.schedule, self.prediction, device)

    @staticmethod
    def time(timesteps: Int[Tensor, "b"]) -> T:
        """Return the time that the network gets: 0 for the last timestep, all noise."""
        return 1 - (timesteps.float() + 1) / TIMESTEPS

    def losses(
        self, net: Network, target_net: Network, batch: Batch, *, progress: float = 0.0, teacher: Network | None = None
    ) -> Losses:
        data, scheduler = batch.data, self.scheduler(str(batch.data.device))
        noise = paired_noise(batch, "independent")
        timesteps = torch.randint(TIMESTEPS, (len(batch),), device=data.device)
        x = scheduler.add_noise(data, noise, timesteps)
        target = scheduler.get_velocity(data, noise, timesteps) if self.prediction == "v" else noise
        context = net.encode(batch.cond, drop_rows(batch, self.label_dropout))
        t = self.time(timesteps)
        loss = squared_error(net(x, t, torch.zeros_like(t), context), target)
        return Losses(loss, {"denoising": loss.detach()})

    def trajectory(self, net: Network, noise: X, cond: Cond, steps: int, *, guidance: float = 1.0) -> Iterator[X]:
        check_num_steps(steps, self.max_steps)
        scheduler, rows = copy.copy(self.scheduler()), len(noise)  # its timesteps are this call's own
        scheduler.set_timesteps(steps)
        kept = [*scheduler.alphas_cumprod.tolist(), 1.0]  # at -1 all of the data is
        with torch.no_grad():
            predict = guided(net, cond, guidance, rows, noise.device)
        # Each row draws from a generator of its own, so that it does not depend on the others.
        fresh = generators_of(noise) if self.sampler == "ddpm" else []
        x = noise
        for timestep, following in itertools.pairwise([*scheduler.timesteps.tolist(), -1]):
            t = self.time(torch.full((rows,), timestep, device=noise.device))
            with torch.no_grad():  # not around the yield, where the caller's own code runs
                prediction = predict(x, t, torch.zeros_like(t))
                if self.sampler == "ddim":
                    x = self._ddim(x, prediction, kept[timestep], kept[following])
                else:
                    x = scheduler.step(prediction, timestep, x, generator=fresh).prev_sample
            yield x.to(noise.dtype)

    def _ddim(self, x: X, prediction: X, before: float, after: float) -> X:
        """Take one step of DDIM (Song et al. 2021, eq. 12) between two shares of the data's variance.

        Not that of diffusers: it walks 1000 // steps timesteps at a time, and then gives the network another timestep
        than the one it is at. With 128 steps, 7 in place of 7.8, samples are a seventh too wide.
        """
        alpha, sigma = before**0.5, (1 - before) ** 0.5
        if self.prediction == "v":
            data, noise = alpha * x - sigma * prediction, alpha * prediction + sigma * x
        else:
            data, noise = (x - sigma * prediction) / alpha, prediction
        return after**0.5 * data + (1 - after) ** 0.5 * noise


@functools.cache
def _scheduler(schedule: str, prediction: str, device: str) -> Any:
    """Return the scheduler, kept: a new one for each batch would compute its tables and send them again.

    It moves its tables to the data's device and leaves them there, so each device has its own.
    """
    try:
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
    except ImportError:
        raise UserError("diffusion needs an extra: pip install 'shortcut-models[diffusion]'") from None
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_schedule="squaredcos_cap_v2" if schedule == "cosine" else "linear",
        prediction_type="v_prediction" if prediction == "v" else "epsilon",
        clip_sample=False,
        timestep_spacing="trailing",  # the first step starts from pure noise, whatever their number
    )
