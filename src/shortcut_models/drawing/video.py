"""Videos from a generator of frames: H.264 in MP4 with PyAV, or a GIF with Pillow."""

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageColor

from ..errors import UserError
from ..system.files import writing

Frame = UInt8[np.ndarray, "rows columns 3"]

GIF_RATE = 10  # frames a second of a GIF at most: its clock counts hundredths, and more make it large
GIF_WIDTH, MP4_WIDTH = 640, 1280  # pixels that a frame is wide at most
LOOKED_AT = 64  # first frames of a GIF from which its colours are taken
COLOURS = 96  # in the palette of a GIF, beside those that are given
NEAR = 14
"""levels of red, green or blue by which the other colours differ at least from those that are given: Pillow takes the
colour that is nearest to the middle of 8 levels"""


def check_video(path: Path) -> None:
    """Raise UserError where a video cannot be written: the name has another ending, or a package is missing."""
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"the name of {path} must end in .mp4 or .gif: choose another")
    if path.suffix == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise UserError("MP4 needs an extra: pip install 'shortcut-models[video]', or choose a .gif") from None


def rate_of(path: Path, wanted: int) -> int:
    """Return the frames a second of a video for which `wanted` are wanted."""
    return min(wanted, GIF_RATE) if path.suffix == ".gif" else wanted


def width_of(path: Path) -> int:
    """Return the pixels that a frame of a video may be wide."""
    return GIF_WIDTH if path.suffix == ".gif" else MP4_WIDTH


def write_video(path: Path, frames: Iterable[Frame], rate: int) -> None:
    """Write frames, at least one and all of one size, at `rate` a second; whole or not at all."""
    check_video(path)
    with writing(path) as file:
        if path.suffix == ".gif":
            file.write(encode_gif(map(Image.fromarray, frames), float(rate)))
        else:
            _write_mp4(file, frames, rate)


def _write_mp4(where: BinaryIO, frames: Iterable[Frame], rate: int) -> None:
    import av

    with av.open(where, "w", format="mp4") as file:
        stream: Any = None
        for frame in frames:
            # yuv420p has a colour for 2 x 2 pixels: repeat the last row or column of odd sides.
            rows, columns = frame.shape[:2]
            even = np.pad(frame, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(rate), options={"crf": "20"})
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        file.mux(stream.encode())


def encode_gif(frames: Iterable[Image.Image], rate: float, exact: Sequence[str] = (), hold: float = 0.0) -> bytes:
    """Return frames as an endless GIF with one palette, so that nothing flickers; of each frame only what changed.

    frames: at least one, all of one size; rate: frames a second; exact: colours that stay as they are;
    hold: seconds that the last frame stays, at least.
    """
    frames = iter(frames)
    first = list(itertools.islice(frames, LOOKED_AT))
    palette, pause = _palette(first, exact), 10 * max(round(100 / rate), 1)

    def reduced() -> Iterator[Image.Image]:
        for frame in itertools.chain(first, frames):
            last = frame.quantize(palette=palette, dither=Image.Dither.NONE)
            last.info["duration"] = pause
            yield last
        if 1000 * hold > pause:  # the same frame again, which Pillow adds to the time of the one before
            last.info["duration"] = round(1000 * hold) - pause
            yield last

    content, made = io.BytesIO(), reduced()
    next(made).save(content, "GIF", save_all=True, append_images=made, loop=0, optimize=True)
    return content.getvalue()


def _palette(frames: Sequence[Image.Image], exact: Sequence[str]) -> Image.Image:
    """Return an image whose palette has the given colours and those of some frames."""
    few = [frames[i] for i in np.linspace(0, len(frames) - 1, 8).astype(int)]
    found = Image.fromarray(np.concatenate([np.asarray(frame) for frame in few])).quantize(COLOURS).getpalette() or []
    given = np.array([ImageColor.getrgb(code) for code in exact], int).reshape(-1, 3)
    others = np.array(found, int).reshape(-1, 3)[:COLOURS]
    apart = np.abs(others[:, None] - given).max(-1).min(-1, initial=255) >= NEAR
    palette = Image.new("P", (1, 1))
    palette.putpalette([*given.flatten().tolist(), *others[apart].flatten().tolist()])
    return palette
