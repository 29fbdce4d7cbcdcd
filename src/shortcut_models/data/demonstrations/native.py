"""Our own format: a folder with a file for each episode, and `demonstrations.json`, which says what they are of.

`episode_SEED.npz` (the seed with eight digits or more) is compressed, appears whole or not at all, and holds

- action, float32 [n, size]: what the expert wants on seeing each frame;
- observation.NAME: images uint8 [n, height, width, channels], vectors float32 [n, size];
- return and seed, scalars.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...system.files import write_atomically, write_json
from .episodes import Demonstrations, is_image
from .frames import Part, cache_key, chosen, images, vectors

HEADER = "demonstrations.json"
FORMAT = 1
PREFIX = "observation."
_DAMAGE = (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def begin(folder: Path, environment: str, expert: Mapping[str, Any]) -> None:
    """Make a folder for demonstrations, or check that it holds some of this environment.

    expert: what there is to say about whoever demonstrates, as JSON values. What is there already stays.

    Raises UserError where the folder holds something else.
    """
    if (folder / HEADER).exists():
        held = read_header(folder)["environment"]
        if held != environment:
            raise UserError(f"{folder} holds demonstrations of {held}, not of {environment}: give another folder")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty and holds no demonstrations: give another folder")
    else:
        entry = {"format": FORMAT, "environment": environment, "expert": dict(expert)}
        write_json(folder / HEADER, entry)


def read_header(folder: Path) -> dict[str, Any]:
    """What `demonstrations.json` holds. Raises UserError where it is damaged, or of a later version."""
    try:
        entry = json.loads((folder / HEADER).read_bytes())
        version = entry["format"]
        found = {"environment": str(entry["environment"]), "expert": dict(entry["expert"])}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{HEADER} is damaged: write it again, with format, environment and expert") from None
    if version != FORMAT:
        raise UserError(f"{HEADER} is of format {version}, and {FORMAT} is read: update shortcut-models")
    return found


def write_episode(
    folder: Path, seed: int, observations: Mapping[str, np.ndarray], actions: np.ndarray, score: float
) -> Path:
    """Write one episode, whole or not at all -> its file.

    Args:
        folder: one that `begin` has made.
        seed: of the episode's world, at least 0; an episode of the same seed is replaced.
        observations: by name, images uint8 [n, height, width, channels] and vectors [n, size].
        actions: [n, size], of each frame.
        score: the return.

    Raises:
        UserError: lengths that do not match, numbers that are not finite.
    """
    arrays = {name: a if a.dtype == np.uint8 else a.astype(np.float32) for name, a in observations.items()}
    made = Demonstrations(arrays, actions.astype(np.float32), np.array([len(actions)]), seeds=np.array([seed]))
    named: dict[str, Any] = {PREFIX + name: array for name, array in made.observations.items()}
    named |= {"action": made.actions, "return": np.float64(score), "seed": np.int64(seed)}
    content = io.BytesIO()
    np.savez_compressed(content, **named)
    path = folder / f"episode_{seed:08d}.npz"
    write_atomically(path, content.getvalue())
    return path


def episode_files(folder: Path) -> list[Path]:
    """The episodes of a folder, in order of their seeds."""
    return sorted(folder.glob("episode_*.npz"), key=lambda path: (len(path.name), path.name))


def read_scores(folder: Path) -> dict[int, float]:
    """{seed: return} of the episodes that are there. Raises UserError where one is damaged."""
    found = [(path, _arrays(path, ("seed", "return"))) for path in episode_files(folder)]
    return {_seed(path, episode): _return(path, episode) for path, episode in found}


def _seed(path: Path, episode: Mapping[str, np.ndarray]) -> int:
    seed = episode["seed"]
    if seed.size != 1 or seed.dtype.kind not in "iu":
        raise UserError(f"{path.name}: seed must be a whole number, not {seed.dtype} {seed.tolist()}: write it again")
    return int(seed.item())


def _return(path: Path, episode: Mapping[str, np.ndarray]) -> float:
    score = episode["return"]
    if score.size != 1 or score.dtype.kind not in "biuf":
        raise UserError(f"{path.name}: return must be a number, not {score.dtype} {score.tolist()}: write it again")
    return float(score.item())


def _arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if not missing:
                return {name: file[name] for name in names}
    except _DAMAGE as error:
        raise UserError(f"{path.name} is damaged ({error}): remove it, or record it again") from None
    raise UserError(f"{path.name} lacks {missing[0]}: remove it, or record it again")


def _available(path: Path) -> dict[str, np.ndarray]:
    """The observations of an episode, by name."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name.removeprefix(PREFIX): file[name] for name in file.files if name.startswith(PREFIX)}
    except _DAMAGE as error:
        raise UserError(f"{path.name} is damaged ({error}): remove it, or record it again") from None


def read(folder: Path, names: Sequence[str] = ()) -> Demonstrations:
    """All episodes of a folder; see `demonstrations.read`."""
    header, files = read_header(folder), episode_files(folder)
    if not files:
        raise UserError("it holds no episodes: collect some with `shortcut collect`")
    first = _available(files[0])
    scalars = [_arrays(path, ("action", "seed", "return")) for path in files]
    lengths = [len(np.atleast_1d(episode["action"])) for episode in scalars]
    actions = vectors("action", [Part(f.name, n, s["action"]) for f, n, s in zip(files, lengths, scalars, strict=True)])
    returns = np.array([_return(path, episode) for path, episode in zip(files, scalars, strict=True)])
    seeds = np.array([_seed(path, episode) for path, episode in zip(files, scalars, strict=True)], np.int64)
    # What is wrong with these is said before images are read.
    plain = Demonstrations({}, actions, np.cumsum(lengths), returns, seeds, header["environment"])

    def parts(name: str) -> Iterator[Part]:
        for path, length in zip(files, lengths, strict=True):
            yield Part(path.name, length, _arrays(path, [PREFIX + name])[PREFIX + name])

    observations = {
        name: images(name, cache_key(files, name), functools.partial(parts, name))
        if is_image(first[name])
        else vectors(name, parts(name))
        for name in chosen(names, list(first))
    }
    return dataclasses.replace(plain, observations=observations)
