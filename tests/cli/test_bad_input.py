"""Whatever a user may get wrong: one line that says what and what to do, exit code 2, and nothing written."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.corrupt import data, models
from helpers.runs import DIGITS, POINTS, shell, shortcut
from shortcut_models.models.checkpoint import STATE

TINY = " ".join(map(str, DIGITS))
SHAPES = " ".join(map(str, DIGITS[2:]))
TOY = " ".join(map(str, POINTS))
OWN = f"train images {SHAPES} --run new"

TABLE: dict[str, tuple[str, str]] = {
    # what comes first
    "no command": ("", "the following arguments are required: COMMAND"),
    "unknown command": ("trian digits", "invalid choice: 'trian'"),
    "unknown option before": ("--verbose recipes", "unrecognized arguments: --verbose"),
    "unknown option of recipes": ("recipes --all", "unrecognized arguments: --all"),
    "train what": ("train", "the following arguments are required: RECIPE"),
    "unknown recipe": ("train digit", "there is no recipe 'digit': did you mean digits? choose one of digits, "),
    "very unknown recipe": ("train 42", "there is no recipe '42': choose one of digits, "),
    "recipe last": ("train --train-steps 3 digits", "the recipe comes first, not '--train-steps'"),
    "two recipes": ("train digits moons", "unrecognized arguments: moons"),
    # numbers
    "unknown option": (f"{TINY} --run new --stepps 3", "unrecognized arguments: --stepps 3"),
    "abbreviation": (f"{TINY} --run new --step 4", "unrecognized arguments: --step 4"),
    "abbreviation of a command": ("sample digits --ou s.npz", "the following arguments are required: --out"),
    "steps 0": (f"{TINY} --run new --steps 0", "--steps must be >= 1, not 0"),
    "steps in words": (f"{TINY} --run new --steps four", "--steps: must be a whole number, not 'four'"),
    "steps 1.5": (f"{TINY} --run new --steps 1.5", "--steps: must be a whole number, not '1.5'"),
    "steps without": (f"{TINY} --run new --steps", "--steps: expected one argument"),
    "batch 0": (f"{TINY} --run new --batch-size 0", "--batch-size must be >= 1, not 0"),
    "batch of a billion": (f"{TINY} --run new --batch-size 1000000000", "--batch-size must be <= 1048576"),
    "seed -1": (f"{TINY} --run new --seed -1", "--seed must be >= 0, not -1"),
    "rate 0": (f"{TINY} --run new --learning-rate 0", "--learning-rate must be > 0, not 0.0"),
    "rate nan": (f"{TINY} --run new --learning-rate nan", "--learning-rate must be a number, not nan"),
    "rate inf": (f"{TINY} --run new --learning-rate inf", "--learning-rate must be a number, not inf"),
    "rate in words": (f"{TINY} --run new --learning-rate fast", "--learning-rate: must be a number, not 'fast'"),
    "rate with a comma": (f"{TINY} --run new --learning-rate 0,1", "--learning-rate: must be a number, not '0,1'"),
    "decay 1": (f"{TINY} --run new --ema 1", "--ema must be < 1, not 1.0"),
    "negative weight decay": (f"{TINY} --run new --weight-decay -1", "--weight-decay must be >= 0"),
    "clip 0": (f"{TINY} --run new --clip 0", "--clip must be > 0"),
    "accumulate": (f"{TINY} --run new --accumulate 5", "--accumulate 5 does not divide batch-size 32"),
    "keep none": (f"{TINY} --run new --keep 0", "--keep must be >= 1"),
    "checkpoint never": (f"{TINY} --run new --checkpoint-every 0", "--checkpoint-every must be >= 1"),
    "workers": (f"{TINY} --run new --workers 100000", "--workers must be <= 256"),
    "precision": (f"{TINY} --run new --precision fp16", "--precision: must be one of auto, bf16, fp32, not 'fp16'"),
    "schedule": (f"{TINY} --run new --schedule linear", "--schedule: must be one of cosine, constant"),
    "compile": (f"{TINY} --run new --compile yes", "--compile: must be one of auto, on, off, not 'yes'"),
    "device": (f"{TINY} --run new --device gpu", "device 'gpu' is not available here: use cpu"),
    "meta device": (f"{TINY} --run new --device meta", "device 'meta' is not available here"),
    # networks, objectives, tasks
    "unknown network": (
        "train digits --run new --network unet",
        "no network 'unet': did you mean unet1d? choose one of ",
    ),
    "unknown objective": ("train digits --run new --objective shortcuts", "did you mean shortcut?"),
    "width 0": (f"{TINY} --run new --network.width 0", "--network.width must be >= 1, not 0"),
    "network far too large": (f"{TINY} --run new --network.width 2000000000", "out of memory: lower --batch-size"),
    "option of another network": (f"{TINY} --run new --network.heads 2", "unrecognized arguments: --network.heads 2"),
    "heads": ("train digits --run new --network dit --network.heads 5", "heads 5 does not divide width 384"),
    "patch": ("train digits --run new --network dit --network.patch-size 3", "3 does not divide 8 x 8 pixels"),
    "dit for points": ("train moons --run new --network dit", "a DiT takes images"),
    "max steps 2^70": (
        f"{TINY} --run new --objective.max-steps {2**70}",
        "--objective.max-steps must be <= 32768, not",
    ),
    "max steps 100": (f"{TINY} --run new --objective.max-steps 100", "--objective.max-steps must be a power of two"),
    "share": (f"{TINY} --run new --objective.bootstrap-fraction 1.5", "--objective.bootstrap-fraction must be <= 1"),
    "guidance": (f"{TINY} --run new --objective.guidance -1", "--objective.guidance must be >= 0"),
    "no points": (f"{TOY} --run new --task.size 0", "--task.size must be >= 1"),
    "distribution": (f"{TOY} --run new --task.distribution ring", "--task.distribution: must be one of four-gaussians"),
    # data
    "data for digits": (f"{TINY} --run new --data images", "recipe digits has its own data: leave --data out"),
    "no data": (OWN, "recipe images needs your data: give --data with a folder of images"),
    "missing data": (f"{OWN} --data nowhere", "nowhere does not exist"),
    "empty folder": (f"{OWN} --data empty", "no images in"),
    "folder of text": (f"{OWN} --data notes", "no images in"),
    "a single image": (f"{OWN} --data good/0.png", "is a single image: pass --data with the folder"),
    "truncated image": (f"{OWN} --data truncated", "3.png cannot be read as an image"),
    "no image at all": (f"{OWN} --data fake", "0.png cannot be read as an image"),
    "mixed sizes": (f"{OWN} --data mixed", "images are of mixed size"),
    "image size 0": (f"{OWN} --data good --task.image-size 0", "--task.image-size must be >= 1"),
    "two channels": (f"{OWN} --data good --task.channels 2", "--task.channels: must be one of 1, 3"),
    "nan in data": (f"{OWN} --data nan.npz", "images hold NaN or infinite values"),
    "labels of another length": (f"{OWN} --data labels.npz", "labels must be one whole number an image"),
    "no npz": (f"{OWN} --data text.npz", "is damaged or is not an .npz file"),
    "pickled npz": (f"{OWN} --data objects.npz", "is damaged"),
    "no tar": (f"{OWN} --data text.tar", "is damaged or is not a tar file"),
    "no idx": (f"{OWN} --data t-images-idx3-ubyte", "is not an idx file of bytes"),
    "missing shards": (f"{OWN} --data shards/{{000..003}}.tar", "shards/000.tar: pass --data with"),
    "strange file": (f"{OWN} --data notes/thesis.tex", "is of a type that is not read"),
    # the run's directory
    "run of another recipe": (f"{TOY} --run digits", "digits holds a run of recipe digits: give another directory"),
    "run is a file": (f"{TINY} --run notes/thesis.tex", "is a file: give another directory with --run"),
    "run below a file": (f"{TINY} --run notes/thesis.tex/run", "Not a directory"),
    "run among other things": (f"{TINY} --run notes", "notes is not empty and holds no run"),
    "run where nothing can be": (
        f"{TINY} --run /proc/run",
        "/proc/run: No such file or directory: mend that, or give another",
    ),
    "run with too long a name": (f"{TINY} --run {'x' * 300}", "File name too long"),
    "broken config": (f"{TINY} --run broken", "broken/config.json is damaged: start anew with another --run"),
    "other seed": (f"{TINY} --run digits --seed 1", "digits was started with --seed 0, not 1: use the same options"),
    "other rate": (f"{TINY} --run digits --learning-rate 0.1", "was started with --learning-rate "),
    "other network size": (f"{TINY} --run digits --network.width 8", "started with --network.width 16, not 8"),
    "other network": ("train digits --run digits --network dit", "started with --network mlp, not dit"),
    "other objective": (f"{TINY} --run digits --objective flow", "started with --objective shortcut, not flow"),
    "fewer steps": (f"{TINY} --run digits --steps 6", "digits was started with --steps 12, not 6"),
    "more steps with cosine": (f"{TINY} --run digits --steps 20", "digits was started with --steps 12, not 20"),
    "fewer steps at a constant rate": (f"{TOY} --schedule constant --run points --steps 6", "for 12 steps already"),
    "all checkpoints damaged": (f"{TINY} --run damaged", "and no other checkpoint is whole: start anew with"),
    # models
    "sample what": ("sample --out s.npz", "the following arguments are required: RUN"),
    "no run": ("sample nowhere --out s.npz", "nowhere does not exist: pass a run directory or a model file"),
    "empty run": ("sample empty --out s.npz", "empty is no run, as it has no config.json"),
    "folder that is no run": ("evaluate notes", "notes is no run, as it has no config.json"),
    "not trained yet": ("sample untrained --out s.npz", "untrained has no checkpoint yet: train it"),
    "run with a broken config": ("sample broken --out s.npz", "broken/config.json is damaged"),
    "run all damaged": ("sample damaged --out s.npz", "and no other checkpoint is whole"),
    "a checkpoint's folder": ("sample digits/checkpoints/00000012 --out s.npz", "is no run"),
    "training state as model": (f"sample digits/checkpoints/00000012/{STATE} --out s.npz", "pass model.safetensors"),
    "truncated model": ("sample short.safetensors --out s.npz", "short.safetensors is damaged"),
    "flipped bit": ("sample flipped.safetensors --out s.npz", "damaged (its content does not match its hash)"),
    "pickled model": ("sample model.pt --out s.npz", "model.pt is damaged or no safetensors file"),
    "empty file": ("sample nothing --out s.npz", "nothing is damaged or no safetensors file"),
    "text as model": ("sample notes/thesis.tex --out s.npz", "is damaged or no safetensors file"),
    "model of another project": ("sample foreign.safetensors --out s.npz", "is no model of shortcut-models"),
    "broken header": ("sample header.safetensors --out s.npz", "its configuration is no JSON object"),
    "unknown task": ("sample task.safetensors --out s.npz", "this model's task 'dogs' is unknown"),
    "unknown method": ("sample objective.safetensors --out s.npz", "this model's objective 'magic' is unknown"),
    "unknown net": ("sample network.safetensors --out s.npz", "this model's network 'brain' is unknown"),
    "network from outside": ("sample outside.safetensors --out s.npz", "from outside the package: pass load("),
    # sampling
    "budget 0": ("sample digits --out s.npz --steps 0", "--steps must be whole numbers from 1 to 128, not 0"),
    "budget 129": ("sample digits --out s.npz --steps 1 129", "--steps must be whole numbers from 1 to 128, not 129"),
    "budget in words": ("sample digits --out s.npz --steps four", "--steps: must be a whole number, not 'four'"),
    "budget of a smaller grid": ("sample points --out s.npz --steps 16", "whole numbers from 1 to 8, not 16"),
    "no samples": ("sample digits --out s.npz --num 0", "num must be a whole number of at least 1, not 0"),
    "minus one sample": ("sample digits --out s.npz --num -1", "num must be a whole number of at least 1, not -1"),
    "1e9 samples": ("sample digits --out s.npz --num 1e9", "--num: must be a whole number, not '1e9'"),
    "a trillion samples": ("sample digits --out s.npz --num 1000000000000", "make fewer at a time"),
    "sample seed -1": ("sample digits --out s.npz --seed -1", "seed must be a whole number of at least 0, not -1"),
    "sample batch 0": ("sample digits --out s.npz --batch-size 0", "batch-size must be a whole number of at least 1"),
    "guidance without label dropout": (
        f"{TINY} --run new --objective.guidance 2 --objective.label-dropout 0",
        "--objective.guidance needs label-dropout above 0",
    ),
    "guidance of pairs without label dropout": (
        f"{TINY} --run new --objective reflow --objective.pair-guidance 2 --objective.label-dropout 0",
        "--objective.pair-guidance needs label-dropout above 0",
    ),
    "guidance nan": ("sample digits --out s.npz --guidance nan", "guidance must be a number of at least 0, not nan"),
    "guidance -1": ("sample digits --out s.npz --guidance -1", "guidance must be a number of at least 0"),
    "guidance far too large": ("sample digits --out s.npz --guidance 1e300", "the samples are not finite"),
    "guidance without labels": ("sample points --out s.npz --guidance 2", "guidance needs a model with labels"),
    "label 10": ("sample digits --out s.npz --label 10", "label must be a whole number from 0 to 9, not 10"),
    "label -1": ("sample digits --out s.npz --label -1", "label must be a whole number from 0 to 9, not -1"),
    "label in words": ("sample digits --out s.npz --label seven", "--label: must be a whole number, not 'seven'"),
    "label without labels": ("sample points --out s.npz --label 1", "was trained without labels: leave label out"),
    "sample device": ("sample digits --out s.npz --device warp", "device 'warp' is not available here"),
    # where it is written
    "no out": ("sample digits", "the following arguments are required: --out"),
    "out of another kind": ("sample digits --out s.txt", "s.txt must end in .npz"),
    "out without kind": ("sample digits --out s", "s must end in .npz"),
    "out in a missing folder": ("sample digits --out nowhere/s.npz", "nowhere is no folder: make it first"),
    "out below a file": ("sample digits --out notes/thesis.tex/s.npz", "notes/thesis.tex is no folder"),
    "out is a folder": ("sample digits --out folder.npz", "folder.npz is a folder: give the name of a file"),
    "out where nothing can be": ("sample digits --out /proc/s.npz --num 1", "/proc/s.npz"),
    # the other commands
    "evaluate budget": ("evaluate digits --steps 200", "--steps must be whole numbers from 1 to 128, not 200"),
    "evaluate none": ("evaluate digits --num 0", "num must be a whole number of at least 1, not 0"),
    "evaluate seed": ("evaluate digits --seed -5", "seed must be a whole number of at least 0, not -5"),
    "evaluate guidance": ("evaluate points --guidance 3", "guidance needs a model with labels"),
    "evaluate json": ("evaluate digits --json e.txt", "e.txt must end in .json"),
    "evaluate without data": ("evaluate moved --num 10 --steps 1", "moved-data does not exist: pass --data with"),
    "evaluate data of its own": ("evaluate digits --data good", "digits has its own data: leave --data out"),
    "interpolate no pairs": ("interpolate digits --out g.png --pairs 0", "pairs must be at least 1, not 0"),
    "interpolate one point": ("interpolate digits --out g.png --points 1", "points must be at least 2, not 1"),
    "interpolate budget": ("interpolate digits --out g.png --steps 129", "from 1 to 128, not 129"),
    "interpolate label": ("interpolate digits --out g.png --label 11", "label must be a whole number from 0 to 9"),
    "interpolate out": ("interpolate digits --out g.gif", "g.gif must end in .png"),
    "animate digits": ("animate digits --out a.gif", "digits"),
    "animate without snapshots": ("animate points --out a.gif", "snapshots"),
    "animate nothing": ("animate nowhere --out a.gif", "nowhere"),
    "animate out": ("animate points --out a.png", "a.png must end in .gif"),
    "report nothing": ("report nowhere", "nowhere does not exist"),
    "report out": ("report digits --out r.txt", "r.txt must end in .html"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("place")
    for name in ("empty", "notes", "folder.npz"):
        (place / name).mkdir()
    (place / "notes" / "thesis.tex").write_text("years of work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        models(place)
        data(place)
        yield place


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Every file below a folder with its size and time."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]


@pytest.mark.parametrize("name", TABLE)
def test_what_is_wrong_is_said_in_one_line(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    words, message = TABLE[name]
    monkeypatch.chdir(place)
    before = listing(place)
    outcome = shortcut(*words.split())
    said = [line for line in outcome.err.splitlines() if not line.startswith("shortcut: warning: ")]
    assert len(said) == 1, outcome.err
    assert said[0].startswith("shortcut: error: ")
    assert message in said[0]
    assert outcome.code == 2
    assert outcome.out == ""
    assert listing(place) == before


def test_there_are_more_than_enough_of_them() -> None:
    assert len(TABLE) >= 40


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("words", [f"{TINY} --run new --device cuda", "sample digits --out s.npz --device cuda:0"])
def test_a_gpu_that_is_not_there_is_one_clear_line(place: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(place)
    outcome = shortcut(*words.split())
    assert outcome.code == 2
    assert "is not available here: use cpu, or leave it out" in outcome.complaint


def test_tensorboard_that_is_not_installed_is_one_clear_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # type: ignore[arg-type]
    outcome = shortcut(*TINY.split(), "--run", "new", "--tensorboard")
    assert outcome == (
        2, "", "shortcut: error: --tensorboard needs an extra: pip install 'shortcut-models[tensorboard]'\n",
    )  # fmt: skip
    assert not (place / "new").exists()


def test_what_a_terminal_would_act_on_is_spelled_out(tmp_path: Path) -> None:
    """Names that a file holds could clear the screen, or set its title; words of the command line could, too."""
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(pickle.dumps({"train_state": {"\x1b[2J\x9b1m\u202e\0": 1}}))
    words = ("import-original", path, "--out", tmp_path / "run", "--num-heads", 1, "--image-size", 8)
    for outcome, shown in (
        (shortcut(*words), r"train_state holds \x1b[2J\x9b1m\u202e\x00: give"),
        (shortcut("train", "\x1b]0;title\x07"), r"there is no recipe '\x1b]0;title\x07'"),
    ):
        assert outcome.code == 2
        assert shown in outcome.complaint
        assert outcome.err[:-1].isprintable()


@pytest.mark.parametrize("name", ["unknown recipe", "truncated image", "flipped bit", "run among other things"])
def test_a_process_of_its_own_says_and_does_the_same(place: Path, name: str) -> None:
    words, message = TABLE[name]
    before = listing(place)
    outcome = shell(*words.split(), cwd=place)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("shortcut: error: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert listing(place) == before
