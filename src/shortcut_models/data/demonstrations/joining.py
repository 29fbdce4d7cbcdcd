"""Several sets of demonstrations as one: perfect laps, and laps that show how to get back to the line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from ...errors import UserError
from .episodes import Demonstrations, is_image
from .frames import Part, cache_key, images, vectors

_AT_ONCE = 1024
"""frames of images that are held in memory"""


def join(sets: Sequence[tuple[str, Demonstrations]]) -> Demonstrations:
    """All episodes of some sets, by what messages call them; images are cached once more, in one file.

    Raises UserError where their observations, actions or environments differ, where a world is in two of them, and
    where only some know their seeds, or hold episodes out.
    """
    (first, found), parts = sets[0], [part for _, part in sets]
    for where, part in sets[1:]:
        if set(part.observations) != set(found.observations):
            names = [", ".join(each.observations) or "nothing" for each in (found, part)]
            raise UserError(
                f"{first} shows {names[0]}, and {where} {names[1]}: choose --task.observations that all show"
            )
    environments = {part.environment for part in parts if part.environment}
    if len(environments) > 1:
        raise UserError(f"they are of {' and of '.join(sorted(environments))}: train on one environment at a time")
    _check_worlds(sets)
    offsets = np.cumsum([0, *(len(part.actions) for part in parts[:-1])])
    return Demonstrations(
        {name: _observation(name, sets) for name in found.observations},
        vectors("action", [Part(where, len(part.actions), part.actions) for where, part in sets]),
        np.concatenate([part.ends + offset for part, offset in zip(parts, offsets, strict=True)]),
        returns=_all_or_none(sets, "returns"), seeds=_all_or_none(sets, "seeds"),
        environment=next(iter(environments), ""), held_out=_held_out(sets),
    )  # fmt: skip


def _observation(name: str, sets: Sequence[tuple[str, Demonstrations]]) -> np.ndarray:
    arrays = [(where, part.observations[name]) for where, part in sets]
    if not all(is_image(array) for _, array in arrays):
        return vectors(name, [Part(where, len(array), array) for where, array in arrays])

    def parts() -> Iterator[Part]:
        for where, array in arrays:
            for start in range(0, len(array), _AT_ONCE):
                piece = array[start : start + _AT_ONCE]
                yield Part(where, len(piece), piece)

    return images(name, cache_key([_file(array) for _, array in arrays], name), parts)


def _file(array: Any) -> Path:
    """Where images are mapped from."""
    return Path(array.filename)


def _check_worlds(sets: Sequence[tuple[str, Demonstrations]]) -> None:
    """Raise UserError where a world is in two sets: it would be trained on, and held out."""
    known: dict[int, str] = {}
    for where, part in sets:
        seeds = [] if part.seeds is None else part.seeds.tolist()
        for seed in seeds:
            if seed in known:
                raise UserError(
                    f"seed {seed} is in {known[seed]} and in {where}: collect one of them with another --seed"
                )
        known |= dict.fromkeys(seeds, where)


def _all_or_none(sets: Sequence[tuple[str, Demonstrations]], what: str) -> np.ndarray | None:
    """Seeds or returns of all; None where nobody knows them."""
    found = [(where, getattr(part, what)) for where, part in sets]
    without = [where for where, facts in found if facts is None]
    if what == "seeds" and 0 < len(without) < len(found):
        raise UserError(f"{without[0]} does not know its seeds, and another does: give sets that are alike in this")
    return None if without else np.concatenate([facts for _, facts in found])


def _held_out(sets: Sequence[tuple[str, Demonstrations]]) -> Int64[np.ndarray, "rest"] | None:
    without = [where for where, part in sets if part.held_out is None]
    if len(without) == len(sets):
        return None
    if without:
        raise UserError(
            f"{without[0]} holds no episodes out by itself, and another does: give sets that are alike in this"
        )
    offsets = np.cumsum([0, *(len(part) for _, part in sets[:-1])])
    return np.concatenate([part.held_out + offset for (_, part), offset in zip(sets, offsets, strict=True)])
