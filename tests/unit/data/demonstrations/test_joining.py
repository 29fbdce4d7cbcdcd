"""Several sets of demonstrations, read as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers import demonstrations as demos
from helpers.demonstrations import ENDS, FRAMES, RETURNS, actions, pictures, states
from helpers.runs import refusal
from shortcut_models.data.demonstrations import Demonstrations, join, native, read
from shortcut_models.errors import UserError
from shortcut_models.tasks import Imitation

pytestmark = pytest.mark.needs_extra


def more(root: Path, seeds: range = range(7, 9), environment: str = "push-t", frames: int = 6) -> Path:
    """Write episodes that differ from those of `demos` in our own format."""
    native.prepare_folder(root, environment, {})
    for seed in seeds:
        seen = {"image": 255 - pictures(frames), "state": -states(frames) - seed}
        native.write_episode(root, seed, seen, -actions(frames) - seed, float(seed))
    return root


def test_the_frames_of_both_are_there_in_order(tmp_path: Path) -> None:
    paths = demos.make_native(tmp_path), more(tmp_path / "more")
    found = read(",".join(map(str, paths)))
    assert found.ends.tolist() == [*ENDS.tolist(), FRAMES + 6, FRAMES + 12]
    assert found.seeds is not None
    assert found.seeds.tolist() == [100, 101, 102, 103, 7, 8]
    assert found.returns is not None
    assert found.returns.tolist() == [*RETURNS, 7.0, 8.0]
    assert found.environment == "push-t"
    np.testing.assert_array_equal(found.actions, np.concatenate([actions(), -actions(6) - 7, -actions(6) - 8]))
    np.testing.assert_array_equal(
        found.observations["state"], np.concatenate([states(), -states(6) - 7, -states(6) - 8])
    )
    images = np.concatenate([pictures(), 255 - pictures(6), 255 - pictures(6)])
    np.testing.assert_array_equal(found.observations["image"], images)
    assert isinstance(found.observations["image"], np.memmap)


def test_formats_may_differ_and_held_out_episodes_stay_held_out(tmp_path: Path) -> None:
    import h5py

    paths = [demos.make_robomimic(tmp_path / name) for name in ("a", "b")]
    for path, held_out in zip(paths, (b"demo_1", b"demo_3"), strict=True):
        with h5py.File(path, "r+") as file:
            file["mask/valid"] = np.array([held_out])
    assert read(f"{paths[0]},{paths[1]}").split(0.1) == ([0, 2, 3, 4, 5, 6], [1, 7])
    mixed = read(f"{demos.make_zarr(tmp_path)},{demos.make_lerobot(tmp_path)}", ["state", "image"])
    assert (mixed.returns, mixed.seeds, len(mixed)) == (None, None, 8)
    np.testing.assert_array_equal(mixed.observations["image"], np.concatenate([pictures()] * 2))


def test_a_policy_is_trained_on_both(tmp_path: Path) -> None:
    data = f"{demos.make_native(tmp_path)},{more(tmp_path / 'more')}"
    task = Imitation(data, observations=("state",), history=1, chunk=4, execute=2).resolve()
    assert set(task.seeds) == {100, 101, 102, 103, 7, 8}
    assert task.data == data


def test_a_folder_may_have_a_comma_in_its_name(tmp_path: Path) -> None:
    assert len(read(more(tmp_path / "more,or,less"))) == 2


MISTAKES: dict[str, tuple[Callable[[Path], str], str]] = {
    "the same twice": (lambda root: f"{root}/native,{root}/native", "seed 100 is in .*/native and in .*/native: co"),
    "a world in both": (lambda root: f"{root}/native,{more(root / 'x', range(103, 105))}", "seed 103 is in .*nat"),
    "another environment": (
        lambda root: f"{root}/native,{more(root / 'x', environment='moon')}", "they are of moon and of push-t: use"),
    "other observations": (
        lambda root: f"{root}/native,{demos.make_zarr(root)}",
        "native has image, state, and .*buffer.zarr .*image.*: choose --task.observations"),
    "no seeds in one": (lambda root: f"{root}/native,{demos.make_robomimic(root, '')}", "does not have seeds, and"),
    "nothing there": (lambda root: f"{root}/native,{root}/nowhere", "^[^,]*nowhere: this does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_sets_that_do_not_fit_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    demos.make_native(tmp_path)
    make, message = MISTAKES[name]
    with refusal(message):
        read(make(tmp_path))


def test_images_that_were_joined_before_are_not_taken_for_those_of_a_set_with_vectors(tmp_path: Path) -> None:
    images = f"{demos.make_native(tmp_path)},{more(tmp_path / 'more')}"
    read(images)  # they are in the cache from now on
    native.prepare_folder(tmp_path / "vectors", "push-t", {})
    seen = {"image": states(6)[:, :3], "state": states(6)}
    native.write_episode(tmp_path / "vectors", 50, seen, actions(6), 0.0)
    with refusal("image is .* in .*vectors and .* in .*native: use one size for all"):
        read(f"{images},{tmp_path / 'vectors'}")


def test_nothing_between_commas_is_not_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^,: this does not exist: use a folder"):
        read(",")


def test_sets_of_different_rates_are_refused(tmp_path: Path) -> None:
    found = [Demonstrations({}, actions(), ENDS, fps=rate) for rate in (10.0, 30.0, None)]
    with pytest.raises(UserError, match="they have 10 and 30 frames per second: use demonstrations of one rate"):
        join([("a", found[0]), ("b", found[1])])
    assert join([("a", found[2]), ("b", found[1])]).fps == 30
