"""Configuration dataclasses as command-line options: one option a field, with its range, default and meaning."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

from .config import Option, kind_text, options
from .errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are a UserError, and which takes no abbreviations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message.removeprefix('argument ')} (see `{self.prog} --help`)")


def whole_number(text: str) -> int:
    """Text -> int, with a message in plain words."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None


def number(text: str) -> float:
    """Text -> float, with a message in plain words."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None


def _reader(kind: Any) -> Callable[[str], Any] | None:
    """How the text of an option becomes a value of its kind; None for kinds that no text can give."""
    simple: dict[Any, Callable[[str], Any]] = {int: whole_number, float: number, str: str}
    if kind in simple:
        return simple[kind]
    if kind == tuple[str, ...]:
        return lambda text: tuple(filter(None, text.split(",")))
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        inner = [part for part in typing.get_args(kind) if part is not type(None)]
        reader = _reader(inner[0]) if len(inner) == 1 else None
        return None if reader is None else lambda text: None if text == "none" else reader(text)
    if typing.get_origin(kind) is Literal:
        choices = {str(choice): choice for choice in typing.get_args(kind)}

        def read(text: str) -> Any:
            if text not in choices:
                raise argparse.ArgumentTypeError(f"must be {kind_text(kind)}, not {text!r}")
            return choices[text]

        return read
    return None


def settable(config: Any) -> Iterator[tuple[Option, Callable[[str], Any] | None]]:
    """The fields that an option can set; booleans have no reader, as they are switches."""
    for option in options(config):
        reader = _reader(option.kind)
        if option.settable and (reader is not None or option.kind is bool):
            yield option, reader


def flag(option: Option, prefix: str) -> str:
    return "--" + prefix + option.name.replace("_", "-")


def add_options(parser: argparse.ArgumentParser, title: str, config: Any, prefix: str = "") -> None:
    """An option for every field of a configuration, grouped under a title; its values are the defaults."""
    group = parser.add_argument_group(title)
    for option, reader in settable(config):
        default = getattr(config, option.name)
        facts = "; ".join(filter(None, [option.range, f"default {_shown(default)}"]))
        how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if reader is not None:
            how = {"type": reader, "metavar": _metavar(option.kind)}
        group.add_argument(
            flag(option, prefix),
            dest=prefix + option.name,
            default=argparse.SUPPRESS,
            help=f"{option.help} ({facts})".replace("%", "%%"),
            **how,
        )


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        default = ",".join(default)
    return "none" if default in (None, "") else str(default)


def _metavar(kind: Any) -> str:
    if kind == tuple[str, ...]:
        return "NAME,NAME,..."
    if typing.get_origin(kind) is Literal:
        return "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    names = {int: "N", float: "X", str: "TEXT"}
    inner = [part for part in typing.get_args(kind) if part is not type(None)]
    return names.get(kind) or _metavar(inner[0])


def apply_options(args: argparse.Namespace, config: Any, prefix: str = "") -> Any:
    """The configuration with what was given on the command line. Raises UserError for values out of range."""
    given = {
        option.name: getattr(args, prefix + option.name)
        for option, _ in settable(config)
        if hasattr(args, prefix + option.name)
    }
    try:
        return dataclasses.replace(config, **given)
    except UserError as error:
        raise UserError(f"--{prefix}{error}") from None
