"""Options that a user takes for ours: one line names the one that is meant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers.runs import assert_refused, shortcut, train
from shortcut_models.recipes.suggestions import options_meant

MEANT = {
    # the same option in another group
    "train images --image-size 32": "no option --image-size: did you mean --task.image-size?",
    "train digits --width 64": "no option --width: did you mean --network.width?",
    "train digits --guidance 2": "no option --guidance: did you mean --objective.guidance?",
    "train images --no-flip": "no option --no-flip: did you mean --task.no-flip?",
    "train images --flip=no": "no option --flip: did you mean --task.flip?",
    "fid-stats --image-size 32": "no option --image-size: did you mean --task.image-size?",
    # as other programs call it
    "train digits --lr 1e-3": "no option --lr: did you mean --learning-rate?",
    "train digits -lr 1e-3": "no option -lr: did you mean --learning-rate?",
    "train digits --epochs 3": "no option --epochs: did you mean --train-steps?",
    "train digits --steps 3": "no option --steps: did you mean --train-steps?",
    "train digits -steps 3": "no option -steps: did you mean --train-steps?",
    "train digits --batch 3": "no option --batch: did you mean --batch-size?",
    "train digits --dropout 0": "no option --dropout: did you mean --objective.label-dropout?",
    "sample r --samples 3": "no option --samples: did you mean --num?",
    "sample r --cfg-scale 3": "no option --cfg-scale: did you mean --guidance?",
    # in another spelling
    "train digits --LEARNING_RATE 1": "no option --LEARNING_RATE: did you mean --learning-rate?",
    "train digits --learningrate 1": "no option --learningrate: did you mean --learning-rate?",
    "train images --task-image-size 8": "no option --task-image-size: did you mean --task.image-size?",
    "train images --no-task.flip": "no option --no-task.flip: did you mean --task.no-flip?",
    # where it may stand for several, all are shown
    "train digits --clipp 3": "no option --clipp: did you mean --clip or --objective.clip?",
    # what is not an option at all
    "sample --run r --out s.npz": "--run is not an option here: give RUN without it",
    "train digits --qqqq 1": "there is no option --qqqq (see ",
    # choices, commands and recipes
    "train digits --schedule Cosine": "not 'Cosine': did you mean cosine?",
    "train digits --schedule cosin": "not 'cosin': did you mean cosine?",
    "Train digits": "there is no command 'Train': did you mean train?",
    "fid_stats": "there is no command 'fid_stats': did you mean fid-stats?",
    "train DIGITS": "there is no recipe 'DIGITS': did you mean digits?",
    "train four_gaussians": "there is no recipe 'four_gaussians': did you mean four-gaussians?",
    "train digits --network DiT": "there is no network 'DiT': did you mean dit?",
    "train digits --objective Consistency_Training": "did you mean consistency-training?",
}


@pytest.mark.parametrize("words", MEANT)
def test_the_option_that_is_meant_is_named(words: str) -> None:
    assert_refused(words, MEANT[words])


def test_a_switch_and_its_opposite_are_not_taken_for_one_another() -> None:
    flags = ["--ema-warmup", "--no-ema-warmup", "--task.flip", "--task.no-flip"]
    assert options_meant("--ema_warm-up", flags) == ["--ema-warmup"]
    assert options_meant("--no-ema_warmup", flags) == ["--no-ema-warmup"]
    assert options_meant("--task.no_flip", flags) == ["--task.no-flip"]
    assert options_meant("--no-flip", flags) == ["--task.no-flip"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has been evaluated, and copies of it with files that another program wrote."""
    place = tmp_path_factory.mktemp("runs")
    train(place / "good", "--train-steps", 4)
    assert shortcut("evaluate", place / "good", "--steps", 1, "--num", 10).code == 0
    found = json.loads((place / "good" / "evaluation.json").read_bytes())
    damaged = {
        "steps": {"steps": {"x": {"seconds": 1.0}}},
        "seconds": {"steps": {"1": {"seconds": None}}},
        "num": {"num": "ten"},
        "rows": {"steps": {"1": 3}},
    }
    for name, change in damaged.items():
        shutil.copytree(place / "good", place / name)
        (place / name / "evaluation.json").write_text(json.dumps(found | change))
    shutil.copytree(place / "good", place / "log")
    with open(place / "log" / "metrics.jsonl", "a") as file:
        file.write('[1]\nnull\n{"step": "a"}\n{"step": 2, "loss": "x", "note": {"a": 1}}\n')
    return place


@pytest.mark.parametrize("name", ["steps", "seconds", "num", "rows"])
@pytest.mark.parametrize("words", [("plot", "--out", "q.png"), ("report", "--out", "r.html")])
def test_a_result_of_another_form_is_one_line(
    runs: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(runs)
    assert_refused(
        (words[0], name, *words[1:]), f"{name}/evaluation.json is damaged: run `shortcut evaluate {name}` ag"
    )


def test_a_log_with_more_than_numbers_is_reported(runs: Path) -> None:
    assert shortcut("report", runs / "log").code == 0


MORE = {
    "evaluate good --inception-sha256 zz": "--trust-file are for FID: pass --fid-stats, too",
    "evaluate good --trust-file": "--trust-file are for FID: pass --fid-stats, too",
    "evaluate good --json ": "--json needs a value",
    "evaluate good --steps 0": "--steps must be whole numbers from 1 to 128, not 0",
    "sample good --out .npz": ".npz is an ending without a name: choose a name such as samples.npz",
    "sample good --out s.npz --num 99999999999999999999": "make fewer at a time",
    "sample good --out s.npz --num 2=3": "--num must be a whole number, not '2=3'",
    "sample good --out s.npz --steps 1e2": "--steps must be a whole number, not '1e2'",
    f"sample good --out s.npz --steps 1{'x' * 5000}": f"must be a whole number, not '1{'x' * 59}...'",
    "sample good --out s.npz --precision FP32": "not 'FP32': did you mean fp32?",
    "interpolate good --out i.png --points 99999999999": "make fewer at a time",
    "plot good --out q.png --measures beauty": "no run has results of these steps and measures",
    "train digits --network none": "there is no network 'none': choose one of",
    "train digits --objective none": "there is no objective 'none': choose one of",
    "train digits --learning-rate 1e400": "--learning-rate must be a number, not inf",
}


@pytest.mark.parametrize("words", MORE)
def test_what_makes_no_sense_is_one_line(runs: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(runs)
    assert_refused(words, MORE[words], unchanged=runs)


@pytest.mark.parametrize("option", ["--run", "--data", "--vae", "--teacher", "--init-from", "--device", "--network"])
def test_an_empty_value_is_not_the_current_folder(option: str) -> None:
    assert_refused(("train", "digits", option, ""), f"{option} needs a value, and this one is empty")
