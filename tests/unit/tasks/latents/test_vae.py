"""Autoencoders: the units of their latents, and what is said of those that do not fit."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.image_files import pictures
from helpers.vaes import CATS, LATENT, SIDE, TAESD, as_batch, needs_shared, save_kl, save_tiny
from shortcut_models import UserError
from shortcut_models.tasks.latents.autoencoder import _open, open_vae

pytestmark = pytest.mark.needs_extra


@pytest.fixture(scope="module")
def kl(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_kl(tmp_path_factory.mktemp("vaes") / "kl")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(tmp_path_factory.mktemp("vaes") / "tiny")


IMAGES = as_batch(pictures(3, SIDE, colour=True))


def test_latents_are_those_of_diffusers_less_the_shift_times_the_scale(kl: str) -> None:
    from diffusers import AutoencoderKL

    mean, std = open_vae(kl).encode(IMAGES)
    with torch.no_grad():
        truth = AutoencoderKL.from_pretrained(kl).eval().encode(IMAGES.float() / 127.5 - 1).latent_dist
    assert mean.shape == std.shape == (3, *LATENT) == (3, *open_vae(kl).latent_shape(SIDE))
    torch.testing.assert_close(mean, (truth.mean - 0.1) * 0.5)
    torch.testing.assert_close(std, truth.std * 0.5)


def test_images_are_those_of_diffusers(kl: str) -> None:
    from diffusers import AutoencoderKL

    latents = torch.randn(3, *LATENT)
    made = open_vae(kl).decode(latents)
    with torch.no_grad():
        truth = AutoencoderKL.from_pretrained(kl).eval().decode(latents / 0.5 + 0.1).sample
    assert made.dtype == np.uint8
    assert made.shape == (3, SIDE, SIDE, 3)
    expected = ((truth.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(made - expected).max() <= 0.501


def test_a_mean_and_deviation_for_each_channel_are_used(tmp_path: Path) -> None:
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.0, 2.0, 0.5, 4.0]
    plain = open_vae(save_kl(tmp_path / "plain", shift_factor=None, scaling_factor=1.0))
    each = open_vae(save_kl(tmp_path / "each", latents_mean=mean, latents_std=std, scaling_factor=0.5))
    (m0, s0), (m1, s1) = plain.encode(IMAGES), each.encode(IMAGES)
    column = lambda values: torch.tensor(values).view(1, 4, 1, 1)
    torch.testing.assert_close(m1, (m0 - column(mean)) * 0.5 / column(std))
    torch.testing.assert_close(s1, s0 * 0.5 / column(std))


def test_a_tiny_autoencoder_has_no_spread(tiny: str) -> None:
    vae = open_vae(tiny)
    mean, std = vae.encode(IMAGES)
    assert vae.deterministic
    assert mean.shape == (3, *LATENT)
    assert not std.any()


def test_batches_change_nothing(kl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, latents = open_vae(kl), torch.randn(3, *LATENT)
    whole = *vae.encode(IMAGES), torch.from_numpy(vae.decode(latents))
    monkeypatch.setattr("shortcut_models.tasks.latents.autoencoder.PIXELS_AT_ONCE", 2 * SIDE**2)
    parts = *vae.encode(IMAGES), torch.from_numpy(vae.decode(latents))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=1, rtol=1e-4)


def test_torchvision_stays_out(kl: str) -> None:
    open_vae(kl)
    assert "torchvision" not in sys.modules


def decibels(made: np.ndarray, images: np.ndarray) -> float:
    """The peak signal-to-noise ratio of images."""
    return 10 * math.log10(255**2 / np.square(made - images).mean())


@pytest.mark.long
@needs_shared
def test_cats_come_back_from_the_tiny_autoencoder_of_stable_diffusion() -> None:
    import tarfile

    with tarfile.open(CATS) as archive:
        members = [archive.next() for _ in range(4)]
        arrays = [np.asarray(Image.open(archive.extractfile(m)).convert("RGB")) for m in members if m is not None]  # type: ignore[arg-type]
    images = np.stack(arrays)
    vae = open_vae(str(TAESD))
    latents, _ = vae.encode(as_batch(images))
    assert latents.shape == (4, 4, 32, 32)
    assert float(latents.std()) == pytest.approx(0.79, abs=0.08)
    from diffusers import AutoencoderTiny

    alone = AutoencoderTiny.from_pretrained(str(TAESD), low_cpu_mem_usage=False).eval()
    with torch.no_grad():
        made = alone.decode(alone.encode(as_batch(images).float() / 127.5 - 1).latents).sample.clamp(-1, 1)
    truth = (made.permute(0, 2, 3, 1).double().numpy() + 1) * 127.5
    ours, theirs = (decibels(each, images) for each in (vae.decode(latents).astype(float), truth))
    assert ours == pytest.approx(theirs, abs=0.02)
    assert ours > 24


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def cut(folder: Path) -> None:
    path = folder / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (
        without("config.json"),
        "does not have a config.json: pass --vae with the folder of an Auto",
    ),
    "no weights": (without("diffusion_pytorch_model.safetensors"), "cannot be read"),
    "config is not JSON": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "another kind": (with_config(_class_name="VQModel"), "is of the kind VQModel: pass --vae with"),
    "weights cut off": (cut, "cannot be read"),
    "other widths": (with_config(block_out_channels=[16, 16, 16]), "cannot be read"),
    "more layers": (with_config(layers_per_block=2), "do not fit its config.json"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_vae_at_fault_is_one_line(kl: str, tmp_path: Path, name: str) -> None:
    shutil.copytree(kl, tmp_path / "vae")
    spoil, message = FAULTS[name]
    spoil(tmp_path / "vae")
    with pytest.raises(UserError) as caught:
        open_vae(str(tmp_path / "vae"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_vae_of_a_whole_pipeline_and_of_half_precision_weights_alone_opens(tmp_path: Path) -> None:
    plain = save_kl(tmp_path / "plain")
    shutil.copytree(plain, tmp_path / "pipeline" / "vae")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    assert open_vae(str(tmp_path / "pipeline")).sha256 == open_vae(plain).sha256
    weights = tmp_path / "pipeline" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    network = open_vae(plain).network
    type(network).from_pretrained(plain).half().save_pretrained(weights.parent, variant="fp16")
    _open.cache_clear()
    found = open_vae(str(tmp_path / "pipeline"))
    assert {weight.dtype for weight in found.network.parameters()} == {torch.float32}
    for name, weight in found.network.state_dict().items():
        torch.testing.assert_close(weight, network.state_dict()[name], atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("owner/sd", [("owner/sd", None), ("owner/sd", "vae")]),
        ("owner/sd/vae", [("owner/sd", "vae")]),
    ],
)
def test_a_name_on_the_hub_may_be_that_of_a_pipeline_or_a_subfolder(
    monkeypatch: pytest.MonkeyPatch, name: str, tried: list[tuple[str, str | None]]
) -> None:
    from diffusers import AutoencoderKL

    asked = []

    def load_config(pretrained_model_name_or_path: str, subfolder: str | None = None) -> dict[str, str]:
        asked.append((pretrained_model_name_or_path, subfolder))
        if subfolder is None:
            raise OSError("no file config.json")
        return {"_class_name": "VQModel"}

    monkeypatch.setattr(AutoencoderKL, "load_config", load_config)
    with pytest.raises(UserError, match=f"{name} is of the kind VQModel"):
        open_vae(name)
    assert asked == tried


def test_two_ends_of_other_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="turns images of 5 channels into images of 3"):
        open_vae(save_kl(tmp_path / "vae", in_channels=5))


def test_a_path_or_a_file_that_is_no_vae_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("./nowhere", "nowhere", "/nowhere/at/all"):
        with pytest.raises(UserError, match=r"there is no VAE in .*nowhere.*: pass --vae"):
            open_vae(name)
    (tmp_path / "vae.pt").touch()
    with pytest.raises(UserError, match="is a file"):
        open_vae(str(tmp_path / "vae.pt"))


def test_a_name_that_the_hub_does_not_have_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the VAE no-one/nothing-of-this-name does not exist or") as caught:
        open_vae("no-one/nothing-of-this-name")
    assert "\n" not in str(caught.value)


def test_a_vae_without_diffusers_names_the_extra(kl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _open.cache_clear()
    monkeypatch.setitem(sys.modules, "diffusers", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"pip install 'shortcut-models\[diffusion\]'"):
        open_vae(kl)


def test_images_and_latents_that_do_not_fit_are_refused(kl: str) -> None:
    vae = open_vae(kl)
    with pytest.raises(UserError, match=r"images of side 18 do not fit .* a multiple of 4"):
        vae.encode(torch.zeros(1, 3, 18, 18, dtype=torch.uint8))
    with pytest.raises(UserError, match="takes 3 channels, not 1"):
        vae.encode(IMAGES[:, :1])
    with pytest.raises(UserError, match="decodes latents of 4 channels, not 16: pass --vae"):
        vae.decode(torch.zeros(1, 16, 4, 4))
