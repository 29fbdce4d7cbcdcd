"""From the words of a command line to configurations: tyro reads them, an option for each field.

tyro alone would show no ranges, and would print its errors in boxes. So its registry gets rules for the fields of a
dataclass and for the types that these have, and its errors become a UserError of one line. The hook for errors is in a
module of tyro that is not public yet, `tyro._errors`: no public interface tells which option is wrong.
"""

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import tyro
from tyro import _errors
from tyro.conf import OmitArgPrefixes, Positional, PositionalMetavarFromFieldName, SuppressFixed, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from ..config import UNIONS, check, closest, did_you_mean, kind_text, options, word
from ..errors import UserError
from ..recipes.suggestions import options_meant

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
SHOWN = 60  # characters of a wrong value that a message shows


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command with its options: each field is one, or a positional argument."""

    def __post_init__(self) -> None:
        check(self)

    def __call__(self) -> None:
        """Run the command."""
        raise NotImplementedError

    @classmethod
    def read(cls, words: Sequence[str], prog: str, about: str) -> "Command":
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
        found = [option for option in options(self.config) if option.settable and not _is_positional(option.hint)]
        negative = [option.flag(self.prefix, False) for option in found if option.kind is bool]
        return [option.flag(self.prefix) for option in found] + negative


def parse(
    parts: Sequence[Part], words: Sequence[str], prog: str, about: str = "", *,
    without: Mapping[str, str] = MappingProxyType({}), others: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the values of the fields of each part; the command's own part comes first.

    without: options that the command does not have, and why; others: ignore options of other parts, and `--help`.
    """
    for option in options(parts[0].config):
        if _is_positional(option.hint) and option.flag() in [each.partition("=")[0] for each in words]:
            raise UserError(
                f"{option.flag()} is not an option here: give {option.name.upper()} without it (see `{prog} --help`)"
            )
    registry = ConstructorRegistry()
    registry.primitive_rule(_primitive)

    @registry.struct_rule
    def fields(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type is not Part:
            return None
        part, *inner = [info.default] if isinstance(info.default, Part) else parts
        groups = (StructFieldSpec(each.title + " part", _group(each), each) for each in inner)
        return StructConstructorSpec(dict, (*_fields(part, without), *groups))

    def refuse(event: _errors.ParseErrorEvent) -> None:
        raise UserError(f"{_complaint(event, parts, without)} (see `{prog} --help`)")

    with _errors.on_parse_error(refuse):
        given: Any = tyro.cli(  # type: ignore[call-overload]
            Part, prog=prog, description=about, args=list(words), return_unknown_args=others, add_help=not others,
            config=(PositionalMetavarFromFieldName, SuppressFixed), registry=registry,
        )  # fmt: skip
    own = given[0] if others else given
    return [own, *(own.pop(part.title + " part") for part in parts[1:])]


def _group(part: Part) -> Any:
    """Return the type of a part, with what tyro is to know of its title and prefix."""
    kind = Annotated[Part, arg(name=part.title)]
    return kind if part.prefix else Annotated[kind, OmitArgPrefixes]


def _fields(part: Part, without: Mapping[str, str]) -> Iterator[StructFieldSpec]:
    """Yield the options of a part, with the range in the help."""
    for option in options(part.config):
        if option.settable and option.flag(part.prefix) not in without:
            says_more = "(default: " in option.doc  # than the value does
            hint: Any = Annotated[option.hint, arg(help_behavior_hint="")] if says_more else option.hint
            default = getattr(part.config, option.name, tyro.MISSING)  # of a class, too
            yield StructFieldSpec(option.name, hint, default, option.help)


def _primitive(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Return how words become a value of a type; None for types that tyro reads well by itself."""
    kind: Any = info.type
    arguments = typing.get_args(kind)
    if kind in METAVARS:
        return _one_word(METAVARS[kind], lambda text: _converted(kind, text))
    if info.type_origin is tuple and {*arguments} <= {str, ...}:
        return _one_word("NAME,NAME,...", lambda text: () if text == "none" else tuple(filter(None, text.split(","))))
    if info.type_origin in UNIONS and type(None) in arguments and len(arguments) == 2:
        (inner,) = (_spec(each, info) for each in arguments if each is not type(None))
        return dataclasses.replace(
            inner,
            choices=inner.choices and (*inner.choices, "none"),
            instance_from_str=lambda words: None if words == ["none"] else inner.instance_from_str(words),
            str_from_instance=lambda value: ["none"] if value is None else inner.str_from_instance(value),
        )
    if info.type_origin in UNIONS and (words := _without_functions(arguments)) != arguments:
        return _spec(typing.Union[words], info)  # noqa: UP007  # of as many as there are
    if info.type_origin is Sequence:
        item = _spec(arguments[0], info)
        show = lambda values: [text for value in values for text in item.str_from_instance(value)]
        several = f"{item.metavar} [{item.metavar} ...]"
        return PrimitiveConstructorSpec("*", several, lambda words: _several(item, words), lambda value: True, show)
    return None


def _without_functions(kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the types that words can become: functions come from Python alone."""
    return tuple(kind for kind in kinds if typing.get_origin(kind) is not Callable)


def _spec(kind: Any, info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any]:
    """Return how words become a value of a type that another one contains."""
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, info.markers))
    assert isinstance(found, PrimitiveConstructorSpec)
    return found


