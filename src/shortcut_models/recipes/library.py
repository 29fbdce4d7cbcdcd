"""The recipes: named configurations, each with its measured result. A new one is an entry of RECIPES."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..base import NetworkConfig, Objective, Task
from ..networks import SIZES, DiTConfig, MLPConfig
from ..objectives import Shortcut
from ..tasks import Digits, Images, Imitation, Latents, Toy
from ..training.options import Training


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how."""

    about: str
    task: Task
    network: NetworkConfig
    objective: Objective
    training: Training
    measured: str = "not measured yet"
    """result, with its command, machine and date"""


def _toy(distribution: str, measured: str = "not measured yet") -> Recipe:
    return Recipe(
        about=f"2-D points: {distribution.replace('-', ' ')}",
        task=Toy(distribution),  # type: ignore[arg-type]
        network=MLPConfig(width=128, depth=4, condition_width=128),
        objective=Shortcut(bootstrap_fraction=0.75, pairing="transport"),
        training=Training(
            train_steps=16_000,
            batch_size=256,
            learning_rate=4e-3,
            warmup=300,
            weight_decay=0.0,
            target_ema=0.95,
            snapshots=60,
            checkpoint_every=2000,
        ),
        measured=measured,
    )


def _images(about: str, steps: int, measured: str = "not measured yet") -> Recipe:
    return Recipe(
        about=about,
        task=Images(),
        network=DiTConfig(width=192, depth=6, heads=3, patch_size=4),
        objective=Shortcut(),
        training=Training(
            train_steps=steps, batch_size=128, learning_rate=1e-3, warmup=300, weight_decay=0.01, target_ema=0.95
        ),
        measured=measured,
    )


def _paper(about: str, size: str, classes: int, batch_size: int, steps: int) -> Recipe:
    """Return the paper's training on latents of 256-pixel images; `--objective flow` is its flow-matching baseline."""
    width, depth, heads = SIZES[size]
    return Recipe(
        about=about,
        task=Latents(image_size=256, classes=classes),
        network=DiTConfig(width=width, depth=depth, heads=heads, patch_size=2),
        objective=Shortcut.original(guidance=1.5 if classes else 1.0),
        training=Training(
            train_steps=steps,
            batch_size=batch_size,
            learning_rate=1e-4,
            schedule="constant",
            warmup=0,
            beta2=0.999,
            weight_decay=0.1,
            ema=0.999,
            target_ema=0.999,
            log_every=100,
            checkpoint_every=10_000,
            heldout_every=10_000,
            sample_every=10_000,
        ),
    )


def _policy(
    about: str,
    steps: int,
    observations: tuple[str, ...] = (),
    network: NetworkConfig | None = None,
    batch_size: int = 128,
    weight_decay: float = 1e-3,
    measured: str = "not measured yet",
    **task: Any,
) -> Recipe:
    """Return a policy's training on demonstrations, with the chunks of Diffusion Policy."""
    task = {"history": 2, "chunk": 16, "execute": 8, **task}
    return Recipe(
        about=about,
        task=Imitation(observations=observations, **task),
        network=network or MLPConfig(width=512, depth=4),
        objective=Shortcut(label_dropout=0.0),
        training=Training(
            train_steps=steps,
            batch_size=batch_size,
            learning_rate=1e-3,
            warmup=300,
            weight_decay=weight_decay,
            target_ema=0.95,
            checkpoint_every=2000,
            sample_every=5000,
        ),
        measured=measured,
    )


