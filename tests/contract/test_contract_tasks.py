"""What every task and every environment owes the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch

from helpers.demonstrations import make_native
from helpers.image_files import make_folder, make_npz, pictures, some_labels
from helpers.vaes import photos, save_tiny
from shortcut_models.base import Task
from shortcut_models.checks import check_environment, check_task
from shortcut_models.errors import UserError
from shortcut_models.policies.environments import ENVIRONMENTS
from shortcut_models.tasks import TASKS, Digits, FromDataset, Images, Imitation, ImportedModel, Latents, Toy
from shortcut_models.tasks.toy import Distribution

TRIED: dict[str, Callable[[Path], Task]] = {
    **{name: lambda _, name=name: Toy(name, size=2000) for name in get_args(Distribution)},
    "digits": lambda _: Digits(),
    "images": lambda path: Images(make_folder(path / "images", pictures(60), some_labels(60))),
    "images-colour": lambda path: Images(make_npz(path, pictures(60, colour=True), None)),
    "latents": lambda path: Latents(photos(path / "photos"), vae=save_tiny(path / "vae")),
    "dataset": lambda _: FromDataset((5 + torch.rand(300, 2) * torch.tensor([1.0, 4.0]), torch.arange(300) % 3)),
    "imitation": lambda path: Imitation(data=str(make_native(path)), chunk=4, execute=2),
}


@pytest.mark.parametrize("name", TRIED)
def test_tasks(name: str, tmp_path: Path) -> None:
    task = TRIED[name](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Random pixels stand in for pictures here, so noise is as good, and a random autoencoder for a trained one.
        warnings.filterwarnings("ignore", message="by '|encode returns numbers that deviate")
        check_task(task)


def test_every_task_is_tried(tmp_path: Path) -> None:
    assert {type(make(tmp_path / name)) for name, make in TRIED.items() if name != "latents"} | {
        Latents,
        ImportedModel,
    } == set(TASKS.values())
    with pytest.raises(UserError, match="this model came without its data"):
        check_task(ImportedModel())


@pytest.mark.needs_extra
@pytest.mark.long
@pytest.mark.parametrize("name", [name if name != "meta-world" else f"{name}/reach-v3" for name in ENVIRONMENTS])
def test_environments(name: str) -> None:
    try:
        check_environment(name)
    except UserError as error:
        if "needs an extra" in str(error):
            pytest.skip(str(error))
        raise
