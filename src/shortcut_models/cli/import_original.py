"""The command `shortcut import-original`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ..text import quote
from .parser import Command


@dataclass(frozen=True, kw_only=True)
class ImportOriginal(Command):
    file: Positional[Path]
    """checkpoint, a pickle; nothing in it is run"""
    out: Path
    """run directory, new or empty"""
    num_heads: int
    """number of attention heads, as in its training"""
    image_size: int
    """side of its images or latents in pixels"""
    raw: bool = False
    """import the parameters themselves, not their average"""
    objective: str = "shortcut"
    """name of the method it was trained with"""

    def __call__(self) -> None:
        from ..original.import_run import import_original

        found = import_original(
            self.file, self.out, num_heads=self.num_heads, image_size=self.image_size, ema=not self.raw,
            objective=self.objective,
        )  # fmt: skip
        print(f"{found}: try `shortcut sample {quote(self.out)} --steps 1 4 128 --out samples.npz`")
