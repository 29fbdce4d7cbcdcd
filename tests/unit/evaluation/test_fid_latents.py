"""FID of latents: samples follow from the autoencoder that decodes them, which may be put in the place of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers")

from helpers.fid_files import tiny_inception
from helpers.vaes import LATENT, SIDE, save_kl
from shortcut_models.evaluation.fid_samples import FidSampler
from shortcut_models.evaluation.inception import Inception
from shortcut_models.models.model import Model
from shortcut_models.networks import MLPConfig
from shortcut_models.objectives import FlowMatching
from shortcut_models.tasks import Latents
from shortcut_models.tasks.latents.autoencoder import _open


def sampler_of(place: Path) -> FidSampler:
    """A sampler as a new process has it, with the VAE that lies there now."""
    _open.cache_clear()
    task = Latents(vae=str(place / "kl"), image_size=SIDE, classes=0, latent_shape=LATENT, vae_sha256="of the training")
    network = MLPConfig(width=4, depth=1).build(task.shape, {})
    for parameter in network.parameters():
        parameter.data.zero_()
    return FidSampler(
        Model(network, FlowMatching(), task), Inception(place / "tiny.pt", trust=True), 0, 1.0, place / "fid"
    )


def test_samples_of_another_vae_in_the_same_place_are_not_taken(tmp_path: Path) -> None:
    tiny_inception(tmp_path / "tiny.pt")
    right, wrong, seen = save_kl(tmp_path / "right"), save_kl(tmp_path / "wrong", seed=5), []
    for source in (right, wrong, right):
        shutil.rmtree(tmp_path / "kl", ignore_errors=True)
        shutil.copytree(source, tmp_path / "kl")
        sampler = sampler_of(tmp_path)
        missing = sampler.cache(1).missing(3)
        if missing:
            sampler.make(sampler.cache(1), 1, missing)
        seen.append((missing, sampler.cache(1).read(3).features))
    assert [missing for missing, _ in seen] == [[0, 1, 2], [0, 1, 2], []]
    assert (seen[0][1] == seen[2][1]).all()
    assert (seen[0][1] != seen[1][1]).any()


def test_another_scale_is_another_vae(tmp_path: Path) -> None:
    tiny_inception(tmp_path / "tiny.pt")
    save_kl(tmp_path / "kl")
    before, config = sampler_of(tmp_path).key, tmp_path / "kl" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 0.25}))
    assert sampler_of(tmp_path).key != before
