"""What a user may get wrong about FID: one line that says what and what to do; and what is only warned of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.fid_files import FEATURES, tiny_inception
from helpers.image_files import make_folder, make_npz, pictures, png
from helpers.runs import DIGITS, POINTS, assert_refused, shortcut, train
from shortcut_models.evaluation.fid import checks
from shortcut_models.evaluation.fid_reference import Reference, brightness
from shortcut_models.evaluation.fid_samples import FidSampler, SampleFeatures
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Images

FID = "--fid-stats good.npz --inception tiny.pt --trust-file --num 20 --steps 1"
STATS = "fid-stats --inception tiny.pt --trust-file --out new.npz"
TABLE: dict[str, tuple[str, str]] = {
    "no statistics": (
        f"evaluate run {FID} --fid-stats none.npz",
        "none.npz does not exist: make it with `shortcut fid",
    ),
    "statistics are a folder": (f"evaluate run {FID} --fid-stats data", "data: Is a directory"),
    "statistics are a text": (f"evaluate run {FID} --fid-stats text.npz", "text.npz is damaged or not an .npz file"),
    "statistics without mu": (f"evaluate run {FID} --fid-stats images.npz", "images.npz does not have the array mu"),
    "statistics of more features": (
        f"evaluate run {FID} --fid-stats more.npz",
        f"more.npz holds moments of 2048 features, and the network makes {FEATURES}: make statistics with",
    ),
    "statistics of another network": (
        f"evaluate run {FID} --inception other.pt",
        "good.npz was made with another Inception network: pass that one with --inception",
    ),
    "no network": (f"evaluate run {FID} --inception none.pt", "none.pt does not exist: pip install"),
    "damaged network": (f"evaluate run {FID} --inception text.npz", "text.npz is damaged or not a TorchScript file"),
    "a run of points": (f"evaluate points {FID}", "FID is for images, and this task's data are not images: leave out"),
    "no run": (f"evaluate nowhere {FID}", "nowhere does not exist: pass a run directory or a model file"),
    "no samples": (f"evaluate run {FID} --num 0", "--num must be >= 1, not 0"),
    "minus one sample": (f"evaluate run {FID} --num -1", "--num must be >= 1, not -1"),
    "no batch": (f"evaluate run {FID} --batch-size 0", "--batch-size must be >= 1, not 0"),
    "a batch too large": (f"evaluate run {FID} --num {10**12} --batch-size {10**12}", "make fewer at a time"),
    "seed": (f"evaluate run {FID} --seed -1", "--seed must be >= 0, not -1"),
    "guidance": (f"evaluate run {FID} --guidance 2", "guidance needs a model with labels"),
    "budget": (f"evaluate run {FID} --steps 129", "--steps must be whole numbers from 1 to 128, not 129"),
    "data besides": (f"evaluate run {FID} --data data", "--data is for measures without FID"),
    "json": (f"evaluate run {FID} --json f.txt", "f.txt must end in .json"),
    "stats of what": (STATS, "--data is missing"),
    "stats of nothing": (f"{STATS} --data nowhere", "nowhere does not exist"),
    "stats of a damaged image": (f"{STATS} --data torn", "cannot be read as an image"),
    "stats of mixed sizes": (f"{STATS} --data mixed", "images are of mixed size"),
    "stats into another kind": (f"{STATS} --data data --out s.txt", "s.txt must end in .npz"),
    "stats of two channels": (f"{STATS} --data data --task.channels 2", "--task.channels must be one of 1, 3, none"),
    "stats of size 0": (f"{STATS} --data data --task.image-size 0", "image-size must be >= 1, not 0"),
    "stats of another part": (f"{STATS} --data data --split val", "--split must be one of train, test, all, not 'val'"),
    "stats keep": (f"{STATS} --data data --keep -1", "--keep must be >= 0, not -1"),
    "stats without network": (f"{STATS} --data data --inception none.pt", "none.pt does not exist: pip install"),
    "stats device": (f"{STATS} --data data --device warp", "device 'warp' is not available here"),
    "plot of nothing": ("plot nowhere --out p.png", "nowhere is not a run, as it does not have a config.json"),
    "plot before": ("plot points --out p.png", "points has not been evaluated: run `shortcut evaluate points` first"),
    "plot of a damaged result": ("plot damaged --out p.png", "evaluation.json is damaged: run `shortcut evaluate"),
    "plot of other steps": ("plot run --steps 64 --out p.png", "no run has results of these steps and measures"),
    "plot into another kind": ("plot run --out p.gif", "p.gif must end in .png"),
    "plot against time": ("plot run --against time --out p.png", "--against must be one of steps, size, not 'time'"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    tiny_inception(place / "tiny.pt")
    tiny_inception(place / "other.pt", seed=1)
    data = make_npz(place, pictures(40), None)
    make_folder(place / "data", pictures(12), None)
    torn = Path(make_folder(place / "torn", pictures(12), None)) / "003.png"
    torn.write_bytes(torn.read_bytes()[:50])
    make_folder(place / "mixed", pictures(12), None)
    (place / "mixed" / "003.png").write_bytes(png(pictures(1, side=10)[0]))
    (place / "text.npz").write_text("words")
    np.savez(place / "images.npz", images=pictures(12))
    Reference(np.zeros(2048), np.eye(2048)).save(place / "more.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        train(place / "run", options=("train", "images", *DIGITS[2:], "--data", data))
        train(place / "points", options=POINTS)
        words = (
            "fid-stats",
            "--data",
            data,
            "--inception",
            place / "tiny.pt",
            "--trust-file",
            "--out",
            place / "good.npz",
        )
        assert shortcut(*words).code == 0
        assert shortcut("evaluate", place / "run", "--num", 10, "--steps", 1).code == 0
    (place / "damaged").mkdir()
    (place / "damaged" / "config.json").write_bytes((place / "run" / "config.json").read_bytes())
    (place / "damaged" / "evaluation.json").write_text('{"steps": 3}')
    return place


@pytest.mark.parametrize("name", TABLE)
def test_fid_refusals(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    words, message = TABLE[name]
    monkeypatch.chdir(place)
    assert_refused(words, message, unchanged=place)


def test_too_few_samples_or_images_are_warned_of(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    np.savez("few.npz", mu=np.zeros(FEATURES), sigma=np.eye(FEATURES), count=FEATURES)
    words = ("--inception", "tiny.pt", "--trust-file", "--steps", 1, "--num", FEATURES, "--fid-stats", "few.npz")
    done = shortcut("evaluate", "run", *words)
    assert done.code == 0
    warned = [line for line in done.err.splitlines() if "shortcut: warning: " in line]
    for line, what in zip(warned, ("samples", "reference images"), strict=True):
        assert f"FID with {FEATURES} {what} is too high, as there are {FEATURES} features" in line
    enough = next(c for c in json.loads(Path("run/fid.json").read_text())["checks"] if c["what"] == "enough")
    assert not enough["ok"]


# The checks that stand below the table


def found(images: np.ndarray, reference: Reference, best: float = 1.0) -> dict[str, bool]:
    """Of each check whether all is well, for samples that look like these."""
    task = Images("none", 8, 1, 0)
    network = MLPConfig(width=4, depth=1).build(task.shape, {})

    class Four:
        size, fingerprint = 4, ""

        def __call__(self, images: np.ndarray) -> np.ndarray:
            raise NotImplementedError

    digests = np.array([hash(image.tobytes()) & (2**63 - 1) for image in images], np.uint64)
    made = SampleFeatures(np.zeros((0, 4), np.float32), digests, brightness(images), 0.0)
    sampler = FidSampler(Model(network, FlowMatching(), task), Four(), 0, 1.0, Path("none"))
    lines = checks(sampler, {1: made}, reference, len(images), best)
    return {line["what"]: line["ok"] for line in lines}


def reference_of(images: np.ndarray, **more: object) -> Reference:
    rng = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    facts = {"count": 60, "pixels": (images.mean(), images.std()), "image_shape": (8, 8, 1), "features": rng}
    return Reference(rng.mean(0).astype(float), np.cov(rng.astype(float), rowvar=False), **(facts | more))  # type: ignore[arg-type]


def test_good_samples_pass_every_check() -> None:
    images = pictures(30)[..., None]
    assert all(found(images, reference_of(images)).values())
    assert all(found(images, Reference(np.zeros(4), np.eye(4))).values())


def test_bad_samples_fail_their_check() -> None:
    images = pictures(30)[..., None]
    good = reference_of(images)
    for what, made, reference, best in (
        ("distinct", np.repeat(images[:3], 10, 0), good, 1.0),
        ("pixels", (images / 255).astype(np.uint8), good, 1.0),  # decoded to 0 ... 1
        ("pixels", 128 + images // 2, good, 1.0),  # [-1, 1] taken for [0, 1]
        ("size", images, reference_of(images, image_shape=(16, 16, 1)), 1.0),
        ("enough", images[:4], good, 1.0),
        ("enough", images, reference_of(images, count=4), 1.0),
        ("real-vs-real", images, good, 0.0),  # nearer than real images: the reference's own images, perhaps
    ):
        assert not found(made, reference, best)[what]


def test_a_model_file_keeps_its_samples_in_the_cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    done = shortcut("evaluate", "run/checkpoints/00000012/model.safetensors", *FID.split())
    assert done.code == 0, done.err
    assert sorted(place.rglob("*")) == before
