"""The tasks, by name. A new one is a file here and a line below."""

from ..base import Task
from .digits import Digits
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
}

__all__ = ["TASKS", "Digits", "Images", "Imitation", "ImportedModel", "Latents", "Toy"]
