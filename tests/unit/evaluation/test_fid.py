"""FID of a model's samples: exactly as many as asked for, made once, the same however the work is cut and shared."""

from __future__ import annotations

import functools
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.fid_files import FEATURES, tiny_inception
from helpers.image_files import make_npz, pictures, some_labels
from helpers.runs import DIGITS, die_at, fork, shortcut, train
from shortcut_models import load
from shortcut_models.evaluation.fid import evaluate_fid, report
from shortcut_models.evaluation.fid_reference import Reference, read_reference
from shortcut_models.evaluation.fid_samples import FidSampler
from shortcut_models.evaluation.inception import Inception
from shortcut_models.evaluation.results import merge_fid_results
from shortcut_models.metrics import frechet_distance, gaussian_fit, kernel_distance, manifold_measures
from shortcut_models.models.model import Model
from shortcut_models.system.distributed import Processes

NUM = 23


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, images, statistics of them, and a run."""
    place = tmp_path_factory.mktemp("place")
    tiny_inception(place / "tiny.pt")
    data = make_npz(place, pictures(60, colour=True), some_labels(60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        train(place / "run", options=("train", "images", *DIGITS[2:], "--data", data))
        words = ("--data", data, "--inception", place / "tiny.pt", "--trust-file", "--out", place / "stats.npz")
        done = shortcut("fid-stats", *words)
        assert done == (0, f"{place / 'stats.npz'}: all 60 images, {FEATURES} features\n", done.err)
    return place


def sampler_of(place: Path, folder: Path, seed: int = 0, guidance: float = 1.0) -> FidSampler:
    return FidSampler(load(place / "run"), Inception(place / "tiny.pt", trust=True), seed, guidance, folder)


def evaluate(
    sampler: FidSampler, place: Path, step_counts: Sequence[int] = (4, 1), num: int = NUM, **more: Any
) -> dict[str, Any]:
    found = evaluate_fid(sampler, read_reference(place / "stats.npz"), step_counts, num, quiet=True, **more)
    assert found is not None
    return found


def numbers(result: dict[str, Any]) -> list[dict[str, float]]:
    """The measures of each budget, but the time."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in result["steps"].values()]


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(x == pytest.approx(y, rel=1e-4, abs=1e-6) for x, y in zip(numbers(a), numbers(b), strict=True))


def spy_on(model: Model) -> list[int]:
    """The rows of every pass through a model's network, from now on."""
    seen: list[int] = []
    model.network.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    return seen


def test_the_measures_are_those_of_exactly_these_samples(place: Path, tmp_path: Path) -> None:
    sampler, reference = sampler_of(place, tmp_path), read_reference(place / "stats.npz")
    passes = spy_on(sampler.model)
    result = evaluate(sampler, place, batch_size=10)
    assert sum(passes) == NUM * (4 + 1)
    assert list(result["steps"]) == ["4", "1"]
    assert reference.features is not None
    for steps in (4, 1):
        features = sampler.network(load(place / "run").sample(NUM, steps=steps))
        expected = {
            "fid": frechet_distance(*gaussian_fit(features), reference.mu, reference.sigma),
            "kid": kernel_distance(reference.features, features),
            **manifold_measures(reference.features, features),
        }
        found = result["steps"][str(steps)]
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert set(found) == {*expected, "seconds", "guidance"}
        assert found["guidance"] == 1
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["num"] == NUM
    assert result["parameters"] == sum(parameter.numel() for parameter in sampler.model.network.parameters())


def test_samples_do_not_depend_on_how_the_work_is_cut(place: Path, tmp_path: Path) -> None:
    results = [evaluate(sampler_of(place, tmp_path / str(size)), place, batch_size=size) for size in (250, 7, 1)]
    assert all(same(result, results[0]) for result in results)


def test_what_is_there_is_not_made_again(place: Path, tmp_path: Path) -> None:
    sampler = sampler_of(place, tmp_path)
    passes = spy_on(sampler.model)
    first = evaluate(sampler, place, [1], 11, batch_size=4)
    assert sum(passes) == 11
    assert evaluate(sampler, place, [1], 11, batch_size=3) == first
    more = evaluate(sampler, place, [1], NUM)
    assert sum(passes) == NUM
    assert same(more, evaluate(sampler_of(place, tmp_path / "fresh"), place, [1], NUM))
    assert same(evaluate(sampler, place, [1], 11), first)
    assert sum(passes) == NUM


