"""Models in the layout of the Hugging Face Hub: a folder or repository of `config.json` and `model.safetensors`."""

from pathlib import Path
from typing import Any

from ..errors import UserError
from .loading import load
from .model import Model
from .saving import LAYOUT, write_layout

try:
    from huggingface_hub import ModelHubMixin, snapshot_download
except ImportError:
    raise UserError("the Hub's layout needs an extra: pip install 'shortcut-models[hub]'") from None

HUB_OPTIONS = ("revision", "cache_dir", "force_download", "local_files_only", "token")


class HubModel(
    Model,
    ModelHubMixin,
    library_name="shortcut-models",
    tags=["shortcut-models"],
    pipeline_tag="unconditional-image-generation",
):
    """A `Model` that can be saved to a folder or to the Hub, and loaded from there.

    Nothing in `config.json` is run. It has the Hub name or path of a task's VAE, which is needed to make images.
    """

    @classmethod
    def of(cls, model: Model) -> "HubModel":
        """Return the same model with `save_pretrained(folder)` and `push_to_hub("name/of-repository")`."""
        return cls(model.network, model.objective, model.task, model.step, model.recipe, model.precision)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "HubModel":
        """Load the model of a folder, or of a name on the Hub.

        options: those of the Hub (revision, token, cache_dir, ...) and of `load` (device, network, ...). Raises
        UserError if the model does not exist, is damaged, or was not saved by shortcut-models.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **options)
        except UserError:
            raise
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"could not load {pretrained_model_name_or_path} from the Hub: {reason}") from None

    def _save_pretrained(self, save_directory: Path) -> None:
        write_layout(self, save_directory)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **parts: Any) -> "HubModel":
        hub_options = {name: parts.pop(name) for name in HUB_OPTIONS if name in parts}
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(snapshot_download(model_id, allow_patterns=list(LAYOUT), **hub_options))
        for name in LAYOUT:
            if not (folder / name).is_file():
                raise UserError(f"{model_id} does not have {name}: choose a complete folder")
        return cls.of(load(folder, **parts))