RECIPES: dict[str, Recipe] = {
    "digits": Recipe(
        about="handwritten digits, 8x8, with labels; needs no download",
        task=Digits(),
        network=MLPConfig(width=512, depth=4),
        objective=Shortcut(bootstrap_fraction=0.5, label_dropout=0.05, pairing="transport"),
        training=Training(
            train_steps=3200, batch_size=512, learning_rate=4e-3, warmup=500, weight_decay=0.0, target_ema=0.95
        ),
        measured="1 step: accuracy .996, coverage .991, recall .838; 128 steps: .998, .989, .884 "
        "(the worst of seeds 0 to 2, 1,000 samples, 2-core CPU, 2026-11-21, `shortcut evaluate`)",
    ),
    "images": _images("your own images, with --data: a folder, tar shards, .npz or idx files", steps=20_000),
    "fashion-mnist": _images(
        "Fashion-MNIST, with --data: 70,000 grey photos of clothes, 28x28",
        steps=4000,
        measured="1 step: pixel Fréchet distance 4.62, recall .72, accuracy .68; 128 steps: 3.86, .86, .69; real "
        "images .85 (seed 0, 1,000 samples, one core, 53 minutes, 2026-11-21, `shortcut evaluate`)",
    ),
    "cifar10": Recipe(
        about="CIFAR-10, with --data: 60,000 small photos of ten kinds, 32x32, as tar shards or a folder",
        task=Images(image_size=32, channels=3, classes=10),
        network=DiTConfig(width=256, depth=8, heads=4, patch_size=4),
        objective=Shortcut(),
        training=Training(
            train_steps=50_000, batch_size=128, learning_rate=1e-3, warmup=500, weight_decay=0.01, target_ema=0.95
        ),
    ),
    "afhq-cat-256": Recipe(
        about="cat faces, 256x256, as latents, with --data and --vae: small enough for two CPU cores",
        task=Latents(image_size=256, classes=0),
        network=DiTConfig(width=256, depth=6, heads=4, patch_size=4),
        objective=Shortcut(),
        training=Training(
            train_steps=10_000, batch_size=64, learning_rate=1e-3, warmup=300, weight_decay=0.01, target_ema=0.95
        ),
    ),
    "celebahq-256": _paper(
        "CelebA-HQ, 256x256, as latents, with --data and --vae: DiT-B/2, as in the paper", "b", 0, 64, 410_000
    ),
    "imagenet-256": _paper(
        "ImageNet, 256x256, 1,000 classes, as latents, with --data and --vae: DiT-B/2, as in the paper",
        "b",
        1000,
        256,
        810_000,
    ),
    "imagenet-256-xl": _paper(
        "ImageNet, 256x256, 1,000 classes, as latents, with --data and --vae: DiT-XL/2, as in the paper",
        "xl",
        1000,
        256,
        810_000,
    ),
    "imitation": _policy("a policy from your own demonstrations, with --data", steps=30_000),
    "car-racing": _policy(
        "a driver for CarRacing, from pixels, with --data: what `shortcut collect car-racing` wrote",
        steps=6000,
        network=MLPConfig(width=384, depth=4, image_width=16),
        environment="car-racing",
        observations=("image",),
        history=4,
        chunk=8,
        execute=2,
        crop=92,
        measured="1 step: return 905.4 +- 95.2 over 100 fresh tracks, middle half 926.3 +- 2.7, from 20 laps (`collect "
        "--noise 0.5`); 926.1 +- 7.6 with 20 more (`--noise 0.5 --blunders 3`) and `--steps 9000` (`shortcut rollout`; "
        "docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "push-t": _policy(
        "Push-T from its state, with --data: Diffusion Policy's demonstrations",
        steps=12_000,
        environment="push-t",
        observations=("keypoint", "state[:2]"),
        batch_size=256,
        weight_decay=0.01,
        jitter=0.03,
        execute=5,
        measured="1 step: coverage .912 +- .220 over 100 fresh worlds, on which `execute` was chosen, and .816 +- .326 "
        "over 200 others (trained with `--task.execute 8`; docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "push-t-image": _policy(
        "Push-T from pixels and the disc's place, with --data: Diffusion Policy's demonstrations",
        steps=20_000,
        network=MLPConfig(width=512, depth=4, image_width=16),
        environment="push-t",
        observations=("image", "state[:2]"),
        crop=84,
        weight_decay=0.01,
        jitter=0.03,
        execute=5,
        measured="coverage over 50 fresh worlds .791 in 1 step, .843 in 16 (`shortcut rollout`; "
        "docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "robomimic-lift": _policy(
        "robomimic's Lift from its low-dimensional observations, with --data: an HDF5 file of robomimic",
        steps=4000,
        environment="robomimic-lift",
        observations=("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object"),
        measured="success over 50 fresh worlds .76 in 1 step, .82 in 16, from 10 demonstrations (`shortcut rollout`; "
        "docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "meta-world": _policy(
        "any task of Meta-World from its state, with --data: what `shortcut collect meta-world/TASK` wrote",
        steps=6000,
        observations=("state",),
        measured="success over 50 fresh worlds in 1 step: drawer-open 1, assembly 1, peg-insert-side .46, from 50 "
        "demonstrations (`shortcut rollout`; docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "four-gaussians": _toy(
        "four-gaussians",
        measured="1-step and 128-step ends 1.2, 1.4 and 1.3 % of the data's deviation apart; sliced Wasserstein "
        "distance 1.04, 0.97, 1.03 times that of 128 "
        "(seeds 0 to 2, 2-core CPU, 2026-11-21, `shortcut evaluate --num 10000`)",
    ),
    "checkerboard": _toy("checkerboard"),
    "moons": _toy("moons"),
    "spirals": _toy("spirals"),
}