@pytest.mark.parametrize("change", ["seed", "guidance", "precision", "weights", "network", "steps"])
def test_samples_of_anything_else_are_made_anew(place: Path, tmp_path: Path, change: str) -> None:
    evaluate(sampler_of(place, tmp_path), place, [1], 5)
    sampler = sampler_of(place, tmp_path, int(change == "seed"), 2.0 if change == "guidance" else 1.0)
    if change == "weights":
        with torch.no_grad():
            next(sampler.model.network.parameters()).add_(0.1)
    elif change == "network":
        sampler.network.fingerprint = "another"
    elif change == "precision":
        sampler.model.precision = "bf16"
    passes = spy_on(sampler.model)
    reference = Reference(np.zeros(FEATURES), np.eye(FEATURES))
    evaluate_fid(sampler, reference, [2 if change == "steps" else 1], 5, quiet=True)
    assert sum(passes) == {"guidance": 10, "steps": 10}.get(change, 5)


def test_an_interrupted_evaluation_goes_on(place: Path, tmp_path: Path) -> None:
    sampler = sampler_of(place, tmp_path)

    def stop(module: Any, inputs: Any) -> None:
        if len(passes) == 3:
            raise KeyboardInterrupt

    passes = spy_on(sampler.model)
    hook = sampler.model.network.register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(sampler, place, [1], NUM, batch_size=5)
    hook.remove()
    result = evaluate(sampler, place, [1], NUM, batch_size=5)
    assert sum(passes) == NUM
    assert same(result, evaluate(sampler_of(place, tmp_path / "whole"), place, [1], NUM, batch_size=5))


def test_damaged_samples_are_made_again(place: Path, tmp_path: Path) -> None:
    sampler = sampler_of(place, tmp_path)
    first = evaluate(sampler, place, [1], NUM, batch_size=5)
    torn = sorted(tmp_path.rglob("*.npz"))[2]
    torn.write_bytes(torn.read_bytes()[:-99])
    passes = spy_on(sampler.model)
    with pytest.warns(UserWarning, match="is damaged: its samples are made again"):
        assert same(evaluate(sampler, place, [1], NUM, batch_size=5), first)
    assert sum(passes) == 5


