"""Videos: H.264 in MP4 with PyAV, or a GIF with Pillow, from a generator of frames, without holding them all."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.GifImagePlugin import getdata

from ..errors import UserError
from ..system.files import writing

Frame = UInt8[np.ndarray, "rows columns 3"]
Indices = UInt8[np.ndarray, "rows columns"]

GIF_RATE = 10
"""frames a second of a GIF at most: its clock counts hundredths, and more make it large"""
GIF_WIDTH, MP4_WIDTH = 640, 1280
"""pixels that a frame is wide at most"""
LOOKED_AT = 64
"""first frames of a GIF from which its colours are taken"""
COLOURS = 64
"""in the palette of a GIF"""


def check_video(path: Path) -> None:
    """Raise UserError where a video cannot be written to a file of this name, or a package for it is missing."""
    if path.suffix not in (".mp4", ".gif"):
        raise UserError(f"the name of {path} must end in .mp4 or .gif")
    if path.suffix == ".mp4":
        _av()


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise UserError("MP4 needs an extra: pip install 'shortcut-models[video]', or give a .gif") from None
    return av


def rate_of(path: Path, wanted: int) -> int:
    """Frames a second of a video, where so many are wanted."""
    return min(wanted, GIF_RATE) if path.suffix == ".gif" else wanted


def width_of(path: Path) -> int:
    """Pixels that a frame may be wide."""
    return GIF_WIDTH if path.suffix == ".gif" else MP4_WIDTH


def write_video(path: Path, frames: Iterable[Frame], rate: int) -> None:
    """Write frames, at least one and all of one size, at `rate` a second; atomically.

    Raises UserError as `check_video` does, and OSError where the disk refuses.
    """
    check_video(path)
    write = _write_gif if path.suffix == ".gif" else _write_mp4
    with writing(path) as file:
        write(file, frames, rate)


def _write_mp4(where: BinaryIO, frames: Iterable[Frame], rate: int) -> None:
    av = _av()
    with av.open(where, "w", format="mp4") as file:
        stream = None
        for frame in map(_even, frames):
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(rate), options={"crf": "20"})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        if stream is not None:
            file.mux(stream.encode())


def _even(frame: Frame) -> UInt8[np.ndarray, "even_rows even_columns 3"]:
    """With sides that are even, as the colours of yuv420p are of 2 x 2 pixels: the last row or column is repeated."""
    rows, columns = frame.shape[:2]
    return np.ascontiguousarray(np.pad(frame, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge"))


def _write_gif(file: BinaryIO, frames: Iterable[Frame], rate: int) -> None:
    """An endless GIF with one palette, so that nothing flickers; of each frame only what changed."""
    frames = iter(frames)
    first = list(itertools.islice(frames, LOOKED_AT))
    palette = _palette(first)
    file.write(_gif_header(first[0].shape[1], first[0].shape[0], palette))
    chart = Image.new("P", (1, 1))
    chart.putpalette([*palette.flatten().tolist(), *palette[0].tolist() * (256 - len(palette))])
    before: Indices | None = None
    for _, same in itertools.groupby(_indices(itertools.chain(first, frames), chart), np.ndarray.tobytes):
        now, *rest = same
        hundredths = min(round(100 / rate) * (1 + len(rest)), 2**16 - 1)
        file.write(b"".join(_gif_frame(now, before, hundredths)))
        before = now
    file.write(b";")


def _palette(frames: Sequence[Frame]) -> UInt8[np.ndarray, "n 3"]:
    """The colours of a GIF, fewer than COLOURS: the last number stands for what stays as it was."""
    few = [frames[i] for i in np.linspace(0, len(frames) - 1, 8).astype(int)]
    found = Image.fromarray(np.concatenate(few)).quantize(COLOURS - 1).getpalette() or []
    return np.array(found, np.uint8).reshape(-1, 3)[: COLOURS - 1]


def _indices(frames: Iterable[Frame], chart: Image.Image) -> Iterator[Indices]:
    """Frames as numbers of colours."""
    for frame in frames:
        yield np.asarray(Image.fromarray(frame).quantize(palette=chart, dither=Image.Dither.NONE))


def _gif_header(width: int, height: int, palette: UInt8[np.ndarray, "n 3"]) -> bytes:
    """Sizes, palette, and that it begins again for ever (GIF89a, sections 17 to 19; Netscape's extension)."""
    table = palette.tobytes().ljust(3 * COLOURS, b"\0")
    entries = 0x80 | (COLOURS.bit_length() - 2)  # a table of 2^(n + 1) colours for all frames
    return struct.pack("<6sHHBBB", b"GIF89a", width, height, entries, 0, 0) + table + b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"


def _gif_frame(now: Indices, before: Indices | None, hundredths: int) -> list[bytes]:
    """The rectangle that changed, as the blocks of a GIF."""
    changed = np.ones_like(now, bool) if before is None else now != before
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    new = Image.fromarray(np.where(changed, now, np.uint8(COLOURS - 1))[place])
    offset = (int(columns[0]), int(rows[0]))
    return getdata(new, offset, duration=10 * hundredths, disposal=1, transparency=COLOURS - 1)
