"""Pieces of a report's HTML, and numbers as people read them. What is passed as `body` or a cell is HTML already."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from html import escape
from typing import Any

from PIL import Image

from .figures import SHARES, Colour, colour_of

SHOWN_AT_MOST = 12
"""entries of a field that holds a list"""


def section(title: str, text: str, body: str) -> str:
    """A part of the page: its title, a word about it, and what it shows."""
    about = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{about}{body}</section>"


def hint(title: str, text: str, command: str) -> str:
    """A part that is missing, and the command that makes it."""
    return (
        f"<section class='hint'><h2>{escape(title)}</h2><p>{escape(text)} <code>{escape(command)}</code></p></section>"
    )


def table(heads: list[str], rows: Iterable[Iterable[str]]) -> str:
    """Rows of cells, with or without a head."""
    head = f"<thead><tr>{''.join(f'<th>{cell}</th>' for cell in heads)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def embedded(content: bytes, kind: str, about: str) -> str:
    """A picture inside the page's own text; kind: png or gif."""
    return f"<img alt='{escape(about)}' src='data:image/{kind};base64,{base64.b64encode(content).decode()}'>"


def paper(picture: Image.Image, about: str) -> str:
    """A picture on white, also where the page is dark, as wide as there is room."""
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return f"<div class='paper'>{embedded(content.getvalue(), 'png', about)}</div>"


def chart(picture: Image.Image, about: str) -> str:
    """A picture with writing in it: of a size that can be read, to be scrolled sideways on a phone."""
    width = round(0.64 * picture.width)
    return f"<div class='scroll'><div class='chart' style='width:{width}px'>{paper(picture, about)}</div></div>"


def facts(found: Iterable[tuple[str, str, str]]) -> str:
    """Names, values, and a small word more about each."""
    tiles = (
        f"<div class='fact'><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in found
    )
    return f"<dl class='facts'>{''.join(tiles)}</dl>"


def css(colour: Colour) -> str:
    """A colour as style sheets name it."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)


def budget(steps: int, most: int) -> str:
    """A number of steps, with its colour."""
    dot = f"<span class='dot' style='background:{css(colour_of(steps, most))}'></span>"
    return f"<span class='budget'>{dot}{counted(steps)}</span>"


def counted(steps: int) -> str:
    """1 step, 2 steps."""
    return f"{steps:,} step" if steps == 1 else f"{steps:,} steps"


def plain(name: str) -> str:
    """A name from the code, for the reader."""
    return name.replace("_", " ")


def shown(value: Any) -> str:
    """A field of a configuration; of a long one the beginning."""
    if not isinstance(value, list):
        return str(value)
    return ", ".join([*map(str, value[:SHOWN_AT_MOST]), *(["..."] if len(value) > SHOWN_AT_MOST else [])])


def figure(value: float | None) -> str:
    """A number in four digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:#.4g}".rstrip(".")


def measure(name: str, value: float | None) -> str:
    """A measure of quality; shares all with three decimals, so that they line up."""
    if value is None or not math.isfinite(value) or name.removesuffix("_real") not in SHARES:
        return figure(value)
    return f"{value:.3f}"


def large(count: int) -> str:
    """1234567 -> 1.23 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def duration(seconds: float) -> str:
    """3725 -> 1 h 2 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def time_of(seconds: float) -> str:
    """A short time in the unit that fits: 0.00012 -> 0.12 ms."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
