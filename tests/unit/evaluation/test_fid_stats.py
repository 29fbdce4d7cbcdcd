"""Reference statistics: of images, from files, and from files that are something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.image_files import MAKERS, Maker, pictures, some_labels
from shortcut_models.errors import UserError
from shortcut_models.evaluation.fid_reference import Reference, measure, read_reference
from shortcut_models.tasks import Digits, Images, Toy


class Mean:
    """Features that are known beforehand: grey levels of the four corners. Counts the images it has seen."""

    size, fingerprint = 4, "corners"

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        return images[:, [0, 0, -1, -1], [0, -1, 0, -1], 0].astype(np.float32)


def task_of(folder: Path, count: int = 30, maker: Maker = MAKERS[0]) -> Images:
    return Images(maker(folder, pictures(count), some_labels(count))).resolve()


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_moments_are_those_of_all_images_of_the_split(tmp_path: Path, split: str) -> None:
    task = task_of(tmp_path / "data", 300)  # more than a block
    found = measure(task, split, Mean(), keep=20, quiet=True)
    parts = ("train", "test") if split == "all" else (split,)
    images = np.concatenate([task.dataset(part).data.permute(0, 2, 3, 1).numpy() for part in parts])
    features = Mean()(images)
    assert found.count == len(images) == {"train": 270, "test": 30, "all": 300}[split]
    assert found.mu == pytest.approx(features.astype(float).mean(0), rel=1e-12)
    assert found.sigma == pytest.approx(np.cov(features.astype(float), rowvar=False), rel=1e-12)
    assert found.pixels == pytest.approx((images.mean(), images.std()), rel=1e-9)
    assert found.image_shape == (8, 8, 1)
    assert found.features is not None
    assert found.features.shape == (20, 4)
    assert {tuple(row) for row in found.features} <= {tuple(row) for row in features}


@pytest.mark.parametrize("maker", MAKERS[:7])
def test_every_format_has_the_same_statistics(tmp_path: Path, maker: Maker) -> None:
    found, expected = (
        measure(task_of(tmp_path / m.__name__, maker=m), "all", Mean(), quiet=True) for m in (maker, MAKERS[0])
    )
    assert found.mu == pytest.approx(expected.mu, rel=1e-12)
    assert found.sigma == pytest.approx(expected.sigma, rel=1e-9)


def test_features_are_made_once_for_the_same_images_and_network(tmp_path: Path) -> None:
    task, network = task_of(tmp_path / "data", 300), Mean()
    first = measure(task, "train", network, quiet=True)
    again = measure(task, "train", network, quiet=True)
    assert network.seen == 270
    assert np.array_equal(first.sigma, again.sigma)
    measure(task_of(tmp_path / "others", 40), "train", network, quiet=True)
    assert network.seen == 270 + 36
    network.fingerprint = "others"
    measure(task, "train", network, quiet=True)
    assert network.seen == 270 + 36 + 270


def test_a_call_that_was_stopped_goes_on(tmp_path: Path) -> None:
    class Stops(Mean):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if self.seen:
                raise KeyboardInterrupt
            return super().__call__(images)

    task, network = task_of(tmp_path / "data", 600), Mean()
    with pytest.raises(KeyboardInterrupt):
        measure(task, "train", Stops(), quiet=True)
    found = measure(task, "train", network, quiet=True)
    assert (network.seen, found.count) == (540 - 256, 540)


def test_a_file_holds_all_that_is_known(tmp_path: Path) -> None:
    found = measure(task_of(tmp_path / "data"), "train", Mean(), quiet=True)
    found.save(tmp_path / "stats.npz")
    read = read_reference(tmp_path / "stats.npz")
    for name in ("mu", "sigma", "count", "features", "pixels", "image_shape", "network"):
        assert np.array_equal(getattr(read, name), getattr(found, name)), name
    assert read.mu.dtype == read.sigma.dtype == np.float64
    assert read.source == str(tmp_path / "stats.npz")


def test_files_of_others_hold_moments_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", mu=np.zeros(3), sigma=np.eye(3, dtype=np.float32), arr_0=np.zeros(9, np.uint8))
    read = read_reference(tmp_path / "theirs.npz")
    assert (read.count, read.features, read.pixels, read.network) == (None,) * 4
    assert np.array_equal(read.sigma, np.eye(3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sigma": np.eye(3)}, "does not have the array mu: statistics have mu"),
        ({"mu": np.zeros(3)}, "does not have the array sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"mu \[3\] and sigma \[4, 4\] in .* do not fit"),
        ({"mu": np.zeros((3, 1)), "sigma": np.eye(3)}, r"mu \[3, 1\] and"),
        ({"mu": np.zeros(3), "sigma": np.full((3, 3), np.nan)}, "must be finite numbers"),
        ({"mu": np.array(["a"]), "sigma": np.eye(1)}, "must be finite numbers"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.0, 1.0]])}, "is not symmetric"),
        ({"mu": np.array([{}], object), "sigma": np.eye(1)}, "is damaged or not an .npz file"),
    ],
)
def test_statistics_that_make_no_sense(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_reference(tmp_path / "s.npz")


def test_statistics_in_files_that_are_something_else(tmp_path: Path) -> None:
    Reference(np.zeros(50), np.eye(50)).save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[:-200])
    (tmp_path / "flipped.npz").write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    (tmp_path / "text.npz").write_text("words")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("short", "flipped", "text", "array"):
        with pytest.raises(UserError, match=f"{name}.npz is damaged or not an .npz file: make it with"):
            read_reference(tmp_path / f"{name}.npz")
    with pytest.raises(UserError, match=r"none.npz does not exist: make it with `shortcut fid-stats --data"):
        read_reference(tmp_path / "none.npz")


@pytest.mark.parametrize("task", [Digits(), Toy(size=50)])
def test_a_task_without_images(task: Digits | Toy) -> None:
    with pytest.raises(UserError, match="FID is for images, and this task's data are not images"):
        measure(task, "train", Mean(), quiet=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", np.array([1, 2])), ("count", np.array(-1)), ("count", np.array("many")), ("count", np.array(np.nan)),
        ("pixels", np.array(0.5)), ("pixels", np.zeros((4, 8, 8))), ("image_shape", np.array(256)),
        ("image_shape", np.array([8, 8])), ("network", np.array(3)), ("network", np.array(["a", "b"])),
        ("features", np.zeros(8)), ("features", np.zeros((4, 7))), ("features", np.full((4, 8), np.nan)),
    ],
)  # fmt: skip
def test_what_another_tool_calls_by_our_names_is_left_out(tmp_path: Path, name: str, value: np.ndarray) -> None:
    np.savez(tmp_path / "f.npz", mu=np.zeros(8), sigma=np.eye(8), **{name: value})
    with pytest.warns(
        UserWarning, match=rf"{name} in .*f\.npz is not as `shortcut fid-stats` writes it, and is ignored"
    ):
        assert getattr(read_reference(tmp_path / "f.npz"), name) is None


def test_a_count_in_brackets_is_a_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", mu=np.zeros(8, np.float32), sigma=np.eye(8, dtype=np.float32), count=np.array([10]))
    assert read_reference(tmp_path / "f.npz").count == 10


def test_negative_variances_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", mu=np.zeros(8), sigma=-np.eye(8))
    with pytest.raises(UserError, match="has negative variances"):
        read_reference(tmp_path / "f.npz")
