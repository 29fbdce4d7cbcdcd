"""From the words of a command line to configurations: tyro reads them, an option for each field.

tyro alone would show no ranges, and would print its errors in boxes. So its registry gets rules for the fields of a
dataclass and for the types that these have, and its errors become a UserError of one line. The hook for errors is in a
module of tyro that is not public yet, `tyro._errors`: no public interface tells which option is wrong.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import tyro
from tyro import _errors
from tyro.conf import OmitArgPrefixes, PositionalMetavarFromFieldName, SuppressFixed, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from ..config import check, kind_text, options, word
from ..errors import UserError


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command with its options: each field is one, or a positional argument."""

    def __post_init__(self) -> None:
        check(self)

    def __call__(self) -> None:
        """Run the command."""
        raise NotImplementedError

    @classmethod
    def read(cls, words: Sequence[str], prog: str, about: str) -> Command:
        """Return the command with the options that follow its name; raises as `parse`."""
        part = Part(cls)
        return part.build(parse([part], words, prog, about)[0])


class Part(NamedTuple):
    """A configuration whose fields are options."""

    config: Any
    """a dataclass, or a value of one, which has the defaults"""
    title: str = ""
    """of its options in the help; none for those of the command"""
    prefix: str = ""
    """first part of its options' names"""

    def build(self, given: Mapping[str, Any]) -> Any:
        """Return the configuration with values from the command line. Raises UserError, naming the option."""
        try:
            return self.config(**given) if isinstance(self.config, type) else dataclasses.replace(self.config, **given)
        except UserError as error:
            raise UserError(f"--{self.prefix}{error}") from None

    def flags(self) -> list[str]:
        """Return the names of its options."""
        found = [option for option in options(self.config) if option.settable]
        negative = [option.flag(self.prefix, False) for option in found if option.kind is bool]
        return [option.flag(self.prefix) for option in found] + negative


class _Whole:
    """Stands for the parts of a command line together, as tyro reads one type."""


