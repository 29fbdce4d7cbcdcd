"""The command `shortcut plot-chunks`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..config import NonNegativeInt, PositiveInt
from .shared import OnDevice, check_out, steps_of


@dataclass(frozen=True, kw_only=True)
class PlotChunks(OnDevice):
    run: Positional[Path]
    """run directory or model.safetensors file of a policy"""
    out: Path
    """file of the picture, .png"""
    steps: Sequence[int] = (1,)
    """numbers of sampling steps, a column each, 1 to the policy's largest"""
    episode: NonNegativeInt | None = None
    """number of the episode in the demonstrations (default: the first that was held out)"""
    data: str | None = None
    """demonstrations (default: where they were for training)"""
    execute: PositiveInt | None = None
    """number of frames from one decision to the next (default: the run's own)"""
    seed: NonNegativeInt = 0
    """seed of the noises"""

    def __call__(self) -> None:
        from ..drawing.png import save_png
        from ..policies.policy import Policy

        check_out(self.out, ".png")
        policy = Policy.load(self.run, device=self.torch_device(), execute=self.execute)
        steps = steps_of(self.steps, policy.model)
        save_png(self.out, policy.draw_chunks(self.data, episode=self.episode, steps=steps, seed=self.seed))
        print(self.out)
