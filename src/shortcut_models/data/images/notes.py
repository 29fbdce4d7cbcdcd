"""What a reader finds beside the images that it reads: files skipped, labels, and what looks odd."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

IMAGE = re.compile(
    r"\.(a?png|jpe?g|jpe|jfif|jp2|j2k|jpx|jpf|j2c|mpo|webp|avif|avifs|bmp|dib|gif|tiff?|p[bgnp]m|pfm|tga|qoi|dds|sgi|pcx|psd)$",
    re.IGNORECASE,
)
"""what the name of an image ends in"""
_DOCUMENT = re.compile(r"(readme|licen[cs]e|copying|citation|changelog|\w*sums)\b", re.IGNORECASE)
_LEFTOVERS = frozenset((
    "__macosx", "@eadir", "@recycle", "@recently-snapshot", "@tmp", "lost+found", "$recycle.bin", "#recycle",
    "#snapshot", "__pycache__", "system volume information",
))  # fmt: skip
"""folders that systems and programs leave behind, in lower case"""
_OTHERS = frozenset((".git", ".github", ".svn", ".hg", ".dvc", ".cache", ".huggingface"))
"""hidden folders that never hold images of the user"""


@dataclass(frozen=True)
class Notes:
    """What is said of data beside the number and size of its images."""

    left_out: dict[str, int] = field(default_factory=dict)
    """how many of what were skipped; "(s)" in the words of what is where the plural is"""
    remarks: tuple[str, ...] = ()
    """what may be wrong, a clause each"""
    labels: str = ""
    """where the labels are, where names of folders do not say it"""

    def __add__(self, other: "Notes") -> "Notes":
        counts = dict(Counter(self.left_out) + Counter(other.left_out))
        return Notes(counts, tuple(dict.fromkeys(self.remarks + other.remarks)), self.labels or other.labels)

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Notes":
        """Return the notes that `dataclasses.asdict` made an entry of."""
        return cls(dict(entry["left_out"]), tuple(entry["remarks"]), entry["labels"])

    @property
    def warnings(self) -> list[str]:
        """What was left out, and the remarks."""
        counts = [f"{n:,} {what.replace('(s)', 's' * (n > 1))}" for what, n in sorted(self.left_out.items())]
        return ["left out: " + ", ".join(counts)] * bool(counts) + list(self.remarks)


def is_leftover(name: str) -> bool:
    """Return whether a name is hidden, or that of a folder that a system leaves behind."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def note_leftover(name: str, is_folder: bool, left_out: Counter[str]) -> None:
    """Count a leftover, unless its name says that it cannot hold an image."""
    if is_folder and name.startswith("."):
        left_out["hidden folder(s)"] += name.lower() not in _OTHERS
    elif is_folder:
        left_out[f"{name} folder(s)"] += 1
    elif IMAGE.search(name):
        left_out[f"hidden {Path(name).suffix.lower()} file(s)"] += 1


def note_file(name: str, left_out: Counter[str], what: str = "file(s)") -> None:
    """Count a file or member that is not read, by its suffix."""
    suffix = Path(name).suffix.lower()
    if not _DOCUMENT.match(name):
        left_out[f"{suffix} {what}" if suffix else f"{what} without a suffix"] += 1


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its suffix or, where it has none, by its first bytes."""
    if path.suffix or not path.is_file():
        return bool(IMAGE.search(path.name))
    try:
        with Image.open(path):
            return True
    except Exception:  # not an image, or so damaged that nothing says that it is one
        return False
