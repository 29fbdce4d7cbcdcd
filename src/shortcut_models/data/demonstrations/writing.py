"""Writing demonstrations that are in memory, in our own format."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...config import choose
from ...errors import UserError
from ...system.files import absolute_path, writing_folder
from .native import prepare_folder, write_episode

_KEYS = ("observations", "actions", "score", "seed")


@dataclass(frozen=True)
class Episode:
    """One episode of T frames in memory; arrays, or what `numpy.asarray` turns into one."""

    observations: Mapping[str, Any]
    """by name: images uint8 [T, height, width, channels], or vectors [T, size]"""
    actions: Any
    """[T, size], of each frame: what was done, or should have been"""
    score: float | int | None = None
    """the return, or success as 0 or 1; None where it is not known"""
    seed: int | None = None
    """of the environment; None for the number of the episode. `shortcut rollout` skips the seeds of demonstrations"""


class _Form(NamedTuple):
    """What all episodes share: the shape of a frame of each array, and the number of the episode it was found in."""

    number: int
    shapes: dict[str, tuple[int, ...]]


def write(
    path: str | Path, episodes: Iterable[Episode | Mapping[str, Any]], *, fps: float | int | None = None,
    environment: str = "",
) -> Path:  # fmt: skip
    """Write episodes as demonstrations in our own format, all of them or, after an error, none.

    Args:
        path: a folder that does not exist yet, or is empty; `Imitation`, `--data` and `read` take it.
        episodes: at least one, each an `Episode`, or a mapping with its fields: `observations` and `actions`, and
            optionally `score` and `seed`. A generator is written as it goes, an episode in memory at a time.
        fps: frames per second, where they are known.
        environment: the environment they are of, in which `shortcut rollout` judges a policy: one of ours, the id of a
            Gymnasium environment, or "module:factory".

    Returns:
        The folder.

    Raises:
        UserError: the folder is not empty, or an episode is not as above; the message has its number, from 0.
    """
    folder = Path(absolute_path(path))
    if fps is not None and not (np.isfinite(fps) and fps > 0):
        raise UserError(f"fps must be None or a number above 0, not {fps}")
    if isinstance(episodes, (str, Mapping, Episode)) or not isinstance(episodes, Iterable):
        raise UserError(f"episodes must be a list of episodes, not {type(episodes).__name__}: put it into a list")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{path} exists and is not an empty folder: choose another one, or remove it first")
    try:
        with writing_folder(folder) as inside:
            prepare_folder(inside, environment, {}, fps)
            _write_all(inside, episodes)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}: choose another folder") from None
    return folder


def _write_all(folder: Path, episodes: Iterable[Episode | Mapping[str, Any]]) -> None:
    form: _Form | None = None
    by_seed: dict[int, int] = {}
    for number, given in enumerate(episodes):
        try:
            episode = _as_episode(given)
            arrays = _checked(episode)
            form = form or _Form(number, {name: array.shape[1:] for name, array in arrays.items()})
            _check_form(arrays, form)
            seed = number if episode.seed is None else _whole(episode.seed)
            if seed in by_seed:
                raise UserError(f"its seed is {seed}, as that of episode {by_seed[seed]}: give each one of its own")
            by_seed[seed] = number
            actions = arrays.pop("action")
            write_episode(folder, seed, arrays, actions, np.nan if episode.score is None else _number(episode.score))
        except UserError as error:
            raise UserError(f"episode {number}: {error}") from None
    if form is None:
        raise UserError("there are no episodes: pass at least one, and two to train on them")


def _as_episode(given: Any) -> Episode:
    if isinstance(given, Episode):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"it is a {type(given).__name__}: pass a dict with observations and actions, or an Episode")
    for key in given:
        choose("part of an episode", str(key), dict.fromkeys(_KEYS))
    missing = [key for key in _KEYS[:2] if key not in given]
    if missing:
        raise UserError(f"{missing[0]} is missing: pass observations and actions")
    return Episode(**given)


def _checked(episode: Episode) -> dict[str, np.ndarray]:
    """Return the arrays of an episode by name, the actions as `action`, after checks of each alone."""
    if not isinstance(episode.observations, Mapping) or not episode.observations:
        raise UserError("observations must be a dict with at least one array, such as {'state': array}")
    if "action" in episode.observations:
        raise UserError("an observation is called 'action': rename it")
    given = {**episode.observations, "action": episode.actions}
    arrays = {str(name): _array(str(name), value) for name, value in given.items()}
    frames = len(arrays["action"])
    if not frames:
        raise UserError("it has no frames: leave it out")
    for name, array in arrays.items():
        if len(array) != frames:
            raise UserError(f"there are {frames} actions and {len(array)} frames of {name}: pass one of each per frame")
        bad = ~np.isfinite(array).reshape(frames, -1).all(1)
        if bad.any():
            raise UserError(f"{name} is NaN or infinite at frame {int(bad.argmax())}: correct it, or leave it out")
        if array.dtype.kind == "f" and array.size and np.abs(array).max() > np.finfo(np.float32).max:
            raise UserError(f"{name} holds numbers beyond those of float32: rescale it")
    return arrays


def _array(name: str, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # of other lengths within, or a tensor on a GPU
        raise UserError(f"{name} is not an array ({error}): pass one of one size for all frames") from None
    if array.dtype.kind not in "biuf":
        raise UserError(f"{name} holds {array.dtype}, not numbers: convert or leave it out")
    # Points [frames, count, 2] are flattened where they are read, and grey images without channels would be, too.
    if name == "action":
        fits, images = array.ndim == 2, ""
    else:
        fits = array.ndim in (2, 4) or (array.ndim == 3 and array.dtype != np.uint8)
        images = ", or of images uint8 [frames, height, width, channels]"
    if not fits:
        raise UserError(f"{name} must be [frames, size]{images}, not {array.dtype} {list(array.shape)}: reshape it")
    return array


def _check_form(arrays: Mapping[str, np.ndarray], form: _Form) -> None:
    """Raise UserError where an episode does not have the arrays of the first one."""
    if arrays.keys() != form.shapes.keys():
        theirs = [", ".join(name for name in each if name != "action") for each in (arrays, form.shapes)]
        raise UserError(f"it has {theirs[0]}, and episode {form.number} {theirs[1]}: use the same observations in all")
    for name, array in arrays.items():
        if array.shape[1:] != form.shapes[name]:
            sizes = [list(shape) for shape in (array.shape[1:], form.shapes[name])]
            raise UserError(f"a frame of {name} is {sizes[0]}, and of episode {form.number} {sizes[1]}: use one size")


def _whole(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UserError(f"seed must be None or a whole number of at least 0, not {seed!r}")
    return int(seed)


def _number(score: Any) -> float:
    if not isinstance(score, (bool, int, float, np.number, np.bool_)) or not np.isfinite(score):
        raise UserError(f"score must be None or a finite number, not {score!r}")
    return float(score)
