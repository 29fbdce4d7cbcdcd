"""A data set of one's own as a task: units, conditions, held-out items, and a model that is used without the data."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import shortcut_models as sm
from shortcut_models.base import Frames, Label, Mask, Vector
from shortcut_models.config import from_dict, to_dict
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import Shortcut
from shortcut_models.randomness import sample_noise
from shortcut_models.tasks import TASKS

NETWORK = MLPConfig(width=8, depth=1, condition_width=8, image_width=4, image_stages=1, keypoints=3)
TRAINING = sm.Training(train_steps=2, batch_size=8, device="cpu", precision="fp32", snapshots=0, side_share=1.0)


class Signals(Dataset[Any]):
    """Signals [1, 16] with two numbers, a class and a picture, made one by one."""

    def __init__(self, count: int = 60) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        g = torch.Generator().manual_seed(index)
        picture = torch.randint(256, (3, 8, 8), generator=g, dtype=torch.uint8)
        cond = {"height": 4.0 + index, "state": torch.randn(2, generator=g) * 9, "label": index % 3, "camera": picture}
        return 100 + 50 * torch.randn(1, 16, generator=g), cond


def test_shape_and_conditions_are_those_of_the_items() -> None:
    task = sm.FromDataset(Signals())
    assert task.shape == (1, 16)
    assert task.conditions == {
        "height": Vector(1), "state": Vector(2), "label": Label(3), "camera": Frames(1, 3, 8, 8)
    }  # fmt: skip
    assert task.describe_data().startswith("54 examples of shape [1, 16] and 6 held out, with height (vector), state")


def test_the_network_sees_mean_0_and_deviation_1_and_samples_are_in_units_of_the_data() -> None:
    task = sm.FromDataset(Signals())
    batch = task.dataset("train").__getitems__(list(range(54)))
    x = task.encode(batch.data)
    assert float(x.mean()) == pytest.approx(0, abs=0.1)
    assert float(x.std()) == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(task.decode(x), batch.data.numpy(), rtol=1e-5)
    seen = task.preprocess_cond(batch.cond)
    assert float(seen["height"].mean()) == pytest.approx(0, abs=0.2)
    assert seen["state"].std(0).tolist() == pytest.approx([1, 1], abs=0.2)
    assert seen["label"].dtype == torch.int64
    assert seen["camera"].shape == (54, 1, 3, 8, 8)
    assert (seen["camera"].min(), seen["camera"].max()) == (-1, 1)
    plain = sm.FromDataset(Signals(), standardise=False)
    assert torch.equal(plain.encode(batch.data), batch.data)
    assert torch.equal(plain.preprocess_cond(batch.cond)["state"], batch.cond["state"])


@pytest.mark.parametrize(("dtype", "low"), [(np.uint8, 0), (np.int64, -4000)])
def test_whole_numbers_stay_whole(dtype: Any, low: int) -> None:
    data = np.random.default_rng(0).integers(low, 256, (40, 3, 4, 4)).astype(dtype)
    task = sm.FromDataset(data)
    raw = task.dataset("train").__getitems__([0, 1]).data
    made = task.decode(task.encode(raw))
    assert made.dtype == dtype
    assert np.array_equal(made, raw.numpy())
    beyond = task.decode(torch.full((1, 3, 4, 4), -99.0))
    assert beyond.min() == 0 if dtype == np.uint8 else beyond.min() < -4000


def test_held_out_items_are_never_trained_on() -> None:
    numbers = torch.arange(50.0)[:, None]
    task = sm.FromDataset(numbers, standardise=False, validation_fraction=0.2)
    parts = [{float(x) for x in task.dataset(split).__getitems__(list(range(size))).data}
             for split, size in (("train", 40), ("test", 10))]  # fmt: skip
    assert len(task.dataset("train")), len(task.dataset("test")) == (40, 10)
    assert parts[0] | parts[1] == set(range(50))
    given = sm.FromDataset(numbers, test=numbers[:7] + 0.5)
    assert (len(given.dataset("train")), len(given.dataset("test"))) == (50, 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sm.FromDataset(torch.zeros(1, 2)), "the dataset has one item: add others"),
        (lambda: sm.FromDataset(torch.zeros(4, 2), test=torch.zeros(4, 3)), r"item 0 has shape \[3\], and it must be"),
        (lambda: sm.FromDataset(torch.zeros(4, 2), classes=3), "the items have no label, and classes is 3"),
        (lambda: sm.FromDataset(torch.zeros(4, 2), validation_fraction=1.0), "validation-fraction must be < 1"),
        (lambda: sm.FromDataset().dataset("train"), "this FromDataset has no data: pass the data set"),
    ],
)
def test_mistakes(make: Any, message: str) -> None:
    with pytest.raises(sm.UserError, match=message):
        make()


def test_a_label_that_the_examined_items_do_not_have_is_named() -> None:
    class Late(Signals):
        def __getitem__(self, index: int) -> Any:
            return torch.zeros(2), 7 if index == 50 else index % 3

    task = sm.FromDataset(Late(), examined=20)
    rows = next(place for place, row in enumerate(task.dataset("train").rows) if row == 50)
    with pytest.raises(
        sm.UserError,
        match="item 50 has label 7, and those examined have 0 to 2: number the classes from 0, or pass classes=",
    ):
        task.dataset("train").__getitems__([rows])
    with pytest.raises(sm.UserError, match="item 50 has label 7"):  # from the training, too
        sm.fit(NETWORK, Shortcut(max_steps=4), task, training=dataclasses.replace(TRAINING, batch_size=54), quiet=True)
    assert sm.FromDataset(Late(), examined=20, classes=8).conditions == {"label": Label(8)}


def test_what_is_stored_is_json_and_rebuilds_the_task() -> None:
    assert TASKS["dataset"] is sm.FromDataset
    task = sm.FromDataset(Signals())
    rebuilt = from_dict(sm.FromDataset, to_dict(task))
    assert rebuilt == task
    assert rebuilt.conditions == task.conditions
    again = rebuilt.with_dataset(Signals(9))
    assert (again, len(again.dataset("train"))) == (task, 8)
    with pytest.raises(sm.UserError, match=r"item 0 has shape \[2\], and it must be \[1, 16\]"):
        rebuilt.with_dataset(torch.zeros(4, 2))
    for copy in (pickle.loads(pickle.dumps(task)), dataclasses.replace(task)):
        assert copy == task
        assert len(copy.dataset("test")) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_model_is_trained_resumed_loaded_and_sampled_without_its_data(tmp_path: Path, workers: int) -> None:
    task = sm.FromDataset(Signals())
    training = dataclasses.replace(TRAINING, workers=workers)
    model = sm.fit(NETWORK, Shortcut(max_steps=4), task, run=tmp_path / "run", training=training, quiet=True)
    again = sm.fit(
        NETWORK, Shortcut(max_steps=4), sm.FromDataset(Signals()), run=tmp_path / "run", training=training, quiet=True
    )
    assert np.array_equal(model.sample(3), again.sample(3))
    loaded = sm.load(tmp_path / "run")
    made = loaded.sample(5, label=2, seed=1)
    assert made.shape == (5, 1, 16)
    assert abs(made.mean() - 100) < 60
    cond = {name: values[:2] for name, values in task.dataset("test").__getitems__([0, 1]).cond.items()}
    noise = torch.randn(2, 1, 16)
    assert np.array_equal(loaded.sample_from(noise, 1, cond), model.sample_from(noise, 1, cond))
    with pytest.raises(sm.UserError, match="the condition 'height' is missing: pass it in cond"):
        loaded.sample_from(noise, 1, {"label": torch.zeros(2, dtype=torch.int64)})
    with pytest.raises(sm.UserError, match="this FromDataset has no data"):
        sm.evaluate(loaded, [1], num=4, quiet=True)
    loaded.task = loaded.task.with_dataset(Signals())
    assert sm.evaluate(loaded, [1], num=4, quiet=True)["steps"]["1"]["sliced_wasserstein"] > 0


def test_a_run_on_other_data_does_not_resume(tmp_path: Path) -> None:
    sm.fit(
        NETWORK,
        Shortcut(max_steps=4),
        sm.FromDataset(torch.randn(9, 2)),
        run=tmp_path / "run",
        training=TRAINING,
        quiet=True,
    )
    other = sm.FromDataset(torch.randn(9, 2))
    with pytest.raises(sm.UserError, match="was started with"):
        sm.fit(NETWORK, Shortcut(max_steps=4), other, run=tmp_path / "run", training=TRAINING, quiet=True)


def test_samples_are_measured_against_held_out_items_of_their_labels() -> None:
    """Held-out items themselves are at no distance, in any order of the labels; those of another class are far."""
    labels = torch.arange(60) % 3
    data = 10.0 * labels[:, None] + torch.randn(60, 2)
    task = sm.FromDataset((data, labels), test=(data, labels))
    wanted = np.array([2, 0, 2, 1, 0])
    held = {c: data[labels == c].numpy() for c in range(3)}
    turn = [0, 0, 1, 0, 1]
    same = np.stack([held[c][k] for c, k in zip(wanted.tolist(), turn, strict=True)])
    assert task.evaluate(same, wanted)["sliced_wasserstein"] == pytest.approx(0, abs=1e-6)
    assert task.evaluate(same, (wanted + 1) % 3)["sliced_wasserstein"] > 0.2
    cond = task.default_cond(range(5))
    assert cond["label"].tolist() == [0, 1, 2, 0, 1]


def test_conditions_of_samples_are_those_of_held_out_items_with_their_labels() -> None:
    labels = torch.arange(60) % 3
    task = sm.FromDataset({"x": torch.randn(60, 2), "label": labels, "number": labels.float() + 0.5})
    cond = task.default_cond(range(7))
    assert cond["number"][:, 0].tolist() == [0.5, 1.5, 2.5, 0.5, 1.5, 2.5, 0.5]
    bare = from_dict(sm.FromDataset, to_dict(task)).default_cond(range(4))
    assert bare["label"].tolist() == [0, 1, 2, 0]
    assert task.preprocess_cond(bare)["number"].tolist() == [[0.0]] * 4


def test_padding_is_the_mean_and_is_not_measured() -> None:
    mask = torch.ones(20, 6, 1)
    mask[::2, 4:] = 0
    data = 3 + torch.randn(20, 6, 2)
    padded = torch.where(mask == 0, torch.nan, data)
    task = sm.FromDataset({"x": padded, "mask": mask.bool()})
    assert task.conditions == {"mask": Mask((6, 1))}
    assert task.mean == pytest.approx(float(data[mask.expand(data.shape) == 1].mean()), rel=1e-5)
    batch = task.dataset("train").__getitems__(list(range(18)))
    x = task.encode(batch.data)
    assert bool((x[(batch.cond["mask"] == 0).expand(x.shape)] == 0).all())
    assert x.isfinite().all()


def test_tensor_data_sets_go_to_a_gpu_with_room_as_a_whole() -> None:
    task = sm.FromDataset(TensorDataset(torch.zeros(10, 4)))
    assert task.dataset("train").nbytes == 9 * 16
    assert not hasattr(sm.FromDataset(Signals()).dataset("train"), "nbytes")


class Graded(Dataset[Any]):
    """The speed of an item says which class it is of."""

    def __len__(self) -> int:
        return 90

    def __getitem__(self, index: int) -> Any:
        return torch.randn(4), {"label": index % 3, "speed": torch.tensor([10.0 * (index % 3)])}


def test_other_conditions_are_those_of_the_label_that_is_asked_for() -> None:
    task = sm.FromDataset(Graded())
    model = sm.fit(NETWORK, Shortcut(max_steps=4), task, training=TRAINING, quiet=True)
    cond = model.conditions(range(5), model.labels(5, 2))
    assert cond["label"].tolist() == [2] * 5
    assert cond["speed"].flatten().tolist() == [20.0] * 5
    assert model.conditions(range(3))["speed"].flatten().tolist() == [0.0, 10.0, 20.0]


def test_a_pair_is_interpolated_under_one_condition() -> None:
    model = sm.fit(NETWORK, Shortcut(max_steps=4), sm.FromDataset(Graded()), training=TRAINING, quiet=True)
    given = {"label": [1, 2], "speed": torch.tensor([[10.0], [20.0]])}
    whole = model.interpolate(2, 3, cond=given)
    assert np.array_equal(whole, model.interpolate(2, 3, cond=given, batch_size=1))
    noise = sample_noise(0, range(4), task_shape := (4,)).view(2, 2, *task_shape)
    one = {name: torch.as_tensor(value)[:1] for name, value in given.items()}
    np.testing.assert_array_equal(whole[0, [0, 2]], [model.sample_from(z[None], 1, one)[0] for z in noise[0].flip(0)])


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_with_the_channels_first_are_pictures(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, channels, 6, 9), np.uint8)
    task = sm.FromDataset(images)
    for picture, image in zip(task.to_pil(images), images, strict=True):
        assert picture.size == (9, 6)
        assert np.array_equal(np.asarray(picture), image[0] if channels == 1 else image.transpose(1, 2, 0))
