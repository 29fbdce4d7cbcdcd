"""Joining sets of demonstrations: for example perfect laps, and laps that show how to get back to the line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from .episodes import Demonstrations
from .frames import Block, is_image, read_frames, stack_vectors

_BLOCK_FRAMES = 1024  # frames of images in memory at a time


def join(sets: Sequence[tuple[str, Demonstrations]]) -> Demonstrations:
    """Return all episodes of some sets, each with its name in messages; images are cached once more, in one file."""
    (first, found), parts = sets[0], [part for _, part in sets]
    for where, part in sets[1:]:
        if set(part.observations) != set(found.observations):
            names = [", ".join(each.observations) or "nothing" for each in (found, part)]
            raise UserError(
                f"{first} has {names[0]}, and {where} {names[1]}: choose --task.observations that all of them have"
            )
    environments = {part.environment for part in parts if part.environment}
    if len(environments) > 1:
        raise UserError(f"they are of {' and of '.join(sorted(environments))}: use demonstrations of one environment")
    rates = {part.fps for part in parts if part.fps is not None}
    if len(rates) > 1:
        shown = " and ".join(f"{rate:g}" for rate in sorted(rates))
        raise UserError(f"they have {shown} frames per second: use demonstrations of one rate, or resample some")
    _check_seeds(sets)
    offsets = np.cumsum([0, *(len(part.actions) for part in parts[:-1])])
    return Demonstrations(
        {name: _observation(name, sets) for name in found.observations},
        stack_vectors("action", [Block(where, len(part.actions), part.actions) for where, part in sets]),
        np.concatenate([part.ends + offset for part, offset in zip(parts, offsets, strict=True)]),
        returns=_join_values(sets, "returns"), seeds=_join_values(sets, "seeds"),
        environment=next(iter(environments), ""), held_out=_join_values(sets, "held_out"),
        fps=next(iter(rates), None), left_out=tuple(dict.fromkeys(text for part in parts for text in part.left_out)),
    )  # fmt: skip


def _observation(name: str, sets: Sequence[tuple[str, Demonstrations]]) -> np.ndarray:
    arrays = [(where, part.observations[name]) for where, part in sets]
    if not all(is_image(array) for _, array in arrays):  # so that images joined earlier are not taken for all of them
        return stack_vectors(name, [Block(where, len(array), array) for where, array in arrays])

    def blocks() -> Iterator[Block]:
        for where, array in arrays:
            for start in range(0, len(array), _BLOCK_FRAMES):
                piece = array[start : start + _BLOCK_FRAMES]
                yield Block(where, len(piece), piece)

    files = [Path(array.filename) for _, array in arrays]  # type: ignore[attr-defined]  # images are memory-mapped
    return read_frames(name, arrays[0][1], files, blocks)


def _check_seeds(sets: Sequence[tuple[str, Demonstrations]]) -> None:
    """Raise UserError if a seed is in two sets: one of its episodes might be trained on, and the other held out."""
    known: dict[int, str] = {}
    for where, part in sets:
        seeds = [] if part.seeds is None else part.seeds.tolist()
        for seed in seeds:
            if seed in known:
                raise UserError(
                    f"seed {seed} is in {known[seed]} and in {where}: collect one of them with another --seed"
                )
        known |= dict.fromkeys(seeds, where)


def _join_values(sets: Sequence[tuple[str, Demonstrations]], what: str) -> np.ndarray | None:
    """Return seeds, returns or numbers of held-out episodes of all sets, or None where a set does not have them."""
    found = [getattr(part, what) for _, part in sets]
    without = [where for (where, _), facts in zip(sets, found, strict=True) if facts is None]
    if what != "returns" and 0 < len(without) < len(found):
        shown = what.replace("held_out", "held-out episodes")
        raise UserError(f"{without[0]} does not have {shown}, and another set does: join sets that all do, or none")
    if not without and what == "held_out":
        offsets = np.cumsum([0, *(len(part) for _, part in sets[:-1])])
        found = [numbers + offset for numbers, offset in zip(found, offsets, strict=True)]
    return None if without else np.concatenate(found)
