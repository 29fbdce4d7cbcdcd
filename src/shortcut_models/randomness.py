"""Randomness as a function of its place: (seed, step, part of the batch) while training, (seed, index) when sampling.

Nothing random is carried along, so a run resumes without a saved generator state, and a sample does not depend
on the batch it was made in.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def seed_of(*place: int) -> int:
    """Return a 63-bit seed for a place; places that differ in any number, or in length, get unrelated seeds."""
    digest = hashlib.blake2b(" ".join(map(str, place)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*place: int) -> torch.Generator:
    """Return a CPU generator for this place."""
    return torch.Generator().manual_seed(seed_of(*place))


def generators_of(noise: Tensor) -> list[torch.Generator]:
    """Return a CPU generator for each row, which follows from its values: for samplers that need more noise."""
    rows = noise.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    seeds = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return [torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1) for seed in seeds]


def normal_like(x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw standard normal noise of the shape and kind of x, each row from its own generator."""
    made = torch.empty(x.shape, dtype=x.dtype)
    for row, source in zip(made, generators, strict=True):
        row.normal_(generator=source)
    return made.to(x.device)


def sample_noise(seed: int, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise [n, *shape], float32 on the CPU: sample i gets the same in any batch."""
    noise = torch.empty(len(indices), *shape)
    for row, index in zip(noise, indices, strict=True):
        row.normal_(generator=generator(seed, index))
    return noise


def seed_all(seed: int) -> None:
    """Seed the global generators of torch and NumPy."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002


@contextlib.contextmanager
def fixed_randomness(seed: int = 0) -> Iterator[None]:
    """Seed the global generators, Python's too, for a while, and give all of them the state back that they had."""
    earlier = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        seed_all(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(earlier[0])
            np.random.set_state(earlier[1])  # noqa: NPY002
