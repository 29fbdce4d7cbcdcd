"""Reading the frames of a video in order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ...errors import UserError
from .frames import import_extra


class Video:
    """A video that is decoded once, from its start.

    Raises:
        UserError: it cannot be decoded.
    """

    def __init__(self, path: Path, rate: float) -> None:
        """Open a video; `rate` is the data set's number of frames per second."""
        import_extra("av", "videos")
        self.path, self.rate, self.position = path, rate, 0
        self._decoded = self._decode()

    def frames(self, start: int, count: int) -> UInt8[np.ndarray, "count height width 3"]:
        """Return the frames start, ..., start + count - 1, which must come after those of the last call."""
        found: list[np.ndarray] = []
        while len(found) < count:
            try:
                number, pixels = next(self._decoded)
            except StopIteration:
                raise UserError(
                    f"the video {self.path.name} ends at frame {self.position}, before frame {start + len(found)}: "
                    f"copy it again"
                ) from None
            self.position = number + 1
            if number == start + len(found):
                found.append(pixels)
            elif number > start + len(found):
                raise UserError(
                    f"the video {self.path.name} lacks frame {start + len(found)} at {self.rate:g} frames a second: "
                    f"record it again"
                )
        return np.stack(found)

    def _decode(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield every frame with its number, computed from its time."""
        import av

        try:
            with av.open(str(self.path)) as container:
                for frame in container.decode(video=0):
                    yield round(float(frame.time or 0.0) * self.rate), frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, OSError, IndexError) as error:
            raise UserError(f"the video {self.path.name} cannot be decoded ({error}): copy it again") from None
