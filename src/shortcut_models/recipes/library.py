"""The recipes: named configurations, each with its measured result. A new one is an entry of RECIPES."""

from dataclasses import dataclass, replace
from functools import partial

from ..base import NetworkConfig, Objective, Task
from ..networks import NETWORKS, DiTConfig, MLPConfig
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


SMALL = Training(batch_size=128, learning_rate=1e-3, warmup=300, weight_decay=0.01, target_ema=0.95)
POLICY = replace(SMALL, weight_decay=1e-3, checkpoint_every=2000, sample_every=5000)
POINTS = replace(SMALL, batch_size=256, learning_rate=4e-3, weight_decay=0.0, checkpoint_every=2000, snapshots=60)
PAPER = Training(
    learning_rate=1e-4, schedule="constant", warmup=0, beta2=0.999, weight_decay=0.1, ema=0.999, target_ema=0.999,
    log_every=100, checkpoint_every=10_000, heldout_every=10_000, sample_every=10_000,
)  # fmt: skip
"""the paper's training on latents of 256-pixel images; with `--objective flow`, that of its flow-matching baseline"""

demonstrations = partial(Imitation, history=2, chunk=16, execute=8)  # with the chunks of Diffusion Policy

RECIPES: dict[str, Recipe] = {
    "digits": Recipe(
        "handwritten digits, 8x8, with labels; needs no download",
        Digits(),
        MLPConfig(width=128, depth=4),
        Shortcut(bootstrap_fraction=0.5, label_dropout=0.05, pairing="transport"),
        replace(SMALL, train_steps=3200, batch_size=512, learning_rate=4e-3, warmup=500, weight_decay=0.0),
        "1 step: accuracy .995, coverage .991, recall .842; 128 steps: .999, .991, .853 "
        "(the worst of seeds 0 to 2, 1,000 samples, one CPU core, 2026-11-29, `shortcut evaluate`); on two cores "
        "seed 0 has .996, .996, .824 and .999, .987, .844",
    ),
    "images": Recipe(
        "your own images, with --data: a folder, tar shards, .npz or idx files",
        Images(),
        DiTConfig(width=192, depth=6, heads=3, patch_size=4),
        Shortcut(),
        replace(SMALL, train_steps=20_000),
    ),
    "fashion-mnist": Recipe(
        "Fashion-MNIST, with --data: 70,000 grey photos of clothes, 28x28",
        Images(),
        DiTConfig(width=192, depth=6, heads=3, patch_size=4),
        Shortcut(),
        replace(SMALL, train_steps=4000),
        "1 step: pixel Fréchet distance 4.62, recall .72, accuracy .68; 128 steps: 3.86, .86, .69; real "
        "images .85 (seed 0, 1,000 samples, one core, 53 minutes, 2026-11-21, `shortcut evaluate`)",
    ),
    "cifar10": Recipe(
        "CIFAR-10, with --data: 60,000 small photos of ten kinds, 32x32, as tar shards or a folder",
        Images(image_size=32, channels=3, classes=10),
        DiTConfig(width=256, depth=8, heads=4, patch_size=4),
        Shortcut(),
        replace(SMALL, train_steps=50_000, warmup=500),
    ),
    "afhq-cat-256": Recipe(
        "cat faces, 256x256, as latents, with --data and --vae: small enough for two CPU cores",
        Latents(image_size=256, classes=0),
        DiTConfig(width=256, depth=6, heads=4, patch_size=4),
        Shortcut(),
        replace(SMALL, train_steps=10_000, batch_size=64),
    ),
    "celebahq-256": Recipe(
        "CelebA-HQ, 256x256, as latents, with --data and --vae: DiT-B/2, as in the paper",
        Latents(image_size=256, classes=0),
        NETWORKS["dit-b"](patch_size=2),
        Shortcut.original(),
        replace(PAPER, train_steps=410_000, batch_size=64),
    ),
    "imagenet-256": Recipe(
        "ImageNet, 256x256, 1,000 classes, as latents, with --data and --vae: DiT-B/2, as in the paper",
        Latents(image_size=256, classes=1000),
        NETWORKS["dit-b"](patch_size=2),
        Shortcut.original(guidance=1.5),
        replace(PAPER, train_steps=810_000, batch_size=256),
    ),
    "imagenet-256-xl": Recipe(
        "ImageNet, 256x256, 1,000 classes, as latents, with --data and --vae: DiT-XL/2, as in the paper",
        Latents(image_size=256, classes=1000),
        NETWORKS["dit-xl"](patch_size=2),
        Shortcut.original(guidance=1.5),
        replace(PAPER, train_steps=810_000, batch_size=256),
    ),
    "imitation": Recipe(
        "a policy from your own demonstrations, with --data",
        demonstrations(),
        MLPConfig(width=512, depth=4),
        Shortcut(label_dropout=0.0),
        replace(POLICY, train_steps=30_000),
    ),
    "car-racing": Recipe(
        "a driver for CarRacing, from pixels, with --data: what `shortcut collect car-racing` wrote",
        Imitation(environment="car-racing", observations=("image",), history=4, chunk=8, execute=2, crop=92),
        MLPConfig(width=384, depth=4, image_width=16),
        Shortcut(label_dropout=0.0),
        replace(POLICY, train_steps=6000),
        "1 step: return 905.4 +- 95.2 over 100 fresh tracks, middle half 926.3 +- 2.7, from 20 laps (`collect "
        "--noise 0.5`); 926.1 +- 7.6 with 20 more (`--noise 0.5 --perturbations 3`) and `--train-steps 9000` "
        "(`shortcut rollout`; docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "push-t": Recipe(
        "Push-T from its state, with --data: Diffusion Policy's demonstrations",
        demonstrations(environment="push-t", observations=("keypoint", "state[:2]"), execute=5, jitter=0.03),
        MLPConfig(width=512, depth=4),
        Shortcut(label_dropout=0.0),
        replace(POLICY, train_steps=12_000, batch_size=256, weight_decay=0.01),
        "1 step: coverage .912 +- .220 over 100 fresh worlds, on which `execute` was chosen, and .816 +- .326 "
        "over 200 others (trained with `--task.execute 8`; docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "push-t-image": Recipe(
        "Push-T from pixels and the disc's place, with --data: Diffusion Policy's demonstrations",
        demonstrations(environment="push-t", observations=("image", "state[:2]"), execute=5, crop=84, jitter=0.03),
        MLPConfig(width=512, depth=4, image_width=16),
        Shortcut(label_dropout=0.0),
        replace(POLICY, train_steps=20_000, weight_decay=0.01),
        "coverage over 50 fresh worlds .791 in 1 step, .843 in 16 (`shortcut rollout`; "
        "docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "robomimic-lift": Recipe(
        "robomimic's Lift from its low-dimensional observations, with --data: an HDF5 file of robomimic",
        demonstrations(
            environment="robomimic-lift",
            observations=("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object"),
        ),
        MLPConfig(width=512, depth=4),
        Shortcut(label_dropout=0.0),
        replace(POLICY, train_steps=4000),
        "success over 50 fresh worlds .76 in 1 step, .82 in 16, from 10 demonstrations (`shortcut rollout`; "
        "docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "meta-world": Recipe(
        "any task of Meta-World from its state, with --data: what `shortcut collect meta-world/TASK` wrote",
        demonstrations(observations=("state",)),
        MLPConfig(width=512, depth=4),
        Shortcut(label_dropout=0.0),
        replace(POLICY, train_steps=6000),
        "success over 50 fresh worlds in 1 step: drawer-open 1, assembly 1, peg-insert-side .46, from 50 "
        "demonstrations (`shortcut rollout`; docs/policy-benchmarks.md; 2-core CPU, 2026-11-22)",
    ),
    "four-gaussians": Recipe(
        "2-D points: four gaussians",
        Toy("four-gaussians"),
        MLPConfig(width=128, depth=4),
        Shortcut(bootstrap_fraction=0.75, pairing="transport"),
        replace(POINTS, train_steps=16_000),
        "1-step and 128-step ends 1.2, 1.4 and 1.3 % of the data's deviation apart; sliced Wasserstein "
        "distance 1.04, 0.97, 1.03 times that of 128 "
        "(seeds 0 to 2, 2-core CPU, 2026-11-21, `shortcut evaluate --num 10000`)",
    ),
}
for _name in ("checkerboard", "moons", "spirals"):
    RECIPES[_name] = replace(
        RECIPES["four-gaussians"], about=f"2-D points: {_name}", task=Toy(_name), measured=Recipe.measured
    )
