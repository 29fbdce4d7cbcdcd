"""Pieces of a report's HTML, and numbers as people read them. What is passed as `body` or a cell is HTML already."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable
from html import escape

from PIL import Image

from ..drawing.style import Colour, colour_of
from ..metrics.catalogue import SHARES
from ..text import counted, figure


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


def measure(name: str, value: float | None) -> str:
    """A measure of quality; shares all with three decimals, so that they line up."""
    if value is None or not math.isfinite(value) or name.removesuffix("_real") not in SHARES:
        return figure(value)
    return f"{value:.3f}"
