"""The user's own images: a folder, tar shards, an .npz file, MNIST-style idx files or a table of Hugging Face."""

import functools
import warnings
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

import annotated_types as at
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..base import Label, Task, X
from ..config import DERIVED
from ..data.arrays import ArrayDataset
from ..data.images import ImageSet, ImageSource, InPlaceSet, Reading
from ..data.images.hugging_face import PREFIX
from ..data.images.layout import ACCEPTED
from ..data.images.notes import Notes
from ..errors import UserError
from ..system.files import absolute_path
from ..system.hashing import hash_bytes
from .image_data import describe_images, draw_examples, notes_on_labels
from .pixel_metrics import PixelJudge, fair_sample

_NO_LABELS = "leave --task.classes out, or add labels (a folder for each class, metadata.csv, KEY.cls in shards)"


class PictureTask(Task):
    """Pictures, [n, height, width, channels] in uint8, which may have labels."""

    classes: int | None

    @property
    def conditions(self) -> dict[str, Label]:
        return {"label": Label(self.classes)} if self.classes else {}

    def pictures(self, split: str) -> ImageSet | InPlaceSet:
        """Return the real pictures of a split, or a fair sample of them, for `evaluate`."""
        raise NotImplementedError

    @functools.cached_property
    def _judge(self) -> PixelJudge:
        return PixelJudge(self.pictures("train"), self.pictures("test"), labelled=bool(self.classes))

    def evaluate(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Return the closeness to the held-out images in pixels; with labels, how often a classifier agrees."""
        return self._judge(samples, labels)

    def evaluate_real(self, num: int) -> dict[str, float]:
        data = self.pictures("train")
        pixels, _ = data.read(fair_sample(len(data), num))
        measures = self.evaluate(np.asarray(pixels).transpose(0, 2, 3, 1), np.full(len(pixels), -1))
        return measures | ({} if self._judge.classifier is None else {"accuracy": self._judge.accuracy_real})

    def draw(self, samples: np.ndarray, columns: int) -> Image.Image:
        """Draw pictures in rows; small ones are enlarged."""
        from ..drawing.sheets import grid

        return grid(samples, columns, scale=max(1, 64 // samples.shape[1]))

    def draw_data(self) -> Image.Image:
        """Draw examples of each class, with its number and name, or of all images where there are no labels."""
        return draw_examples(self, self.pictures("train"))


@dataclass(frozen=True)
class Images(PictureTask):
    """Square images, with labels where the data has them; task units are uint8, [n, side, side, channels].

    What the data decides is filled in by `resolve`, and from then on the task is complete: only `dataset` and
    `evaluate` look at the files again.

    The data may be

    - a folder of images; where they are in sub-folders, the sorted names of those are the classes;
    - tar shards: one file, a folder of them, or a pattern such as "shards/{000..003}.tar"; KEY.png goes with KEY.cls,
      the number of its class in plain text; without any labels, class folders inside them are read as in a folder;
    - an .npz file with `images` [n, H, W] or [n, H, W, C], uint8 or floats from 0 to 1, and perhaps `labels` [n];
    - idx files as those of MNIST, plain or .gz, with the labels' file beside the images';
    - a table of Hugging Face `datasets`: hf:NAME or hf:NAME:CONFIG, a folder that `save_to_disk` wrote, or one of
      Parquet files.

    A folder may hold the two parts train and test (or val), as sub-folders or in the names of its files. Without a
    test part a tenth, at most 5,000 images, is held out.

    A part of up to 8 GiB of pixels is decoded once, into an array. From then on, and where `reading` says so, images
    stay where they are, and each is read and decoded when its turn comes; the pixels are the same.
    """

    data_help: ClassVar[str] = ACCEPTED
    primary_metric: ClassVar[str] = "pixel_frechet"

    data: str | None = None
    """folder, tar shards, .npz file, idx files or hf:NAME; a relative path starts from where a command is given"""
    image_size: Annotated[int | None, at.Ge(1)] = None
    """side in pixels; the shorter side is resized to it and the centre cropped; none: the images' own"""
    channels: Literal[1, 3] | None = None
    """1 is grey, 3 is colour; none: what the data has"""
    classes: Annotated[int | None, at.Ge(0)] = None
    """number of classes; 0 leaves the labels out; none: what the data has"""
    class_names: tuple[str, ...] = field(default=(), metadata=DERIVED)
    """names of the classes: filled in from the data's sub-folders or its table"""
    flip: bool = True
    """mirror half of the training images, left to right; wrong for text and digits"""
    skip_damaged: bool = False
    """leave out images that cannot be read, and say how many, instead of stopping at the first; where images are read
    in place, the next one takes the place of each"""
    reading: Reading = "auto"
    """memory decodes all images once, into an array; in-place reads each where it is when its turn comes; auto is
    in-place from 8 GiB of pixels on"""
    images_sha256: str = field(default="", metadata=DERIVED)
    """fingerprint of the images of both parts in their order: of pixels and labels; where they stay in place, of names
    and labels. Filled in from the data"""

    def resolve(self) -> "Images":
        """Return the task with its size, channels and classes; the path to the data stays as it was given.

        Reads all images, or the copy of them in the cache folder; where they stay in place, only some.
        """
        if self.data is None:
            raise UserError(f"images needs data: pass --data with {ACCEPTED}")
        if self.images_sha256 and "_source" in vars(self):
            return self
        source = replace(self)._source  # its own: a task that is resolved again reads again
        train, test = source.train, source.test
        channels, size, _ = train.shape
        classes = 0 if self.classes == 0 else self._count_classes(train, test)
        sha256 = hash_bytes(train.sha256.encode(), test.sha256.encode())
        resolved = replace(
            self, image_size=size, channels=1 if channels == 1 else 3, classes=classes,
            class_names=train.class_names if classes else (), images_sha256=sha256,
        )  # fmt: skip
        vars(resolved)["_source"] = source
        if found := resolved._notes.warnings:
            warnings.warn(f"{self.data}: {'; '.join(found)}", stacklevel=2)
        return resolved

    @functools.cached_property
    def _notes(self) -> Notes:
        """What is said of the data beside its size and its classes."""
        train, test = self._source.train, self._source.test
        skipped = train.skipped + test.skipped
        notes = self._source.notes + Notes({"damaged image(s)": skipped} if skipped else {})
        return notes_on_labels(notes, self.classes or 0, train.labels)

    def describe_data(self) -> str:
        """Return the number, size and classes of the images, and what was left out; "" before `resolve`."""
        if not self.images_sha256:
            return ""
        train, test = self._source.train, self._source.test
        return describe_images(self, len(train), len(test), self.data_notes)

    @property
    def data_notes(self) -> list[str]:
        """What is said of the data beside its size and classes: where the labels are, and what was left out."""
        return [*filter(None, [self._notes.labels]), *self._notes.warnings]

    @functools.cached_property
    def _source(self) -> ImageSource:
        return ImageSource(self.location, self.image_size, self.channels, self.skip_damaged, self.reading)

    def own_side(self) -> int:
        """Return the shorter side of the first image of the data that can be read."""
        if self.data is None:
            raise UserError(f"images needs data: pass --data with {ACCEPTED}")
        return self._source.first_side()

    def _count_classes(self, train: ImageSet | InPlaceSet, test: ImageSet | InPlaceSet) -> int:
        """Return the number of classes, after a check that the labels make sense."""
        data, most, wrong = self.data, train.classes - 1, ""
        if (train.labels is None) != (test.labels is None):
            labelled, bare = ("train", "test") if test.labels is None else ("test", "train")
            wrong = f"in {data} the {labelled} part has labels and the {bare} part has none: add them"
        elif train.class_names != test.class_names:
            odd = min(set(train.class_names) ^ set(test.class_names), default="one has numbers only")
            wrong = f"the classes of train and test in {data} differ ({odd}): use the same in both"
        elif test.classes > train.classes:
            wrong = f"test labels in {data} go up to {test.classes - 1}, train labels to {most}"
            wrong += ": number the classes of both alike"
        if wrong:
            raise UserError(f"{wrong}, or pass --task.classes 0 to leave labels out")
        images = len(train) + len(test) + train.skipped + test.skipped
        if train.classes > images:
            raise UserError(f"labels in {data} go up to {most} for {images} images: number the classes from 0")
        if self.classes is not None and not train.classes:
            raise UserError(f"{self.data} has no labels, not {self.classes} classes: {_NO_LABELS}")
        if self.classes is not None:
            check_classes(self.data, train.classes, self.classes)
        return train.classes

    @property
    def shape(self) -> tuple[int, ...]:
        if self.image_size is None or self.channels is None:
            raise UserError("the size of the images is not known yet: use the task that resolve() returns")
        return (self.channels, self.image_size, self.image_size)

    @property
    def location(self) -> str:
        """The data's absolute path, or its name in the Hub."""
        data = str(self.data)
        return data if data.startswith(PREFIX) else absolute_path(data)

    def pictures(self, split: str) -> ImageSet | InPlaceSet:
        return self._source.train if split == "train" else self._source.test

    def dataset(self, split: str) -> ArrayDataset | InPlaceSet:
        found = self.pictures(split)
        if isinstance(found, InPlaceSet):
            return found if self.classes else replace(found, labels=None)
        cond = {"label": torch.from_numpy(found.labels)} if self.classes and found.labels is not None else {}
        return ArrayDataset(torch.from_numpy(found.pixels), cond)

    def encode(self, raw: Tensor) -> X:
        """Turn uint8 [b, C, H, W] into float32 from -1 to 1."""
        return raw.float() / 127.5 - 1

    def decode(self, x: X) -> np.ndarray:
        """Return uint8 [n, H, W, C], also where C is 1."""
        pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def augment(self, x: X) -> X:
        """Mirror each image with probability one half, where `flip` is set."""
        if not self.flip:
            return x
        mirrored = torch.rand(len(x), device=x.device) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def check_classes(data: str | None, found: int, asked: int) -> None:
    """Raise UserError where other classes are asked for than the data has: fewer, or some that nothing would train."""
    if asked != found:
        raise UserError(
            f"{data} has {found} classes, not {asked}: pass --task.classes {found}, or 0 to leave labels out"
        )
