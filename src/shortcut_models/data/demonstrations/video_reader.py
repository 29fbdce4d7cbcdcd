"""Frames of a video, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...errors import UserError
from .frames import library


class Video:
    """A video that is decoded from its beginning on, once.

    Raises UserError where it does not decode.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """rate: frames a second, as the data set has it."""
        library("av", "videos")
        self.path, self.rate, self.place = path, rate, 0
        self._decoded = self._decode()

    def frames(self, start: int, count: int) -> UInt8[np.ndarray, "count height width 3"]:
        """Frames start, ..., start + count - 1, which must not lie before those of the last call."""
        found: list[np.ndarray] = []
        while len(found) < count:
            try:
                number, pixels = next(self._decoded)
            except StopIteration:
                raise UserError(
                    f"the video {self.path.name} ends at frame {self.place}, and frame {start + len(found)} is needed: "
                    f"copy it again"
                ) from None
            self.place = number + 1
            if number == start + len(found):
                found.append(pixels)
            elif number > start + len(found):
                raise UserError(
                    f"the video {self.path.name} lacks frame {start + len(found)} at {self.rate:g} frames a second: "
                    f"record it again"
                )
        return np.stack(found)

    def _decode(self) -> Iterator[tuple[int, np.ndarray]]:
        """Every frame with its number, which its time tells."""
        import av

        try:
            with av.open(str(self.path)) as container:
                for frame in container.decode(video=0):
                    yield round(float(frame.time or 0.0) * self.rate), frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError, IndexError) as error:
            raise UserError(f"the video {self.path.name} does not decode ({error}): copy it again") from None
