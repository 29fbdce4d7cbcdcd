"""Whatever a user may get wrong: one line that says what and what to do, exit code 2, and nothing written."""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.corrupt import data, models
from helpers.runs import DIGITS, POINTS, assert_refused, shell, shortcut
from shortcut_models.models.checkpoint import STATE

TINY = " ".join(map(str, DIGITS))
SHAPES = " ".join(map(str, DIGITS[2:]))
TOY = " ".join(map(str, POINTS))
OWN = f"train images {SHAPES} --run new"

TABLE: dict[str, tuple[str, str]] = {
    # what comes first
    "no command": ("", "COMMAND is missing (see `shortcut --help`)"),
    "unknown command": ("trian digits", "there is no command 'trian': did you mean train? choose one of recipes, "),
    "unknown option before": ("--verbose recipes", "there is no command '--verbose': choose one of recipes, "),
    "unknown option of recipes": ("recipes --all", "there is no option --all (see `shortcut recipes --help`)"),
    "train what": ("train", "RECIPE is missing (see `shortcut train --help`)"),
    "unknown recipe": ("train digit", "there is no recipe 'digit': did you mean digits? choose one of digits, "),
    "very unknown recipe": ("train 42", "there is no recipe '42': choose one of digits, "),
    "recipe last": ("train --train-steps 3 digits", "the recipe comes first, not '--train-steps'"),
    "two recipes": (
        "train digits moons",
        "unexpected argument 'moons': remove it (see `shortcut train digits --help`)",
    ),
    # numbers
    "unknown option": (f"{TINY} --run new --stepps 3", "no option --stepps: did you mean --train-steps or --obj"),
    "abbreviation": (f"{TINY} --run new --step 4", "there is no option --step"),
    "abbreviation of a command": ("sample digits --ou s.npz", "there is no option --ou: did you mean --out?"),
    "steps 0": (f"{TINY} --run new --train-steps 0", "--train-steps must be >= 1, not 0"),
    "steps in words": (f"{TINY} --run new --train-steps four", "--train-steps must be a whole number, not 'four'"),
    "steps 1.5": (f"{TINY} --run new --train-steps 1.5", "--train-steps must be a whole number, not '1.5'"),
    "steps without": (f"{TINY} --run new --train-steps", "--train-steps needs a value"),
    "batch 0": (f"{TINY} --run new --batch-size 0", "--batch-size must be >= 1, not 0"),
    "batch of a billion": (f"{TINY} --run new --batch-size 1000000000", "--batch-size must be <= 1048576"),
    "seed -1": (f"{TINY} --run new --seed -1", "--seed must be >= 0, not -1"),
    "rate 0": (f"{TINY} --run new --learning-rate 0", "--learning-rate must be > 0, not 0.0"),
    "rate nan": (f"{TINY} --run new --learning-rate nan", "--learning-rate must be a number, not nan"),
    "rate inf": (f"{TINY} --run new --learning-rate inf", "--learning-rate must be a number, not inf"),
    "rate in words": (f"{TINY} --run new --learning-rate fast", "--learning-rate must be a number, not 'fast'"),
    "rate with a comma": (f"{TINY} --run new --learning-rate 0,1", "--learning-rate must be a number, not '0,1'"),
    "decay 1": (f"{TINY} --run new --ema 1", "--ema must be < 1, not 1.0"),
    "negative weight decay": (f"{TINY} --run new --weight-decay -1", "--weight-decay must be >= 0"),
    "clip 0": (f"{TINY} --run new --clip 0", "--clip must be > 0"),
    "accumulate": (f"{TINY} --run new --accumulate 5", "--accumulate 5 does not divide batch-size 32"),
    "keep none": (f"{TINY} --run new --keep 0", "--keep must be >= 1"),
    "checkpoint never": (f"{TINY} --run new --checkpoint-every 0", "--checkpoint-every must be >= 1"),
    "workers": (f"{TINY} --run new --workers 100000", "--workers must be <= 256"),
    "precision": (f"{TINY} --run new --precision fp16", "--precision must be one of auto, bf16, fp32, not 'fp16'"),
    "schedule": (f"{TINY} --run new --schedule linear", "--schedule must be one of cosine, constant"),
    "compile": (f"{TINY} --run new --compile yes", "--compile must be one of auto, on, off, not 'yes'"),
    "device": (f"{TINY} --run new --device gpu", "device 'gpu' is not available here: use cpu"),
    "meta device": (f"{TINY} --run new --device meta", "device 'meta' is not available here"),
    "none": (f"{TINY} --run new --train-steps none", "--train-steps must be a whole number, not 'none'"),
    "number of sampling steps": (f"{TINY} --run new --steps 4", "there is no option --steps: did you mean --"),
    "two values": (f"{TINY} --run new --seed 1 2", "unexpected argument '2': remove it"),
    "a value of a switch": (f"{TINY} --run new --ema-warmup yes", "unexpected argument 'yes': remove it"),
    "switch of before": ("train images --no-task.flip", "no option --no-task.flip: did you mean --task.no-flip?"),
    # networks, objectives, tasks
    "unknown network": (
        "train digits --run new --network unet1",
        "no network 'unet1': did you mean unet1d? choose one of ",
    ),
    "unknown objective": ("train digits --run new --objective shortcuts", "did you mean shortcut?"),
    "width 0": (f"{TINY} --run new --network.width 0", "--network.width must be >= 1, not 0"),
    "network far too large": (f"{TINY} --run new --network.width 2000000000", "out of memory: lower --batch-size"),
    "option of another network": (f"{TINY} --run new --network.heads 2", "there is no option --network.heads"),
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
    "distribution": (f"{TOY} --run new --task.distribution ring", "--task.distribution must be one of four-gaussians"),
    # data
    "data for digits": (f"{TINY} --run new --data images", "recipe digits has its own data: leave --data out"),
    "no data": (OWN, "recipe images needs your data: pass --data with a folder of images"),
    "missing data": (f"{OWN} --data nowhere", "nowhere does not exist"),
    "an address": (f"{OWN} --data https://example.com/x.zip", "is not a path but an address: download it, and pass"),
    "an address of demonstrations": (
        "train imitation --run new --data s3://bucket/x.zarr",
        "s3://bucket/x.zarr is not a path but an address: download it",
    ),
    "empty folder": (f"{OWN} --data empty", "no images in"),
    "folder of text": (f"{OWN} --data notes", "no images in"),
    "a single image": (f"{OWN} --data good/0.png", "is a single image: choose the folder"),
    "truncated image": (f"{OWN} --data truncated", "3.png cannot be read as an image"),
    "no image at all": (f"{OWN} --data fake", "0.png cannot be read as an image"),
    "mixed sizes": (f"{OWN} --data mixed", "images are of mixed size"),
    "image size 0": (f"{OWN} --data good --task.image-size 0", "--task.image-size must be >= 1"),
    "two channels": (f"{OWN} --data good --task.channels 2", "--task.channels must be one of 1, 3, none, not '2'"),
    "nan in data": (f"{OWN} --data nan.npz", "images hold NaN or infinite values"),
    "labels of another length": (f"{OWN} --data labels.npz", "labels must be one whole number an image"),
    "no npz": (f"{OWN} --data text.npz", "is damaged or not an .npz file"),
    "pickled npz": (f"{OWN} --data objects.npz", "is damaged"),
    "no tar": (f"{OWN} --data text.tar", "is damaged or not a tar file"),
    "no parquet": (f"{OWN} --data text.parquet", "text.parquet or one beside it"),
    "no idx": (f"{OWN} --data t-images-idx3-ubyte", "is not an idx file of bytes"),
    "missing shards": (f"{OWN} --data shards/{{000..003}}.tar", "shards/000.tar: choose"),
    "strange file": (f"{OWN} --data notes/thesis.tex", "is of a type that is not read"),
    # the run's directory
    "run of another recipe": (f"{TOY} --run digits", "digits holds a run of recipe digits: choose another directory"),
    "run is a file": (f"{TINY} --run notes/thesis.tex", "is a file: choose another directory with --run"),
    "run below a file": (f"{TINY} --run notes/thesis.tex/run", "Not a directory"),
    "run among other things": (f"{TINY} --run notes", "notes is not empty and is not a run directory"),
    "run where nothing can be": (
        f"{TINY} --run /proc/run",
        "/proc/run: No such file or directory: fix this, or choose another",
    ),
    "run with too long a name": (f"{TINY} --run {'x' * 300}", "File name too long"),
    "broken config": (f"{TINY} --run broken", "broken/config.json is damaged: start from scratch with another --run"),
    "other seed": (f"{TINY} --run digits --seed 1", "digits was started with --seed 0, not 1: use the same options"),
    "other rate": (f"{TINY} --run digits --learning-rate 0.1", "was started with --learning-rate "),
    "other network size": (f"{TINY} --run digits --network.width 8", "started with --network.width 16, not 8"),
    "other network": ("train digits --run digits --network dit", "started with --network mlp, not dit"),
    "other objective": (f"{TINY} --run digits --objective flow", "started with --objective shortcut, not flow"),
    "fewer steps": (f"{TINY} --run digits --train-steps 6", "trained for 12 steps already, more than --train-steps 6"),
    "fewer steps at a constant rate": (
        f"{TOY} --schedule constant --run points --train-steps 6",
        "for 12 steps already, more than --train-steps 6: ask for at least as many, or start from scratch with --ov",
    ),
    "overwrite no run": (f"{TINY} --run notes --overwrite", "notes is not empty and is not a run directory"),
    "overwrite a file": (f"{TINY} --run notes/thesis.tex --overwrite", "thesis.tex is a file: choose another"),
    "overwrite a broken run": (f"{TINY} --run broken --overwrite", "broken/config.json is damaged"),
    "overwrite one's own teacher": (
        f"{TINY} --run digits --init-from digits/ --overwrite",
        "--init-from digits is in the run that --overwrite removes: choose another directory with --run",
    ),
    "overwrite with bad data": ("train images --data nowhere --run digits --overwrite", "nowhere does not exist"),
    "overwrite with a bad network": (
        "train digits --run digits --network dit --network.patch-size 3 --overwrite",
        "3 does not divide 8 x 8 pixels",
    ),
    "overwrite with a bad device": (f"{TINY} --run digits --device gpu --overwrite", "device 'gpu' is not available"),
    "all checkpoints damaged": (
        f"{TINY} --run damaged",
        "and no other checkpoint is undamaged: start from scratch with",
    ),
    # models
    "sample what": ("sample --out s.npz", "RUN is missing"),
    "no run": ("sample nowhere --out s.npz", "nowhere does not exist: pass a run directory or a model file"),
    "empty run": ("sample empty --out s.npz", "empty is not a run, as it does not have a config.json"),
    "folder that is not a run": ("evaluate notes", "notes is not a run, as it does not have a config.json"),
    "not trained yet": ("sample untrained --out s.npz", "untrained has no checkpoint yet: train it"),
    "run with a broken config": ("sample broken --out s.npz", "broken/config.json is damaged"),
    "run all damaged": ("sample damaged --out s.npz", "and no other checkpoint is undamaged"),
    "training state as model": (f"sample digits/checkpoints/00000012/{STATE} --out s.npz", "pass model.safetensors"),
    "truncated model": ("sample short.safetensors --out s.npz", "short.safetensors is damaged"),
    "flipped bit": ("sample flipped.safetensors --out s.npz", "damaged (its content does not match its hash)"),
    "pickled model": ("sample model.pt --out s.npz", "model.pt is damaged or not a safetensors file"),
    "empty file": ("sample nothing --out s.npz", "nothing is damaged or not a safetensors file"),
    "text as model": ("sample notes/thesis.tex --out s.npz", "is damaged or not a safetensors file"),
    "model of another project": ("sample foreign.safetensors --out s.npz", "was not saved by shortcut-models"),
    "broken header": ("sample header.safetensors --out s.npz", "its configuration is not a JSON object"),
    "unknown task": ("sample task.safetensors --out s.npz", "this model's task 'dogs' is unknown"),
    "unknown method": ("sample objective.safetensors --out s.npz", "this model's objective 'magic' is unknown"),
    "unknown net": ("sample network.safetensors --out s.npz", "this model's network 'brain' is unknown"),
    "network from outside": ("sample outside.safetensors --out s.npz", "from outside the package: pass load("),
    # sampling
    "sample steps 0": ("sample digits --out s.npz --steps 0", "--steps must be whole numbers from 1 to 128, not 0"),
    "sample steps 129": ("sample digits --out s.npz --steps 1 129", "must be whole numbers from 1 to 128, not 129"),
    "sample steps in words": ("sample digits --out s.npz --steps four", "--steps must be a whole number, not 'four'"),
    "no number of steps": ("sample digits --out s.npz --steps", "--steps needs at least one value"),
    "a word among numbers": ("sample digits --out s.npz --steps 1 two", "--steps must be a whole number, not 'two'"),
    "sample steps of a smaller grid": ("sample points --out s.npz --steps 16", "whole numbers from 1 to 8, not 16"),
    "no samples": ("sample digits --out s.npz --num 0", "--num must be >= 1, not 0"),
    "minus one sample": ("sample digits --out s.npz --num -1", "--num must be >= 1, not -1"),
    "1e9 samples": ("sample digits --out s.npz --num 1e9", "--num must be a whole number, not '1e9'"),
    "a trillion samples": ("sample digits --out s.npz --num 1000000000000", "make fewer at a time"),
    "sample seed -1": ("sample digits --out s.npz --seed -1", "--seed must be >= 0, not -1"),
    "sample batch 0": ("sample digits --out s.npz --batch-size 0", "--batch-size must be >= 1, not 0"),
    "guidance without label dropout": (
        f"{TINY} --run new --objective.guidance 2 --objective.label-dropout 0",
        "--objective.guidance needs label-dropout above 0",
    ),
    "guidance of pairs without label dropout": (
        f"{TINY} --run new --objective reflow --objective.pair-guidance 2 --objective.label-dropout 0",
        "--objective.pair-guidance needs label-dropout above 0",
    ),
    "guidance nan": ("sample digits --out s.npz --guidance nan", "--guidance must be a number, not nan"),
    "guidance -1": ("sample digits --out s.npz --guidance -1", "--guidance must be >= 0, not -1.0"),
    "guidance far too large": ("sample digits --out s.npz --guidance 1e300", "the samples are not finite"),
    "guidance without labels": ("sample points --out s.npz --guidance 2", "guidance needs a model with labels"),
    "label 10": ("sample digits --out s.npz --label 10", "label must be a whole number from 0 to 9, not 10"),
    "label -1": ("sample digits --out s.npz --label -1", "label must be a whole number from 0 to 9, not -1"),
    "label in words": (
        "sample digits --out s.npz --label seven",
        "label must be a whole number from 0 to 9, not 'seven'",
    ),
    "label without labels": ("sample points --out s.npz --label 1", "was trained without labels: leave label out"),
    "sample device": ("sample digits --out s.npz --device warp", "device 'warp' is not available here"),
    # where it is written
    "no out": ("sample digits", "--out is missing (see `shortcut sample --help`)"),
    "out of another kind": ("sample digits --out s.txt", "s.txt must end in .npz"),
    "out without kind": ("sample digits --out s", "s must end in .npz"),
    "out in a missing folder": ("sample digits --out nowhere/s.npz", "nowhere is not a folder: make it first"),
    "out below a file": ("sample digits --out notes/thesis.tex/s.npz", "notes/thesis.tex is not a folder"),
    "out is a folder": ("sample digits --out folder.npz", "folder.npz is a folder: pass the name of a file"),
    "out where nothing can be": ("sample digits --out /proc/s.npz --num 1", "/proc/s.npz"),
    # the other commands
    "steps of a comparison": ("compare moons --train-steps 9", "--train-steps is not an option here: --nfe-budget"),
    "budget of before": ("compare moons --budget 9", "there is no option --budget: did you mean --nfe-budget?"),
    "no jobs": ("compare moons --jobs 0", "--jobs must be >= 1, not 0"),
    "methods of what": ("compare moons --objectives", "--objectives needs at least one value"),
    "unknown method of a comparison": ("compare moons --objectives flows", "did you mean flow?"),
    "a trial of a comparison": (
        "compare moons --trial flow",
        "there is no trial 'flow': choose one of ",
    ),
    "a trial among options": ("compare moons --trial flow --num 3", "there is no option --trial"),
    "plot of what": ("plot --out p.png", "RUN needs at least one value"),
    "three that are missing": ("import-original model.pt", "--out, --num-heads and --image-size are missing"),
    "evaluate steps": ("evaluate digits --steps 200", "--steps must be whole numbers from 1 to 128, not 200"),
    "evaluate none": ("evaluate digits --num 0", "--num must be >= 1, not 0"),
    "evaluate seed": ("evaluate digits --seed -5", "--seed must be >= 0, not -5"),
    "evaluate guidance": ("evaluate points --guidance 3", "guidance needs a model with labels"),
    "evaluate json": ("evaluate digits --json e.txt", "e.txt must end in .json"),
    "evaluate without data": ("evaluate moved --num 10 --steps 1", "moved-data does not exist: choose"),
    "evaluate data of its own": ("evaluate digits --data good", "digits has its own data: leave --data out"),
    "interpolate no pairs": ("interpolate digits --out g.png --pairs 0", "--pairs must be >= 1, not 0"),
    "interpolate one point": ("interpolate digits --out g.png --points 1", "--points must be >= 2, not 1"),
    "interpolate steps": ("interpolate digits --out g.png --steps 129", "from 1 to 128, not 129"),
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


@pytest.mark.parametrize("name", TABLE)
def test_refusals_of_the_common_commands(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    words, message = TABLE[name]
    monkeypatch.chdir(place)
    assert_refused(words, message, unchanged=place)


def test_there_are_more_than_enough_of_them() -> None:
    assert len(TABLE) >= 40


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("words", [f"{TINY} --run new --device cuda", "sample digits --out s.npz --device cuda:0"])
def test_a_gpu_that_is_not_there_is_one_clear_line(place: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(place)
    assert_refused(words, "is not available here: use cpu, or leave it out", unchanged=place)


def test_tensorboard_that_is_not_installed_is_one_clear_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # type: ignore[arg-type]
    message = "logger tensorboard needs an extra: pip install 'shortcut-models[tensorboard]'"
    assert_refused(f"{TINY} --run new --loggers tensorboard", message, unchanged=place)


def test_what_a_terminal_would_act_on_is_spelled_out(tmp_path: Path) -> None:
    """Names that a file holds could clear the screen, or set its title; words of the command line could, too."""
    path = tmp_path / "checkpoint.pkl"
    path.write_bytes(pickle.dumps({"train_state": {"\x1b[2J\x9b1m\u202e\0": 1}}))
    words = ("import-original", path, "--out", tmp_path / "run", "--num-heads", 1, "--image-size", 8)
    for outcome, shown in (
        (shortcut(*words), r"train_state holds \x1b[2J\x9b1m\u202e\x00: choose"),
        (shortcut("train", "\x1b]0;title\x07"), r"there is no recipe '\x1b]0;title\x07'"),
    ):
        assert outcome.code == 2
        assert shown in outcome.complaint
        assert outcome.err[:-1].isprintable()


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    "name",
    [
        "truncated image",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("unknown recipe", "flipped bit", "run among other things")
        ),
    ],
)
def test_a_process_of_its_own_says_and_does_the_same(place: Path, name: str) -> None:
    words, message = TABLE[name]
    assert_refused(words, message, unchanged=place, run=functools.partial(shell, cwd=place))
