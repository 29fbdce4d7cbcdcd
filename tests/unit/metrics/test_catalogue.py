"""Every measure that the package gives has an entry, and a measure from outside gets a neutral one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.demonstrations import make_native
from shortcut_models.data.images import ImageSet
from shortcut_models.evaluation.evaluate import evaluate
from shortcut_models.evaluation.fid import measures
from shortcut_models.evaluation.fid_reference import Reference
from shortcut_models.evaluation.fid_samples import SampleFeatures
from shortcut_models.metrics import gaussian_fit
from shortcut_models.metrics.catalogue import METRICS, SCORES, Metric, metric, quality_measures, score
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.policies.environments import ENVIRONMENTS
from shortcut_models.tasks import TASKS, Digits, Imitation, Toy
from shortcut_models.tasks.pixel_metrics import PixelJudge


def every_measure(tmp_path: Path) -> set[str]:
    """The names that tasks, `evaluate` and FID give."""
    rng = np.random.default_rng(0)
    toy = Toy(size=500)
    model = Model(MLPConfig(width=8, depth=1).build(toy.shape, toy.conditions), FlowMatching(max_steps=2), toy)
    found = set(evaluate(model, [1, 2], 10, quiet=True)["steps"]["1"])
    digits = Digits()
    batch = digits.dataset("train").__getitems__(list(range(50)))
    found |= set(digits.evaluate(digits.decode(digits.encode(batch.data)), batch.cond["label"].numpy()))
    images = ImageSet(rng.integers(0, 256, (40, 1, 8, 8), np.uint8), np.arange(40) % 2, 2, ())
    found |= set(PixelJudge(images, images, labelled=True)(images.pixels.transpose(0, 2, 3, 1), np.arange(40) % 2))
    imitation = Imitation(str(make_native(tmp_path)), chunk=4, execute=2).resolve()
    actions = imitation.dataset("test").__getitems__([0]).data.numpy()
    found |= set(imitation.evaluate(actions, np.full(1, -1)))
    features = rng.normal(size=(40, 4))
    made = SampleFeatures(features, np.arange(40, dtype=np.uint64), np.zeros((40, 2)), 1.0)
    return found | set(measures(made, Reference(*gaussian_fit(features), features=features))) | {"guidance"}


def test_every_measure_of_samples_has_an_entry(tmp_path: Path) -> None:
    found = every_measure(tmp_path)
    assert found == set(METRICS)
    for entry in METRICS.values():
        assert entry.meaning
        assert entry.better or not entry.is_quality
    for task in TASKS.values():
        assert task.primary_metric == "" or METRICS[task.primary_metric].is_quality


def test_every_score_of_an_environment_has_an_entry() -> None:
    assert {environment.metric_name for environment in ENVIRONMENTS.values()} == set(SCORES)
    assert all(entry.meaning and entry.better for entry in SCORES.values())
    assert [score(name).format(0.5) for name in ("return", "success", "of_mine")] == ["0.5000", "0.500", "0.500"]


def test_which_way_is_good() -> None:
    lower = {"sliced_wasserstein", "pixel_frechet", "fid", "kid", "distance_to_finest", "seconds"}
    lower |= {name for name in METRICS if "error" in name}
    assert {name for name in METRICS if metric(name).better == "lower"} == lower
    higher = {"accuracy", "accuracy_real", "precision", "recall", "density", "coverage"}
    assert {name for name in METRICS if metric(name).better == "higher"} == higher
    assert {name for name in METRICS if metric(name).is_fraction} == higher - {"density"}
    assert metric("fid").direction == "lower is better"


def test_a_measure_from_outside_is_neutral() -> None:
    assert metric("kid_of_mine") == Metric("kid_of_mine")  # no direction, though a part of its name has one
    assert metric("kid_of_mine").direction == ""
    row = {"accuracy": 0.5, "accuracy_real": 0.9, "odd": 1.0, "odd_real": 2.0, "seconds": 1.0, "guidance": 1.0}
    assert quality_measures({"steps": {"1": row, "2": row | {"more": 3.0}}}) == ["accuracy", "odd", "more"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("recall", 0.5, "0.500"), ("recall", None, "–"), ("recall", float("nan"), "–"), ("accuracy_real", 1.0, "1.000"),
        ("fid", 31.25, "31.25"), ("fid", 123456.0, "1.235e+05"), ("fid", 1200.0, "1200"), ("odd", 0.5, "0.5000"),
    ],
)  # fmt: skip
def test_values_are_written_as_their_measure_asks(name: str, value: float | None, text: str) -> None:
    assert metric(name).format(value) == text
