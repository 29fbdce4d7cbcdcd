"""robomimic's HDF5 files: `data/demo_3/actions`, `data/demo_3/obs/NAME`, and the held-out episodes in `mask/valid`."""

import contextlib
import functools
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from .episodes import Demonstrations
from .frames import Block, check_filled, import_extra, names_left, read_frames, select_names, stack_vectors

_ENVIRONMENTS = {"Lift": "robomimic-lift", "TwoArmTransport": "robomimic-transport"}  # our names for theirs


def read(path: Path, names: Sequence[str] = ()) -> Demonstrations:
    """Read all episodes of a file; see `demonstrations.read`. With both masks, episodes in neither are left out."""
    h5py = import_extra("h5py", "files of robomimic")
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # registers filters that h5py does not have
    try:
        with h5py.File(path, "r") as file:
            return _read(path, file, names)
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # KeyError of a link that leads nowhere
        if isinstance(error, UserError):
            raise
        if "filter" in str(error):
            raise UserError(
                f"it is compressed with a filter that is not installed ({error}): pip install hdf5plugin"
            ) from None
        raise UserError(f"the file is damaged ({error}): copy it again") from None


def _read(path: Path, file: Any, names: Sequence[str]) -> Demonstrations:
    demos, held_out, left_out = _episodes(file)
    lengths = [_frames(demo) for demo in demos]
    shown = [demo.name.rpartition("/")[2] for demo in demos]
    check_filled(shown, lengths)

    def blocks(inner: str) -> Iterator[Block]:
        for where, length, demo in zip(shown, lengths, demos, strict=True):
            yield Block(where, length, np.asarray(_array(demo, inner)[()]))

    actions = stack_vectors("action", blocks("actions"))
    Demonstrations({}, actions, np.cumsum(lengths))  # reports mistakes before the images are read
    held = dict.fromkeys(name for demo in demos for name in _array(demo, "obs", is_group=True))
    wanted, observations = select_names(names, list(_array(demos[0], "obs", is_group=True))), {}
    for name in wanted:
        arrays = [_array(demo, f"obs/{name}") for demo in demos]
        files = sorted({path, *(file for array in arrays for file in _files(path, array))})
        observations[name] = read_frames(name, arrays[0], files, functools.partial(blocks, f"obs/{name}"))
    have_rewards = all("rewards" in demo for demo in demos)
    rewards = stack_vectors("reward", blocks("rewards")).sum(1, dtype=np.float64) if have_rewards else None
    return Demonstrations(
        observations, actions, np.cumsum(lengths),
        returns=None if rewards is None else np.add.reduceat(rewards, np.cumsum([0, *lengths[:-1]])),
        environment=_environment(file), held_out=held_out, fps=_rate(file),
        left_out=(*left_out, *names_left(held, wanted)),
    )  # fmt: skip


def _files(path: Path, array: Any) -> list[Path]:
    """Return the files that hold an array: it may be a link into another file, or be put together from several."""
    own = Path(array.file.filename)
    parts = array.virtual_sources() if array.is_virtual else []
    named = [own, *(own.parent / part.file_name for part in parts if part.file_name != ".")]
    return [file for file in named if file.exists()] or [path]


def _episodes(file: Any) -> tuple[list[Any], np.ndarray | None, tuple[str, ...]]:
    """Return the episodes in order of their numbers, the held-out ones of the file's mask, and what is left out."""
    data = _array(file, "data", is_group=True)
    demos = sorted((name for name in data if hasattr(data[name], "keys")), key=lambda name: (len(name), name))
    members = {name: _members(file, name) for name in ("train", "valid") if f"mask/{name}" in file}
    left_out: tuple[str, ...] = ()
    if members.keys() == {"train", "valid"}:
        kept = [name for name in demos if name in members["train"] | members["valid"]]
        if few := len(demos) - len(kept):
            left_out = (f"{few} episode{'s' * (few > 1)} in neither mask/train nor mask/valid",)
        demos = kept
    if not demos:
        raise UserError("it holds no episodes: use a file with data/demo_0, data/demo_1, ...")
    gone = sorted(set().union(*members.values()) - set(data))
    if gone:
        left_out = (*left_out, f"episodes {', '.join(gone)} of a mask, which are not in data")
    if members.keys() == {"train"}:  # nothing else is trained on
        members["valid"] = set(demos) - members["train"]
    held_out = [i for i, name in enumerate(demos) if name in members["valid"]] if "valid" in members else []
    return [data[name] for name in demos], np.array(held_out, np.int64) if held_out else None, left_out


def _members(file: Any, name: str) -> set[str]:
    names = np.atleast_1d(_array(file, f"mask/{name}")[()]).tolist()
    if not all(isinstance(text, bytes) for text in names):
        raise UserError(f"mask/{name} must hold the names of episodes, such as demo_0: write it again, or remove it")
    return {text.decode() for text in names}


def _frames(demo: Any) -> int:
    actions = _array(demo, "actions")
    if actions.ndim == 0:
        raise UserError(f"{actions.name.lstrip('/')} is a single number: write one action for each frame")
    return len(actions)


def _array(group: Any, name: str, *, is_group: bool = False) -> Any:
    """Return an array of a group, or a group in it."""
    place = f"{group.name}/{name}".lstrip("/")
    if name not in group:
        raise UserError(f"it lacks {place}: use a file of robomimic with data/demo_0/actions, data/demo_0/obs, ...")
    if is_group and not hasattr(group[name], "keys"):
        raise UserError(f"{place} is an array, not a group of them: use a file of robomimic")
    if not is_group and hasattr(group[name], "keys"):
        raise UserError(f"{place} is a group, not an array: leave it out of the observations")
    return group[name]


def _environment(file: Any) -> str:
    try:
        return _ENVIRONMENTS.get(json.loads(file["data"].attrs["env_args"])["env_name"], "")
    except (KeyError, TypeError, ValueError):
        return ""


def _rate(file: Any) -> float | None:
    try:
        return float(json.loads(file["data"].attrs["env_args"])["env_kwargs"]["control_freq"])
    except (KeyError, TypeError, ValueError):
        return None
