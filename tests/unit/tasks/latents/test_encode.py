"""`shortcut encode`: what is in the shards, and that stopping and sharing the work changes nothing."""

from __future__ import annotations

import functools
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from helpers.image_files import COUNT, NAMES, make_folder, pictures, some_labels
from helpers.runs import assert_refused, die_at, fork, shortcut, tree
from helpers.vaes import LATENT, SIDE, photos, save_kl, save_tiny
from shortcut_models import UserError
from shortcut_models.system.distributed import Processes
from shortcut_models.tasks import Images, Latents
from shortcut_models.tasks.latents.autoencoder import open_vae
from shortcut_models.tasks.latents.encode import encode
from shortcut_models.tasks.latents.shards import LatentDataset, read_index

pytestmark = pytest.mark.needs_extra


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two autoencoders and thirty photos of three classes."""
    place = tmp_path_factory.mktemp("place")
    save_kl(place / "kl")
    save_tiny(place / "tiny")
    photos(place / "photos")
    return place


def encoded(place: Path, out: Path, *, vae: str = "kl", **options: object) -> Path:
    images = Images(str(place / "photos"), channels=3, **options)  # type: ignore[arg-type]
    encode(images, open_vae(str(place / vae)), out, shard_size=8, quiet=True)
    return out


def test_what_the_images_were_is_said_when_they_are_encoded_and_later(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "photos", tmp_path / "photos")
    (tmp_path / "photos" / "1.heic").write_bytes(b"x")
    words = ("encode", "--data", tmp_path / "photos", "--vae", place / "kl", "--out", tmp_path / "out")
    done = shortcut(*words)
    size = f"27 to train on, 3 held out, {SIDE}x{SIDE}"
    held = size + "{}, 3 classes (0 ant, 1 bee, 2 cow); {}left out: 1 .heic file"
    assert f"{tmp_path / 'photos'}: {held.format(', colour', '')}" in done.err.splitlines()
    line = f"{tmp_path / 'out'}: {held.format('', f'latents {chr(120).join(map(str, LATENT))}; ')}"
    with pytest.warns(UserWarning, match="left out: 1 .heic file"):
        images = Latents(str(tmp_path / "photos"), str(place / "kl")).resolve()
    assert images.describe_data() == line.replace(str(tmp_path / "out"), str(tmp_path / "photos"))
    assert Latents(str(tmp_path / "out")).resolve().describe_data() == line
    assert shortcut("inspect", tmp_path / "out", "--out", tmp_path / "examples.png") == (0, line + "\n", "")
    assert (tmp_path / "examples.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "photos" / "1.heic").unlink()
    assert shortcut(*words).code == 0, "it resumes"


def test_shards_hold_the_posterior_of_each_image_and_of_its_mirror_image(place: Path, tmp_path: Path) -> None:
    out = encoded(place, tmp_path / "out")
    index = read_index(out)
    assert (index.train, index.test, index.image_size, index.latent_shape) == (27, 3, SIDE, LATENT)
    assert (index.statistics, index.classes, index.class_names, index.flips) == (2, 3, NAMES, True)
    assert sorted(path.name for path in out.iterdir()) == [
        "index.json", "test-00000.safetensors", *(f"train-{i:05d}.safetensors" for i in range(4)),
    ]  # fmt: skip
    images = Images(str(place / "photos"), channels=3).resolve().dataset("train")
    rows = [0, 7, 8, 26]
    found = LatentDataset(out, index, "train", labelled=True, mirrored=True).__getitems__(rows)
    raw = images.__getitems__(rows)
    assert torch.equal(found.cond["label"], raw.cond["label"])
    for view, pixels in enumerate((raw.data, raw.data.flip(-1))):
        mean, std = open_vae(str(place / "kl")).encode(pixels)
        torch.testing.assert_close(found.data[:, view, 0].float(), mean, rtol=2e-3, atol=1e-4)
        torch.testing.assert_close(found.data[:, view, 1].float(), std, rtol=2e-3, atol=1e-4)
    pictures = LatentDataset(out, index, "train", labelled=True, mirrored=True).images(torch.tensor(rows).numpy(), 3)
    assert torch.equal(torch.from_numpy(pictures.pixels), raw.data)  # small as they are


def test_held_out_images_are_not_mirrored_and_a_spread_of_nothing_is_left_out(place: Path, tmp_path: Path) -> None:
    kl = safetensors.torch.load_file(encoded(place, tmp_path / "kl") / "test-00000.safetensors")
    assert kl["latents"].shape == (3, 1, 2, *LATENT)
    assert kl["latents"].dtype == torch.float16
    tiny = safetensors.torch.load_file(encoded(place, tmp_path / "tiny", vae="tiny") / "train-00000.safetensors")
    assert tiny["latents"].shape == (8, 2, 1, *LATENT)
    plain = encoded(place, tmp_path / "plain", flip=False, classes=0)
    found = safetensors.torch.load_file(plain / "train-00003.safetensors")
    assert found["latents"].shape == (3, 1, 2, *LATENT)
    assert "labels" not in found


def test_several_processes_write_what_one_writes(place: Path, tmp_path: Path) -> None:
    whole, shared = encoded(place, tmp_path / "whole"), tmp_path / "shared"
    images, vae = Images(str(place / "photos"), channels=3), open_vae(str(place / "kl"))
    encode(images, vae, shared, shard_size=8, processes=Processes(1, 2), quiet=True)
    assert {path.name for path in shared.iterdir()} == {
        "index.json", "train-00001.safetensors", "train-00003.safetensors",
    }  # fmt: skip
    encode(images, vae, shared, shard_size=8, processes=Processes(0, 2), quiet=True)
    assert tree(shared) == tree(whole)


@pytest.mark.long
@pytest.mark.multiprocess
def test_one_that_was_killed_goes_on(place: Path, tmp_path: Path) -> None:
    whole, out = encoded(place, tmp_path / "whole"), tmp_path / "killed"
    words = ("encode", "--data", place / "photos", "--vae", place / "kl", "--out", out, "--shard-size", 8)
    process = fork((*words, "--device", "cpu"), functools.partial(die_at, 11, str(out)))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = [path.name for path in out.glob("*.safetensors")]
    assert 0 < len(left) < 5
    assert list(out.glob(".*.tmp"))
    before = {name: (out / name).stat().st_mtime_ns for name in left}
    with pytest.raises(UserError, match="is missing: run the same `shortcut encode` again"):
        LatentDataset(out, read_index(out), "train", labelled=True, mirrored=True)
    outcome = shortcut(*words, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "27 training and 3 held-out images as latents of 4 x 4 x 4" in outcome.out
    assert before == {name: (out / name).stat().st_mtime_ns for name in left}
    assert tree(out) == tree(whole)


def test_it_goes_on_with_the_same_images_and_vae_wherever_they_lie_and_with_no_others(
    place: Path, tmp_path: Path
) -> None:
    whole, out = encoded(place, tmp_path / "whole"), encoded(place, tmp_path / "out")
    shutil.copytree(place / "photos", tmp_path / "moved")
    (tmp_path / "link").symlink_to(place / "kl")
    others = pictures(COUNT, SIDE, colour=True, seed=1)
    make_folder(tmp_path / "others", others, some_labels())  # of the same names, as many
    shutil.copytree(place / "photos", tmp_path / "relabelled")
    (tmp_path / "relabelled" / NAMES[0] / "000.png").rename(tmp_path / "relabelled" / NAMES[1] / "000.png")
    (out / "train-00001.safetensors").unlink()
    before = tree(out)
    for data in ("others", "relabelled"):
        with pytest.raises(UserError, match=rf"out holds latents of other images than .*{data} does now: use the same"):
            encode(Images(str(tmp_path / data), channels=3), open_vae(str(place / "kl")), out, shard_size=8, quiet=True)
        assert tree(out) == before
    encode(Images(str(tmp_path / "moved"), channels=3), open_vae(str(tmp_path / "link")), out, shard_size=8, quiet=True)
    assert tree(out) == tree(whole)


MISTAKES: dict[str, tuple[str, str]] = {
    "no data": ("encode --vae {kl} --out new", "--data is missing"),
    "data that is not there": ("encode --data nowhere --vae {kl} --out new", "does not exist"),
    "a vae that is not there": ("encode --data {photos} --vae ./nowhere --out new", "there is no VAE in"),
    "size that does not fit": (
        "encode --data {photos} --vae {kl} --out new --image-size 18", "choose an image size that is a multiple of 4",
    ),
    "size 0": ("encode --data {photos} --vae {kl} --out new --image-size 0", "--image-size must be >= 1, not 0"),
    "classes -1": ("encode --data {photos} --vae {kl} --out new --classes -1", "--classes must be >= 0, not -1"),
    "no images in a shard": ("encode --data {photos} --vae {kl} --out new --shard-size 0", "--shard-size must be >= 1"),
    "out is a file": ("encode --data {photos} --vae {kl} --out file", "file is a file: choose a directory with --out"),
    "out holds other things": ("encode --data {photos} --vae {kl} --out full", "full is not empty and is not a folder"),
    "out made otherwise": (
        "encode --data {photos} --vae {kl} --out done --shard-size 9", "made with shard-size 8, not 9: use the same",
    ),
    "out made with another vae": (
        "encode --data {photos} --vae {tiny} --out done --shard-size 8", "tiny is another: use the same data and opt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_refusals_of_encode(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    if "done" in MISTAKES[name][0]:
        encoded(place, tmp_path / "done")
    words, message = MISTAKES[name]
    words = words.format(**{name: place / name for name in ("kl", "tiny", "photos")})
    assert_refused(words, message, unchanged=tmp_path)


def test_a_damaged_index_or_shard_is_said(place: Path, tmp_path: Path) -> None:
    out = encoded(place, tmp_path / "out")
    index, shard = read_index(out), out / "train-00002.safetensors"
    opened = lambda: LatentDataset(out, index, "train", labelled=True, mirrored=True)
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"train-00002.safetensors is damaged .*: remove it, and run the same"):
        opened()
    shard.write_bytes((out / "train-00003.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"train-00002\.safetensors does not fit the index"):
        opened()
    assert content[-9:] != bytes(9)
    shard.write_bytes(content[:-9] + bytes(9))
    data = opened()
    data.__getitems__([0, 15, 24, 26])  # of the others
    for _ in range(2):
        with pytest.raises(
            UserError, match=r"train-00002\.safetensors is damaged \(its content .*: remove it, and run"
        ):
            data.__getitems__([16])
    with pytest.raises(UserError, match="is damaged"):
        opened().images(np.array([23]), 3)
    for text in ("{", "[]", json.dumps({"format": "another"}), json.dumps({"format": "shortcut-models latents 2"})):
        (out / "index.json").write_text(text)
        with pytest.raises(UserError, match="is damaged or no index of latents"):
            read_index(out)
