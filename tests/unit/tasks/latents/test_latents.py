"""The latents task: draws from posteriors, the same from disk as on the fly, and a run from end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.runs import shortcut
from helpers.vaes import CATS, LATENT, SIDE, TAESD, needs_shared, photos, save_kl, save_tiny
from shortcut_models import UserError, load
from shortcut_models.data.arrays import ArrayDataset, moved, resident
from shortcut_models.tasks import Images, Latents
from shortcut_models.tasks.latents.autoencoder import open_vae
from shortcut_models.tasks.latents.encode import encode

SMALL = ("--network.width", 16, "--network.depth", 1, "--network.heads", 2, "--network.patch-size", 2)
FEW = (*SMALL, "--batch-size", 8, "--train-steps", 3, "--warmup", 1, "--device", "cpu", "--precision", "fp32")
CATS_RUN = ("train", "afhq-cat-256", *FEW, "--task.image-size", SIDE, "--task.classes", 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Autoencoders, photos, and the latents of these."""
    place = tmp_path_factory.mktemp("place")
    photos(place / "photos")
    for name, save in (("kl", save_kl), ("tiny", save_tiny)):
        vae = open_vae(save(place / name))
        encode(Images(str(place / "photos"), channels=3), vae, place / f"{name}-latents", quiet=True)
    return place


def every(task: Latents, split: str) -> torch.Tensor:
    data = task.dataset(split)
    return data.__getitems__(list(range(len(data)))).data


def test_draws_have_the_posteriors_mean_and_deviation(place: Path) -> None:
    task = Latents(str(place / "kl-latents"), flip=False).resolve()
    raw = every(task, "train")[:4]
    mean, std = raw[:, 0].float().unbind(1)
    draws = torch.stack([task.encode(raw) for _ in range(4000)])
    assert float(((draws.mean(0) - mean) / std).abs().max()) < 5 / 4000**0.5
    assert float((draws.std(0) / std - 1).abs().max()) < 5 / (2 * 4000) ** 0.5
    assert task.shape == LATENT


def test_draws_follow_from_the_seed(place: Path) -> None:
    for data in ("kl-latents", "photos"):
        task = Latents(str(place / data), str(place / "kl")).resolve()
        raw, drawn = every(task, "train"), []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            drawn.append(task.encode(raw))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


def test_on_the_fly_and_from_disk_are_the_same_up_to_half_precision(place: Path) -> None:
    for name in ("kl", "tiny"):
        drawn = []
        for data in (f"{name}-latents", "photos"):
            task = Latents(str(place / data), str(place / name)).resolve()
            for split in ("train", "test"):
                torch.manual_seed(0)
                drawn.append(task.encode(every(task, split)))
        for disk, fly in zip(drawn[:2], drawn[2:], strict=True):
            torch.testing.assert_close(disk, fly, rtol=2e-3, atol=2e-3)


def test_half_of_the_training_images_are_mirrored_and_no_others(place: Path) -> None:
    for data in ("tiny-latents", "photos"):
        task = Latents(str(place / data), str(place / "tiny")).resolve()
        plain = Latents(str(place / data), str(place / "tiny"), flip=False).resolve()
        straight = plain.encode(every(plain, "train"))
        raw = every(task, "train")
        mirrored = torch.stack([(task.encode(raw) - straight).flatten(1).abs().amax(1) > 1e-3 for _ in range(40)])
        assert abs(float(mirrored.float().mean()) - 0.5) < 4 * 0.5 / mirrored.numel() ** 0.5
        assert torch.equal(task.encode(every(task, "test")), plain.encode(every(plain, "test")))


def test_what_the_data_decides_is_filled_in(place: Path) -> None:
    for data in ("kl-latents", "photos"):
        task = Latents(str(place / data), str(place / "kl")).resolve()
        assert (task.image_size, task.classes, task.class_names) == (SIDE, 3, ("ant", "bee", "cow"))
        assert task.resolve() == task
        assert not Latents(str(place / data), str(place / "kl"), classes=0).resolve().conditions
    assert Latents(str(place / "kl-latents")).resolve().vae == str(place / "kl")


def test_the_judge_sees_the_real_images(place: Path) -> None:
    images = Images(str(place / "photos"), channels=3).resolve()
    for data in ("kl-latents", "photos"):
        found = Latents(str(place / data), str(place / "kl")).resolve().pictures("test")
        raw = images.dataset("test").__getitems__(list(range(3)))
        assert np.array_equal(found.pixels, raw.data.numpy())
        assert found.labels is not None
        assert np.array_equal(found.labels, raw.cond["label"].numpy())


def test_a_set_that_lies_on_the_device_is_the_same(place: Path) -> None:
    data = Latents(str(place / "kl-latents")).resolve().dataset("train")
    there = moved(data, torch.device("cpu"))
    rows = [5, 0, 26, 5]
    assert isinstance(there, ArrayDataset)
    assert there.nbytes == data.nbytes == 27 * 2 * 2 * 64 * 2  # type: ignore[attr-defined]
    assert torch.equal(there.__getitems__(rows).data, data.__getitems__(rows).data)
    assert torch.equal(there.__getitems__(rows).cond["label"], data.__getitems__(rows).cond["label"])
    assert resident(data, torch.device("cpu")) is data


