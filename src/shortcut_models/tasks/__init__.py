"""The tasks, by name. A new one is a file here and a line below."""

from ..base import Task
from .digits import Digits
from .from_dataset import FromDataset
from .images import Images
from .imitation import Imitation
from .imported import ImportedModel
from .latents.task import Latents
from .toy import Toy

TASKS: dict[str, type[Task]] = {
    "toy": Toy,
    "digits": Digits,
    "images": Images,
    "latents": Latents,
    "imported": ImportedModel,
    "imitation": Imitation,
    "dataset": FromDataset,
}

__all__ = ["TASKS", "Digits", "FromDataset", "Images", "Imitation", "ImportedModel", "Latents", "Toy"]
