"""Configuration: frozen dataclasses whose fields carry their range (annotated-types) and meaning (docstrings).

The same dataclasses are the Python interface, the options of the command line, and what a checkpoint stores.
"""

import dataclasses
import difflib
import functools
import json
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types as at
import docstring_parser

from .errors import UserError


@dataclasses.dataclass(frozen=True)
class Rule:
    """A constraint that annotated-types has no name for."""

    test: Callable[[Any], bool]
    text: str


PowerOfTwo = Annotated[int, Rule(lambda n: n > 0 and n.bit_count() == 1, "a power of two"), at.Le(2**15)]
"""Largest number of sampling steps of an objective; networks distinguish step sizes down to 2^-15."""
PositiveInt = Annotated[int, at.Ge(1)]
NonNegativeInt = Annotated[int, at.Ge(0)]
Fraction = Annotated[float, at.Ge(0), at.Le(1)]

UNIONS = (types.UnionType, typing.Union)  # origins of `int | None`, which Python has two of
DERIVED = {"settable": False}  # Metadata of a field that the program fills in, so that it is not an option.


class Option(NamedTuple):
    """One field of a configuration: all that a parser, a help page or a check needs."""

    name: str
    hint: Any  # annotation of the field, with its constraints
    kind: Any  # type without its constraints
    rules: tuple[Rule, ...]
    doc: str  # docstring of the field
    settable: bool = True  # whether it is an option: not where the field says `metadata=DERIVED`

    @property
    def range(self) -> str:
        """Return the allowed values in words: "1 to 128", ">= 1"."""
        return re.sub(r">= (\S+), <= (\S+)", r"\1 to \2", ", ".join(rule.text for rule in self.rules))

    @property
    def help(self) -> str:
        """Return the docstring with the range after its noun phrase."""
        what, *more = re.split(r"(?=;| \(default: )", self.doc, maxsplit=1)
        return ", ".join(filter(None, [what, self.range])) + "".join(more)

    def flag(self, prefix: str = "", value: object = True) -> str:
        """Return the option's name on the command line, in a group whose names have a prefix."""
        return f"--{prefix}{'no-' if value is False else ''}{self.name.replace('_', '-')}"


_COMPARISONS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    at.Ge: (">=", operator.ge),
    at.Gt: (">", operator.gt),
    at.Le: ("<=", operator.le),
    at.Lt: ("<", operator.lt),
}


def _rules(part: Any) -> tuple[Rule, ...]:
    """Return the constraints in an annotation, or in a part of one."""
    if isinstance(part, Rule):
        return (part,)
    if type(part) in _COMPARISONS:
        sign, compare = _COMPARISONS[type(part)]
        (bound,) = dataclasses.astuple(part)
        return (Rule(lambda value: compare(value, bound), f"{sign} {bound}"),)
    return tuple(rule for inner in typing.get_args(part) for rule in _rules(inner))


def options(config: Any) -> tuple[Option, ...]:
    """Return the fields of a configuration dataclass, or of an instance of one, in order."""
    return _options(config if isinstance(config, type) else type(config))


@functools.cache
def _options(cls: Any) -> tuple[Option, ...]:
    # The docstring of a field is in the class that defines the field, which may be a base; a subclass may replace it.
    docs = {
        param.arg_name: " ".join((param.description or "").split())
        for base in reversed(cls.__mro__)
        if dataclasses.is_dataclass(base)
        for param in docstring_parser.parse_from_object(base).params
    }
    kinds, hints = typing.get_type_hints(cls), typing.get_type_hints(cls, include_extras=True)
    found = []
    for field in dataclasses.fields(cls):
        name, hint = field.name, hints[field.name]
        settable = field.init and field.metadata.get("settable", True)
        found.append(Option(name, hint, kinds[name], _rules(hint), docs.get(name, ""), settable))
    return tuple(found)


def kind_text(kind: Any) -> str:
    """Return a type in the words of an error message."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in UNIONS:
        return " or ".join(map(kind_text, args))
    if origin is Callable:
        return "a function"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return words.get(kind) or str(kind)


def word(value: Any) -> str:
    """Return a value as a word of the command line."""
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    return "none" if value is None else str(value)


def _is_kind(value: Any, kind: Any) -> bool:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return value in args
    if origin in UNIONS:
        return any(_is_kind(value, part) for part in args)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (bool, str, type(None)):
        return isinstance(value, kind)
    if origin is Callable:
        return callable(value) and not isinstance(value, type)
    if origin is tuple and args[1:] == (...,):
        return isinstance(value, tuple) and all(_is_kind(part, args[0]) for part in value)
    return True


def check(config: Any) -> None:
    """Raise UserError, naming the field, where a value of a configuration has the wrong type or range."""
    if not dataclasses.is_dataclass(config):
        return
    for option in options(config):
        value = getattr(config, option.name)
        name = option.name.replace("_", "-")
        if not _is_kind(value, option.kind):
            raise UserError(f"{name} must be {kind_text(option.kind)}, not {value!r}")
        broken = [rule.text for rule in option.rules if value is not None and not rule.test(value)]
        if broken:
            raise UserError(f"{name} must be {' and '.join(broken)}, not {value!r}")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain JSON values: tuples become lists, and functions their names."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=_function_name))
    return values


def _function_name(value: Any) -> str:
    """Return the qualified name of a function; of a partial one with its arguments."""
    if isinstance(value, functools.partial):
        given = [*map(repr, value.args), *(f"{name}={each!r}" for name, each in value.keywords.items())]
        return f"{_function_name(value.func)}({', '.join(given)})"
    if not callable(value):
        raise TypeError(f"{value!r} is not a value that JSON has")
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Return the configuration that `to_dict` was given. Raise UserError where a field is unknown, or a value wrong."""
    unknown = sorted(values.keys() - {option.name for option in options(cls)})
    if unknown:
        raise UserError(
            f"{cls.__name__} has no field {unknown[0]!r}: the file is from another version of shortcut-models"
        )
    return cls(**{name: _as_tuples(value) for name, value in values.items()})


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def plain(name: str) -> str:
    """Return a name without what is often mistaken in it: capitals, dashes at its ends, other signs for a dash."""
    return re.sub(r"[-_\s]+", "-", name.casefold()).strip("-")


def closest(name: str, among: Iterable[str], count: int = 1) -> list[str]:
    """Return the names that one may stand for: those that differ in capitals and dashes alone, or a few near ones."""
    ours = {each: plain(each) for each in among}
    same = [each for each, text in ours.items() if text == plain(name)]
    near = difflib.get_close_matches(plain(name), ours.values(), count)
    return same or [each for text in dict.fromkeys(near) for each in ours if ours[each] == text]


def did_you_mean(names: Sequence[str]) -> str:
    """Return the question whether one of some names is meant; "" where there are none."""
    *some, last = [*names] or [""]
    return last and f"did you mean {', '.join(some)}{' or ' * bool(some)}{last}?"


def choose(kind: str, name: str, among: Mapping[str, Any]) -> Any:
    """Return the entry of a registry that has a name. Raise UserError, listing the names, where none has it."""
    if name in among:
        return among[name]
    hint = did_you_mean(closest(name, among))
    raise UserError(f"there is no {kind} {name!r}: {hint}{' ' * bool(hint)}choose one of {', '.join(among)}")
