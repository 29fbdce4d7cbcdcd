"""What a DiT takes to train, computed from its sizes and not measured: memory on each GPU, FLOPs, and hours.

    python benchmarks/scale.py [--processes 1 8 64] [--batch-size 256] [--steps 810000] [--flops 989e12] [--mfu 0.4]

Sizes are those of Peebles and Xie (2023) on latents of 4 x 32 x 32 in patches of 2, with 1,000 classes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from shortcut_models.networks.dit import SIZES
from shortcut_models.recipes.library import RECIPES

GIB = 2**30
STATE_BYTES = 24
"""of a parameter, in float32: weight, gradient, two moments of AdamW, sampling EMA, teacher"""


@dataclass(frozen=True)
class Sizes:
    """A DiT, by what its costs depend on."""

    width: int
    depth: int
    patch: int = 2
    channels: int = 4
    side: int = 32
    classes: int = 1000
    ratio: int = 4

    @property
    def tokens(self) -> int:
        return (self.side // self.patch) ** 2

    @property
    def pixels(self) -> int:
        """Numbers in a patch."""
        return self.channels * self.patch**2

    def block_parameters(self) -> int:
        """Attention 4 w^2, MLP 2 r w^2, modulation 6 w^2, and the biases."""
        w, r = self.width, self.ratio
        return (10 + 2 * r) * w**2 + (11 + r) * w

    def other_parameters(self) -> int:
        """Inlet, embeddings of t, d and the label, last modulation, proj_out, and skip."""
        w, p = self.width, self.pixels
        embeddings = 2 * (128 * w + w + w**2 + w) + (self.classes + 1) * w
        return p * w + w + embeddings + 2 * w**2 + 2 * w + w * p + p + w * self.channels + self.channels

    def parameters(self) -> int:
        return self.depth * self.block_parameters() + self.other_parameters()

    def flops(self) -> int:
        """Of the matrix products of one forward pass for one example, two for each multiplication."""
        w, r, n = self.width, self.ratio, self.tokens
        block = n * ((4 + 2 * r) * w**2 + 2 * n * w) + 6 * w**2
        return 2 * (self.depth * block + n * 2 * self.pixels * w + 2 * (128 * w + w**2) + 2 * w**2 + w * self.channels)

    def block_activations(self) -> int:
        """Bytes that one block keeps of one example for the backward pass, in bf16 autocast with fused attention.

        For each token and each of w channels: the two normalisations their inputs in float32 (8); in bfloat16 the
        modulated inputs twice (8), queries, keys and values (6), attention's output (2), and what is gated (4); the
        MLP's hidden units before and after the GELU (4 r). Kept for all tokens at once: nothing that counts.
        """
        return self.tokens * self.width * (8 + 8 + 6 + 2 + 4 + 4 * self.ratio)

    def activations(self, *, checkpointing: bool) -> int:
        """Bytes kept of one example; with checkpointing, each block's input and one block in full."""
        if checkpointing:
            return self.depth * self.tokens * self.width * 4 + self.block_activations()
        return self.depth * self.block_activations()


def memory(sizes: Sizes, processes: int, *, fsdp: bool) -> float:
    """GiB of each process's GPU that weights, averages, gradients and optimiser take.

    With FSDP: a share of all, and two blocks at a time that are gathered in bfloat16.
    """
    whole = STATE_BYTES * sizes.parameters()
    if not fsdp:
        return whole / GIB
    return (whole / processes + 2 * 2 * sizes.block_parameters()) / GIB


def hours(sizes: Sizes, steps: int, batch: int, flops: float, mfu: float) -> float:
    """GPU hours of a training with the objective of the recipe imagenet-256, guided targets included."""
    passes = RECIPES["imagenet-256"].objective.nfe_per_example
    return steps * batch * passes * sizes.flops() / (flops * mfu) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=810_000)
    parser.add_argument("--flops", type=float, default=989e12, help="of a GPU, in a second; 989e12: H100, dense bf16")
    parser.add_argument("--mfu", type=float, default=0.4, help="share of them that the matrix products reach")
    args = parser.parse_args()

    shares = " | ".join(f"FSDP, {n} GPUs" for n in args.processes)
    print(f"| | parameters | one GPU or DDP | {shares} | an example | with checkpointing | pass | training |")
    print("| --- |" + " --- |" * (6 + len(args.processes)))
    for name, (width, depth, _) in SIZES.items():
        sizes = Sizes(width, depth)
        sharded = " | ".join(f"{memory(sizes, n, fsdp=True):.2f} GiB" for n in args.processes)
        print(
            f"| DiT-{name.upper()}/2 | {sizes.parameters() / 1e6:.1f} M | {memory(sizes, 1, fsdp=False):.2f} GiB "
            f"| {sharded} | {sizes.activations(checkpointing=False) / 2**20:.0f} MiB "
            f"| {sizes.activations(checkpointing=True) / 2**20:.0f} MiB | {sizes.flops() / 1e9:.1f} GFLOPs "
            f"| {hours(sizes, args.steps, args.batch_size, args.flops, args.mfu):.0f} GPU hours |"
        )


if __name__ == "__main__":
    main()
