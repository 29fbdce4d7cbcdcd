"""Our own format: a folder with a file for each episode, and the header `demonstrations.json`.

`episode_SEED.npz` (the seed with eight digits or more) is compressed, is written whole or not at all, and holds

- action, float32 [n, size]: what the expert wants in each frame;
- observation.NAME: images uint8 [n, height, width, channels], vectors float32 [n, size];
- return and seed, scalars; a return of NaN is not known.

The header has `fps` where the frames per second are known.
"""

import dataclasses
import functools
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...system.files import write_json, writing
from .episodes import Demonstrations
from .frames import Block, as_uint8, check_filled, names_left, read_frames, select_names, stack_vectors

HEADER = "demonstrations.json"
FORMAT = 1
PREFIX = "observation."
# Of zipfile, RuntimeError is encryption, and NotImplementedError an unknown compression.
_READ_ERRORS = (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def prepare_folder(folder: Path, environment: str, expert: Mapping[str, Any], fps: float | int | None = None) -> None:
    """Create a folder for demonstrations, or check that it holds some of this environment.

    Args:
        folder: the folder; its content stays as it is.
        environment: name of the environment, or "".
        expert: a description of the expert, JSON values.
        fps: frames per second, where they are known.

    Raises:
        UserError: the folder holds something else.
    """
    if (folder / HEADER).exists():
        held = read_header(folder)["environment"]
        if held != environment:
            raise UserError(f"{folder} holds demonstrations of {held}, not of {environment}: choose another folder")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty and does not hold demonstrations: choose another folder")
    else:
        rate = {} if fps is None else {"fps": float(fps)}
        write_json(folder / HEADER, {"format": FORMAT, "environment": environment, "expert": dict(expert), **rate})


def read_header(folder: Path) -> dict[str, Any]:
    """Return environment, expert and fps of `demonstrations.json`, or raise UserError if it cannot be read."""
    try:
        entry = json.loads((folder / HEADER).read_bytes())
        version = entry["format"]
        rate = entry.get("fps")
        found = {
            "environment": str(entry["environment"]), "expert": dict(entry["expert"]),
            "fps": None if rate is None else float(rate),
        }  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{HEADER} is damaged: write it again, with format, environment and expert") from None
    if version != FORMAT:
        raise UserError(f"{HEADER} has format {version}, and this version reads {FORMAT}: update shortcut-models")
    return found


def write_episode(
    folder: Path, seed: int, observations: Mapping[str, np.ndarray], actions: np.ndarray, score: float
) -> Path:
    """Write one episode, whole or not at all, and return its file.

    Args:
        folder: a folder that `prepare_folder` has created.
        seed: of the episode, at least 0; an episode of the same seed is replaced.
        observations: by name, images uint8 [n, height, width, channels] and vectors [n, size].
        actions: [n, size], of each frame.
        score: the return.

    Raises:
        UserError: lengths do not match, numbers are not finite, or images do not hold whole numbers from 0 to 255.
    """
    check_filled([f"episode {seed}"], [len(actions)])
    arrays = {
        name: as_uint8(f"images of {name}", array) if array.ndim == 4
        else array if array.dtype == np.uint8 else array.astype(np.float32)
        for name, array in observations.items()
    }  # fmt: skip
    made = Demonstrations(arrays, actions.astype(np.float32), np.array([len(actions)]), seeds=np.array([seed]))
    named: dict[str, Any] = {PREFIX + name: array for name, array in made.observations.items()}
    named |= {"action": made.actions, "return": np.float64(score), "seed": np.int64(seed)}
    path = folder / f"episode_{seed:08d}.npz"
    with writing(path) as file:
        np.savez_compressed(file, **named)
    return path


def episode_files(folder: Path) -> list[Path]:
    """Return the files of a folder's episodes, in order of their seeds."""
    return sorted(folder.glob("episode_*.npz"), key=lambda path: (len(path.name), path.name))


def read_scores(folder: Path) -> dict[int, float]:
    """Return {seed: return} of a folder's episodes, or raise UserError if one is damaged."""
    return dict(_seed_and_return(path, _read_arrays(path, ("seed", "return"))) for path in episode_files(folder))


def _seed_and_return(path: Path, episode: Mapping[str, np.ndarray]) -> tuple[int, float]:
    for name, kinds, what in (("return", "biuf", "a number"), ("seed", "iu", "a whole number")):
        value = episode[name]
        if value.size != 1 or value.dtype.kind not in kinds:
            raise UserError(f"{path.name}: {name} must be {what}, not {value.dtype} {value.tolist()}: write it again")
    return int(episode["seed"].item()), float(episode["return"].item())


def _names(path: Path) -> list[str]:
    """Return the names of an episode's arrays."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return list(file.files)
    except (*_READ_ERRORS, AttributeError) as error:  # np.load returns an array, which has no files, for .npy
        raise UserError(f"{path.name} is damaged ({error}): remove it, or record it again") from None


def _read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return these arrays of an episode, or all where `names` is None."""
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names or () if name not in file.files]
            if not missing:
                return {name: file[name] for name in (file.files if names is None else names)}
    except _READ_ERRORS as error:
        if "Object arrays" in str(error):
            raise UserError(f"{path.name} holds Python objects: write numbers of one size, or leave them out") from None
        raise UserError(f"{path.name} is damaged ({error}): remove it, or record it again") from None
    raise UserError(f"{path.name} lacks {missing[0]}: remove it, or record it again")


def read(folder: Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read all episodes of a folder; see `demonstrations.read`."""
    header, files = read_header(folder), episode_files(folder)
    if not files:
        raise UserError("it holds no episodes: collect some with `shortcut collect`")
    # In the order of the first file; names that only others have are last.
    held = dict.fromkeys(name for path in files for name in _names(path) if name.startswith(PREFIX))
    first = {name: array for name, array in _read_arrays(files[0]).items() if name.startswith(PREFIX)}
    scalars = [_read_arrays(path, ("action", "seed", "return")) for path in files]
    lengths = [len(np.atleast_1d(episode["action"])) for episode in scalars]
    check_filled((path.name for path in files), lengths)
    by_file = [Block(f.name, n, s["action"]) for f, n, s in zip(files, lengths, scalars, strict=True)]
    actions = stack_vectors("action", by_file)
    seeds, returns = zip(*map(_seed_and_return, files, scalars), strict=True)
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        named = [path.name for path, seed in zip(files, seeds, strict=True) if seed == twice]
        raise UserError(f"{named[0]} and {named[1]} have the same seed {twice}: remove one, or give it another seed")
    # Without images, so that mistakes in the rest are reported before the images are read.
    plain = Demonstrations(
        {}, actions, np.cumsum(lengths), None if np.isnan(returns).any() else np.array(returns),
        np.array(seeds, np.int64), header["environment"], fps=header["fps"],
    )  # fmt: skip

    def blocks(name: str) -> Iterator[Block]:
        for path, length in zip(files, lengths, strict=True):
            yield Block(path.name, length, _read_arrays(path, [PREFIX + name])[PREFIX + name])

    wanted = select_names(names, [name.removeprefix(PREFIX) for name in first])
    observations = {
        name: read_frames(name, first[PREFIX + name], files, functools.partial(blocks, name)) for name in wanted
    }
    return dataclasses.replace(
        plain, observations=observations, left_out=names_left((name.removeprefix(PREFIX) for name in held), wanted)
    )
