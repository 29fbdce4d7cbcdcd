"""The noise-sample pairs of methods that learn from what a trained model makes."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Bool
from torch import Tensor

from ..base import Batch, Cond, Dataset, Objective, PairBatch, X
from ..errors import Stopped, UserError
from ..models.model import Model
from ..randomness import generator, sample_noise, seed_of
from ..system.distributed import ALONE, Processes
from ..system.files import write_atomically
from ..system.progress import progress
from ..system.signals import StopRequest
from .teacher import describe_teacher, dropout_of

SHARD = 1000  # pairs in a file
AT_ONCE = 250  # pairs made in one batch
HELD_OUT = 16  # one pair in so many is not trained on
PAIRS = 2  # the place of the pairs' noises among all that is random, so that no other samples share them


class PairDataset:
    """Pairs in memory, fetched by rows."""

    def __init__(self, pairs: Batch) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitems__(self, indices: list[int]) -> Batch:
        return self.pairs[torch.as_tensor(indices)]


def make_pairs(
    teacher: Model, objective: Objective, dataset: Dataset, folder: Path | None, seed: int, stop: StopRequest,
    processes: Processes = ALONE, *, quiet: bool,
) -> dict[str, Dataset]:  # fmt: skip
    """Sample the teacher for as many noises as the objective asks for, in shards; existing ones are kept.

    Conditions are those of examples drawn from the data set. The share `label_dropout` of the samples is made without,
    and says so. The processes share the shards out. Without a folder, the pairs stay in memory, and each process makes
    all of them. Returns the pairs as splits "train" and "test".
    """
    count = objective.pairs
    about: dict[str, Any] = {"pairs": count, "steps": objective.pair_steps, "guidance": objective.pair_guidance}
    about |= {"seed": seed, "teacher": describe_teacher(teacher)}
    if share := dropout_of(objective, teacher.task):
        about["label_dropout"] = share
    if folder is not None:
        processes.run_on_main(lambda: _note(folder, about))
    shards = range(0, count, SHARD)
    kept: dict[int, dict[str, Tensor]] | _Files = {} if folder is None else _Files(folder)
    rank, world = (0, 1) if folder is None else (processes.rank, processes.world)
    with progress(count, "pair", quiet=quiet or not processes.main, desc="pairs") as bar:
        for turn in range(0, len(shards), world):
            for begin in shards[turn + rank : turn + rank + 1]:
                if begin not in kept:
                    made = _shard(teacher, objective, dataset, range(begin, min(begin + SHARD, count)), seed, stop)
                    if made is not None:
                        kept[begin] = made
            signal_number = processes.all_reduce_max(stop.signal_number or 0)
            done = min(sum(begin in kept for begin in shards) * SHARD, count)
            bar.update(done - bar.n)
            if signal_number:
                raise Stopped(f"stopped after {done} of {count} pairs", signal_number)
    return _split([kept[begin] for begin in shards])


class _Files:
    """Shards by their first row, a file each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, begin: int) -> Path:
        return self.folder / f"{begin // SHARD:05d}.safetensors"

    def __contains__(self, begin: int) -> bool:
        return self.path(begin).exists()

    def __setitem__(self, begin: int, made: dict[str, Tensor]) -> None:
        write_atomically(self.path(begin), safetensors.torch.save(made))

    def __getitem__(self, begin: int) -> dict[str, Tensor]:
        path = self.path(begin)
        try:
            return safetensors.torch.load_file(path)
        except safetensors.SafetensorError as error:
            raise UserError(f"{path} is damaged ({error}): remove it, then run the same command again") from None


def _note(folder: Path, about: dict[str, Any]) -> None:
    """Record in the folder what its pairs were made with. Raises UserError where it holds others."""
    note = folder / "pairs.json"
    if not note.exists():
        write_atomically(note, json.dumps(about).encode())
        return
    try:
        found = json.loads(note.read_bytes())
    except ValueError:
        found = None
    if isinstance(found, dict) and "source" in found:  # its name in version 0.1
        found["teacher"] = found.pop("source")
    if found != about:
        raise UserError(f"{folder} holds pairs made with other options: remove it, or choose another --run")


def _shard(
    teacher: Model, objective: Objective, dataset: Dataset, rows: range, seed: int, stop: StopRequest
) -> dict[str, Tensor] | None:
    """Make the pairs of some rows; None where a signal came before they were made."""
    parts: list[dict[str, Tensor]] = []
    share = dropout_of(objective, teacher.task)
    for begin in range(rows.start, rows.stop, AT_ONCE):
        if stop.signal_number is not None:
            return None
        some = range(begin, min(begin + AT_ONCE, rows.stop))
        random = generator(seed, PAIRS, begin)
        examples = torch.randint(len(dataset), (len(some),), generator=random)
        drop = torch.rand(len(some), generator=random) < share
        cond = dataset.__getitems__(examples.tolist()).to(teacher.device).cond
        noise = sample_noise(seed_of(seed, PAIRS), some, teacher.task.shape)
        seen, device = teacher.task.preprocess_cond(cond), teacher.device
        data = _samples(teacher, objective, noise.to(device), seen, drop.to(device))
        made = {"noise": noise, "data": data.cpu()} | {f"cond.{name}": value.cpu() for name, value in cond.items()}
        parts.append(made | ({"drop": drop} if share else {}))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _samples(teacher: Model, objective: Objective, noise: X, cond: Cond, drop: Bool[Tensor, "b"]) -> X:
    """Make the teacher's samples of these noises, guided; those of the rows `drop` without their condition."""
    network, samples = teacher.network.eval(), torch.empty_like(noise)
    for rows, guidance in ((~drop, objective.pair_guidance), (drop, 0.0)):
        if rows.any():
            some = {name: value[rows] for name, value in cond.items()}
            steps = objective.pair_steps
            samples[rows] = teacher.objective.sample(network, noise[rows], some, steps, guidance=guidance)
    return samples


def _split(parts: list[dict[str, Tensor]]) -> dict[str, Dataset]:
    """Return pairs as those to train on and those held out."""
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    data, noise = found.pop("data"), found.pop("noise")
    drop = found.pop("drop", torch.zeros(len(data), dtype=torch.bool))  # only there where any may be made without
    cond = {name.removeprefix("cond."): value for name, value in found.items()}
    pairs, held_out = PairBatch(data=data, cond=cond, noise=noise, drop=drop), max(len(data) // HELD_OUT, 1)
    train = pairs[:-held_out] if len(pairs) > 1 else pairs
    return {"train": PairDataset(train), "test": PairDataset(pairs[-held_out:])}