def parse(
    parts: Sequence[Part],
    words: Sequence[str],
    prog: str,
    about: str = "",
    *,
    without: Mapping[str, str] | None = None,
    others: bool = False,
) -> list[dict[str, Any]]:
    """Return the values of the fields of each part.

    Args:
        parts: what the words set; those of the command itself come first.
        words: the options, and positional arguments.
        prog: the command's name, and about: its description, for help and messages.
        without: options that the command does not have, and why.
        others: ignore options of other parts, and `--help`.

    Raises:
        UserError: the words are wrong.
        SystemExit: help was asked for, and printed.
    """
    without = without or {}
    registry = ConstructorRegistry()
    registry.primitive_rule(_primitive)

    @registry.struct_rule
    def fields(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type is _Whole:
            own, *rest = parts
            groups = (StructFieldSpec(part.title + " part", _group(part), part.config) for part in rest)
            return StructConstructorSpec(dict, (*_fields(own, without), *groups))
        part = next((part for part in parts if part.config is info.default), None)
        return None if part is None else StructConstructorSpec(dict, tuple(_fields(part, without)))

    def refuse(event: _errors.ParseErrorEvent) -> None:
        unknown = getattr(event, "unrecognized_tokens", None)
        complaint = _of_unknown(unknown, parts, without) if unknown else _complaint(event)
        raise UserError(f"{complaint} (see `{prog} --help`)")

    with _errors.on_parse_error(refuse):
        found, unknown = tyro.cli(
            _Whole,
            prog=prog,
            description=about,
            args=list(words),
            return_unknown_args=True,
            add_help=not others,
            config=(PositionalMetavarFromFieldName, SuppressFixed),
            registry=registry,
        )
    if unknown and not others:
        raise UserError(f"{_of_unknown(unknown, parts, without)} (see `{prog} --help`)")
    given: Any = found
    rest = [given.pop(part.title + " part") for part in parts[1:]]
    return [given, *rest]


def _group(part: Part) -> Any:
    """Return the type of a part, with what tyro is to know of its title and prefix."""
    kind = Annotated[type(part.config), arg(name=part.title)]
    return kind if part.prefix else Annotated[kind, OmitArgPrefixes]


def _fields(part: Part, without: Iterable[str]) -> Iterable[StructFieldSpec]:
    """Return the options of a part, with the range in the help, for tyro."""
    defaults = {field.name: field.default for field in dataclasses.fields(part.config)}
    for option in options(part.config):
        if not option.settable or option.flag(part.prefix) in without:
            continue
        default = defaults[option.name] if isinstance(part.config, type) else getattr(part.config, option.name)
        hint = option.hint
        if "(default: " in option.doc:  # which says more than the value does
            hint = Annotated[hint, arg(help_behavior_hint="")]
        default = tyro.MISSING if default is dataclasses.MISSING else default
        yield StructFieldSpec(option.name, hint, default, option.help)


def _primitive(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Return how words become a value of a type; None for types that tyro reads well by itself."""
    kind: Any = info.type
    arguments = typing.get_args(kind)
    if kind in (int, float, str):
        return _one_word({int: "N", float: "X", str: "TEXT"}[kind], lambda text: _converted(kind, text))
    if info.type_origin is tuple and {*arguments} <= {str, ...}:
        return _one_word("NAME,NAME,...", lambda text: () if text == "none" else tuple(filter(None, text.split(","))))
    if info.type_origin in (typing.Union, types.UnionType) and type(None) in arguments and len(arguments) == 2:
        (inner,) = (_spec(each, info) for each in arguments if each is not type(None))
        return dataclasses.replace(
            inner,
            choices=inner.choices and (*inner.choices, "none"),
            instance_from_str=lambda words: None if words == ["none"] else inner.instance_from_str(words),
            str_from_instance=lambda value: ["none"] if value is None else inner.str_from_instance(value),
        )
    if info.type_origin is Sequence:
        item = _spec(arguments[0], info)
        show = lambda values: [text for value in values for text in item.str_from_instance(value)]
        several = f"{item.metavar} [{item.metavar} ...]"
        return PrimitiveConstructorSpec("*", several, lambda words: _several(item, words), lambda value: True, show)
    return None


def _spec(kind: Any, info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any]:
    """Return how words become a value of a type that another one contains."""
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    if not isinstance(found, PrimitiveConstructorSpec):
        raise found
    return found


def _one_word(metavar: str, read: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    show = lambda value: [word(value) or "none"]
    return PrimitiveConstructorSpec(1, metavar, lambda words: read(words[0]), lambda value: True, show)


def _converted(kind: Any, text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"must be {kind_text(kind)}, not {text!r}") from None


def _several(item: PrimitiveConstructorSpec[Any], words: list[str]) -> list[Any]:
    if not words:
        raise ValueError("needs at least one value")
    return [item.instance_from_str([each]) for each in words]


def _of_unknown(words: Sequence[str], parts: Sequence[Part], without: Mapping[str, str]) -> str:
    """Return in one line which word is not an option, and which option may be meant."""
    name = next((each for each in words if each.startswith("-")), words[0]).partition("=")[0]
    if name in without:
        return f"{name} is not an option here: {without[name]}"
    if not name.startswith("-"):
        return f"unexpected argument {name!r}: remove it"
    flags = {flag for part in parts for flag in part.flags() if ("no-" in flag) == ("no-" in name)} - set(without)
    close = difflib.get_close_matches(name, sorted(flags), 1)
    return f"there is no option {name}" + (f": did you mean {close[0]}?" if close else "")


def _complaint(event: _errors.ParseErrorEvent) -> str:
    """Return in one line what tyro finds wrong with a command line."""
    if isinstance(event, _errors.MissingArgs):
        *names, last = (_name(context.arg) for context in event.missing_arguments)
        return f"{', '.join(names)} and {last} are missing" if names else f"{last} is missing"
    argument = getattr(event, "argument", None)
    if argument is None:  # an error of a later version of tyro
        return f"the options are wrong ({type(event).__name__})"
    if isinstance(event, _errors.InvalidChoice):
        return f"{_name(argument)} must be one of {', '.join(event.choices)}, not {event.value!r}"
    if isinstance(event, _errors.BadValue):
        return f"{_name(argument)} needs a value"
    return f"{_name(argument)} {getattr(event, 'message', 'is wrong')}"


def _name(argument: Any) -> str:
    """Return an option's or positional argument's name, as the help has it."""
    positional = argument.is_positional()
    return str(argument.lowered.metavar).split()[0].strip("[]") if positional else argument.lowered.name_or_flags[0]