def test_ranks_share_the_batches() -> None:
    shares = [list(Processes(rank, 3).share(range(10))) for rank in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


# The command


def words_of(place: Path, run: Path, *more: object) -> tuple[object, ...]:
    own = (
        "--fid-stats",
        place / "stats.npz",
        "--inception",
        place / "tiny.pt",
        "--trust-file",
        "--steps",
        4,
        1,
        "--num",
        NUM,
    )
    return ("evaluate", run, *own, "--batch-size", 5, "--device", "cpu", *more)


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    """A run of the test's own: its checkpoint is that of all."""
    os.makedirs(tmp_path / "run" / "checkpoints")
    for name in ("config.json", "checkpoints/00000012"):
        os.symlink(place / "run" / name, tmp_path / "run" / name)
    return tmp_path / "run"


def test_the_command_prints_the_table_and_the_checks(place: Path, run: Path, tmp_path: Path) -> None:
    done = shortcut(*words_of(place, run, "--json", tmp_path / "f.json", "--guidance", 1.5, "--seed", 3))
    assert done.code == 0, done.err
    result = json.loads((run / "fid.json").read_text())
    assert result == json.loads((tmp_path / "f.json").read_text())
    assert not (run / "evaluation.json").exists()
    assert (result["guidance"], result["seed"], result["num"], result["step"]) == (1.5, 3, NUM, 12)
    assert done.out == report(result) + "\n"
    lines = done.out.splitlines()
    assert lines[1].split()[:3] == ["steps", f"FID-{NUM}", "kid"]
    assert [line.split()[0] for line in lines[2:4]] == ["4", "1"]
    assert [check["what"] for check in result["checks"]] == [
        "samples", "distinct", "pixels", "size", "enough", "real-vs-real", "weights",
    ]  # fmt: skip


def test_what_was_found_before_stays_unless_it_is_found_again(place: Path, run: Path, tmp_path: Path) -> None:
    """The paper's row: 128 steps guided, fewer without. And a quick look does not cost the figures of many samples."""

    def known(*words: object) -> dict[str, tuple[int, float]]:
        done = shortcut(*words_of(place, run, *words))
        assert done.code == 0, done.err
        result = json.loads((run / "fid.json").read_text())
        said.append(done.out)
        return {steps: (result["num"], row["guidance"]) for steps, row in result["steps"].items()}

    said: list[str] = []
    assert known("--steps", 4, "--guidance", 1.5) == {"4": (NUM, 1.5)}
    first = json.loads((run / "fid.json").read_text())
    assert known("--steps", 2, 1) == {"4": (NUM, 1.5), "2": (NUM, 1), "1": (NUM, 1)}
    both = json.loads((run / "fid.json").read_text())
    assert both["steps"]["4"] == first["steps"]["4"]
    assert both["guidance"] is None
    assert [check["steps"] for check in both["checks"] if check["what"] == "distinct"] == [[4], [2, 1]]
    assert "stays" not in "".join(said)
    quick = ("--num", 15, "--steps", 1, "--json", tmp_path / "quick.json")
    assert known(*quick) == {"4": (NUM, 1.5), "2": (NUM, 1), "1": (NUM, 1)}
    assert f"fid.json stays, as it is of {NUM} samples at 3 numbers of steps: pass --json FILE" in said[-1]
    assert json.loads((tmp_path / "quick.json").read_text())["num"] == 15
    assert known("--steps", 4, 2, 1) == {"4": (NUM, 1), "2": (NUM, 1), "1": (NUM, 1)}
    assert json.loads((run / "fid.json").read_text())["guidance"] == 1
    assert known("--num", NUM + 1, "--steps", 1) == {"1": (NUM + 1, 1)}


@pytest.mark.parametrize("fact", ["step", "weights", "autoencoder", "num", "seed", "reference"])
def test_rows_of_anything_else_are_not_put_together(tmp_path: Path, fact: str) -> None:
    row = {"fid": 1.0, "seconds": 1.0, "guidance": 1.0}
    before = {"num": 5, "seed": 0, "step": 12, "weights": "a", "autoencoder": None, "reference": {"sha256": "r"}}
    before |= {"guidance": 1.0, "steps": {"4": row}, "checks": []}
    (tmp_path / "fid.json").write_text(json.dumps(before))
    after = before | {"steps": {"1": row}}
    assert list(merge_fid_results(tmp_path / "fid.json", after)["steps"]) == ["4", "1"]
    assert list(merge_fid_results(tmp_path / "fid.json", after | {fact: 7})["steps"]) == ["1"]


def finish(process: Any) -> int | None:
    process.join(250)
    return process.exitcode


@pytest.mark.multiprocess
@pytest.mark.parametrize("event", [6, *(pytest.param(event, marks=pytest.mark.long) for event in (1, 17))])
def test_a_killed_evaluation_goes_on(place: Path, run: Path, event: int) -> None:
    words = words_of(place, run)
    assert finish(fork(words, functools.partial(die_at, event, str(run / "fid")))) == -9
    assert not (run / "fid.json").exists()
    assert shortcut(*words).code == 0
    result = json.loads((run / "fid.json").read_text())
    assert same(result, evaluate(sampler_of(place, run / "again"), place, batch_size=5))


def be_rank(rank: int, port: int) -> None:
    """Set what torchrun would set for one of two processes."""
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


@pytest.mark.multiprocess
def test_two_processes_find_what_one_does(place: Path, run: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        fork(words_of(place, run), functools.partial(be_rank, rank, port), run / f"said{rank}") for rank in range(2)
    ]
    assert [finish(process) for process in processes] == [0, 0], (run / "said0").read_text()
    result = json.loads((run / "fid.json").read_text())
    assert same(result, evaluate(sampler_of(place, run / "alone"), place, batch_size=5))
    assert report(result) in (run / "said0").read_text()
    assert (run / "said1").read_text() == ""