@pytest.mark.parametrize(("data", "more"), [("kl-latents", ()), ("photos", ("--vae", "kl"))])
def test_from_images_to_samples(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(place)
    run = tmp_path / "run"
    for steps in (3, 5):  # and on from there
        words = (*CATS_RUN, "--train-steps", steps, "--schedule", "constant", "--data", data, *more, "--run", run)
        outcome = shortcut(*words)
        assert outcome.code == 0, outcome.err
    assert (run / "samples" / "step_00000005.png").exists()
    outcome = shortcut("sample", run, "--steps", 1, 4, "--num", 6, "--out", tmp_path / "s.npz")
    assert outcome.code == 0, outcome.err
    arrays = np.load(tmp_path / "s.npz")
    assert arrays["steps_4"].shape == (6, SIDE, SIDE, 3)
    assert arrays["steps_4"].dtype == np.uint8
    assert arrays["labels"].tolist() == [0, 1, 2, 0, 1, 2]
    assert Image.open(tmp_path / "s.png").size[0] > 6 * SIDE
    outcome = shortcut("evaluate", run, "--steps", 1, "--num", 12)
    assert outcome.code == 0, outcome.err
    assert outcome.out.split()[:2] == ["steps", "pixel_frechet"]
    outcome = shortcut("interpolate", run, "--pairs", 1, "--points", 2, "--out", tmp_path / "i.png")
    assert outcome.code == 0, outcome.err
    outcome = shortcut("report", run)
    assert outcome.code == 0, outcome.err


def test_a_model_file_decodes_without_the_data(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("kl", "tiny", "kl-latents"):
        shutil.copytree(place / name, tmp_path / name)
    words = (*CATS_RUN, "--data", "kl-latents", "--vae", "kl", "--run", "run")
    assert shortcut(*words).code == 0
    shutil.rmtree("kl-latents")
    file = Path("run/checkpoints/00000003/model.safetensors")
    before = load(file).sample(3)
    assert before.shape == (3, SIDE, SIDE, 3)
    Path("kl").rename("moved")
    sample = ("sample", file, "--num", 3, "--out", "s.npz")
    assert "there is no VAE in " in shortcut(*sample).complaint
    assert "pass --vae with" in shortcut(*sample).complaint
    with pytest.raises(UserError, match="pass --vae"):
        load(file).sample(3)
    assert shortcut(*sample, "--vae", "moved").code == 0
    assert np.array_equal(np.load("s.npz")["steps_1"], before)
    other = shortcut(*sample, "--vae", "tiny")
    assert other.code == 0
    assert "tiny is not the VAE that this model was trained with" in other.err
    wide = save_tiny(tmp_path / "wide", latent_channels=8)
    assert "into latents of 8 x 4, not 4 x 4: pass --vae" in shortcut(*sample, "--vae", wide).complaint


MISTAKES: dict[str, tuple[str, str]] = {
    "no data": ("", "recipe afhq-cat-256 needs your data"),
    "images without a vae": ("--data photos", "is not a folder of latents, so its images must be encoded: pass --vae"),
    "a vae of other weights": ("--data kl-latents --vae tiny", "(AutoencoderKL), and tiny is another VAE"),
    "another size": ("--data kl-latents --task.image-size 32", "images of side 16, not 32: leave the image size out"),
    "fewer classes": ("--data kl-latents --task.classes 2", "has 3 classes, not 2: pass --task.classes 3, or 0 to"),
    "more classes": (
        "--data kl-latents --task.classes 1000",
        "has 3 classes, not 1000: pass --task.classes 3, or 0 to",
    ),
    "more classes in images": (
        "--data photos --vae kl --task.classes 4",
        "has 3 classes, not 4: pass --task.classes 3",
    ),
    "labels that are missing": ("--data bare-latents", "does not have labels for 3 classes"),
    "labels that are missing in images": ("--data bare --vae kl", "has no labels, not 3 classes"),
    "patches that do not fit": ("--data kl-latents --network.patch-size 3", "patch-size 3 does not divide 4 x 4"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(place)
    words, message = MISTAKES[name]
    if "bare" in words and not Path("bare-latents").exists():
        photos(Path("bare"), labelled=False)
        encode(Images("bare", channels=3), open_vae("kl"), Path("bare-latents"), quiet=True)
    outcome = shortcut(*CATS_RUN, *words.split(), "--run", tmp_path / "run")
    assert outcome.code == 2
    assert message in outcome.complaint
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_vae_where_there_is_none_to_give(tmp_path: Path) -> None:
    outcome = shortcut("train", "digits", "--vae", "kl", "--run", tmp_path / "run")
    assert "recipe digits does not have a VAE: leave --vae out" in outcome.complaint


@needs_shared
@pytest.mark.slow
def test_sixty_four_cats_come_back(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(CATS) as archive, tarfile.open(tmp_path / "cats.tar", "w") as some:
        for _ in range(64):
            member = archive.next()
            assert member is not None
            some.addfile(member, archive.extractfile(member))
    vae = open_vae(str(TAESD))
    encode(Images(str(tmp_path / "cats.tar")), vae, tmp_path / "latents", quiet=True)
    task = Latents(str(tmp_path / "latents"), flip=False).resolve()
    x = task.encode(every(task, "train"))
    assert float(x.std()) == pytest.approx(0.79, abs=0.01)
    real = Images(str(tmp_path / "cats.tar")).resolve().dataset("train").__getitems__(list(range(len(x)))).data
    error = np.square(task.decode(x).astype(float) - real.permute(0, 2, 3, 1).numpy()).mean((1, 2, 3))
    assert float((10 * np.log10(255**2 / error)).mean()) == pytest.approx(25.16, abs=0.1)  # decibels, as measured
