"""The tasks, by name. A new one is a file here and a line below."""

from ..base import Task
from .digits import Digits
from .toy import Toy

TASKS: dict[str, type[Task]] = {
    "toy": Toy,
    "digits": Digits,
}

__all__ = ["TASKS", "Digits", "Toy"]