def _one_word(metavar: str, read: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    show = lambda value: [word(value) or "none"]
    return PrimitiveConstructorSpec(1, metavar, lambda words: read(words[0]), lambda value: True, show)


def _converted(kind: Any, text: str) -> Any:
    if kind in (str, Path) and not text.strip():
        raise ValueError("needs a value, and this one is empty")
    try:
        return Path(text).expanduser() if kind is Path else kind(text)
    except RuntimeError:  # the home of a user that does not exist
        return Path(text)
    except ValueError:
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
        raise ValueError(f"must be {kind_text(kind)}, not {shown!r}") from None


def _several(item: PrimitiveConstructorSpec[Any], words: list[str]) -> list[Any]:
    if not words:
        raise ValueError("needs at least one value")
    return [item.instance_from_str([each]) for each in words]


def _complaint(event: _errors.ParseErrorEvent, parts: Sequence[Part], without: Mapping[str, str]) -> str:
    """Return in one line what tyro finds wrong with a command line."""
    match event:
        case _errors.UnrecognizedArgs(tokens=words) | _errors.MissingArgs(unrecognized_tokens=[_, *_] as words):
            return _of_unknown(words, parts, without)
        case _errors.MissingArgs(missing_arguments=missing):
            *names, last = (_name(context.arg) for context in missing)
            return f"{', '.join(names)} and {last} are missing" if names else f"{last} is missing"
        case _errors.InvalidChoice(argument=argument, value=value, choices=choices):
            hint = did_you_mean(closest(value, choices))
            return f"{_name(argument)} must be one of {', '.join(choices)}, not {value!r}" + (
                f": {hint}" if hint else ""
            )
        case _errors.BadValue(argument=argument):
            return f"{_name(argument)} needs a value"
        case _errors.InstantiationFailure(argument=argument, message=message) if argument is not None:
            return f"{_name(argument)} {message}"
    return f"the options are wrong ({type(event).__name__})"


def _of_unknown(words: Sequence[str], parts: Sequence[Part], without: Mapping[str, str]) -> str:
    """Return in one line which word is not an option, and which option may be meant."""
    name = next((each for each in words if each.startswith("-")), words[0]).partition("=")[0]
    if name in without:
        return f"{name} is not an option here: {without[name]}"
    if not name.startswith("-"):
        return f"unexpected argument {name!r}: remove it"
    flags = {flag for part in parts for flag in part.flags()} - set(without)
    hint = did_you_mean(options_meant(name, flags))
    return f"there is no option {name}" + (f": {hint}" if hint else "")


def _is_positional(hint: Any) -> bool:
    return typing.get_args(Positional[str])[1] in typing.get_args(hint)


def _name(argument: Any) -> str:
    """Return an option's or positional argument's name, as the help has it."""
    lowered = argument.lowered
    return lowered.metavar.split()[0].strip("[]") if argument.is_positional() else lowered.name_or_flags[0]
