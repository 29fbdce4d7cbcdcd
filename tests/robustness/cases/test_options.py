"""Options that a user takes for ours: one line names the one that is meant."""

from __future__ import annotations

import pytest

from helpers.runs import assert_refused
from shortcut_models.cli.suggestions import options_meant

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
    flags = ["--tensorboard", "--no-tensorboard", "--task.flip", "--task.no-flip"]
    assert options_meant("--tensor_board", flags) == ["--tensorboard"]
    assert options_meant("--no-tensor-board", flags) == ["--no-tensorboard"]
    assert options_meant("--task.no_flip", flags) == ["--task.no-flip"]
    assert options_meant("--no-flip", flags) == ["--task.no-flip"]
