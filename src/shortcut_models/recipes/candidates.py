"""What `--minutes` chooses among: sizes of training for each kind of task, the smallest first."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..base import NetworkConfig, Task
from ..networks import DiTConfig, MLPConfig, UNet2dConfig
from ..tasks import Digits, Images, Imitation, Latents, Toy


@dataclass(frozen=True)
class Candidate:
    """A size of training."""

    steps: int
    """fewest steps that it is worth choosing for, in place of the one before"""
    network: NetworkConfig
    batch_size: int
    image_size: int | None = None
    """side of the images at most, for a recipe that leaves it open; None: their own"""
    training: Mapping[str, Any] = field(default_factory=dict)
    """options of the training that the recipe has otherwise, where the network is chosen"""
    objective: Mapping[str, Any] = field(default_factory=dict)
    """options of the shortcut objective that the recipe has otherwise"""


# Chosen by trials with 4,317 photos of flowers at 32 pixels, of up to 400 seconds of processor time. Guidance makes
# samples of a short training agree with their labels, and fewer step sizes are learned sooner.
_PHOTOS = {"learning_rate": 3e-3, "warmup": 100}
_SHORT = {"max_steps": 32, "guidance": 2.0}

# After the last one comes the recipe itself, for as many steps as it has.
CANDIDATES: Mapping[type[Task], tuple[Candidate, ...]] = {
    Images: (
        Candidate(0, UNet2dConfig(width=32), 32, 32, _PHOTOS, _SHORT),
        Candidate(20_000, UNet2dConfig(width=64), 32, 32, _PHOTOS, _SHORT),
        Candidate(40_000, UNet2dConfig(width=64, levels=4), 64, 64, _PHOTOS, _SHORT),
        Candidate(80_000, UNet2dConfig(width=64, levels=5), 64, 128, _PHOTOS, _SHORT),
    ),
    Latents: (
        Candidate(0, UNet2dConfig(width=32), batch_size=32),
        Candidate(3000, UNet2dConfig(width=64), batch_size=32),
        Candidate(10_000, DiTConfig(width=256, depth=6, heads=4, patch_size=4), batch_size=64),
    ),
    Digits: (
        Candidate(0, MLPConfig(width=64, depth=3), batch_size=256),
        Candidate(800, MLPConfig(width=128, depth=4), batch_size=512),
    ),
    Toy: (
        Candidate(0, MLPConfig(width=64, depth=3), batch_size=256),
        Candidate(6000, MLPConfig(width=128, depth=4), batch_size=256),
    ),
    Imitation: (
        Candidate(0, MLPConfig(width=256, depth=3), batch_size=128),
        Candidate(3000, MLPConfig(width=384, depth=4), batch_size=128),
        Candidate(10_000, MLPConfig(width=512, depth=4), batch_size=128),
    ),
}
