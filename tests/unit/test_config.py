"""Configurations: every field documented, checked, and carried through JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import annotated_types as at
import pytest

from shortcut_models.config import Fraction, PositiveInt, PowerOfTwo, check, from_dict, options, to_dict, word
from shortcut_models.errors import UserError
from shortcut_models.networks import NETWORKS
from shortcut_models.objectives import OBJECTIVES, Diffusion, Shortcut
from shortcut_models.tasks import TASKS
from shortcut_models.training.options import Training

pytestmark = pytest.mark.usefixtures("annotations_unchecked")

CONFIGS = sorted(
    {*OBJECTIVES.values(), *TASKS.values(), *(type(make()) for make in NETWORKS.values()), Training},
    key=lambda cls: cls.__name__,
)
FIELDS = [pytest.param(cls, option, id=f"{cls.__name__}.{option.name}") for cls in CONFIGS for option in options(cls)]
CANDIDATES = [2, 3, 4, 0.5, 0.25, False, True, "text", None, ("a", "b"), (1, 8, 8), ((1, 8), (2,)), 1, 64, "cpu"]


def dashed(name: str) -> str:
    return name.replace("_", "-")


def other_values(config: Any, name: str) -> list[Any]:
    """Values of a field that differ from the one it has and are allowed."""
    kind = next(option.kind for option in options(config) if option.name == name)
    found = []
    args = typing.get_args(kind)
    nested = [each for arg in args for each in (typing.get_args(arg) if typing.get_origin(arg) is Literal else [arg])]
    for value in [*CANDIDATES, *(each for each in nested if not callable(each))]:
        try:
            changed = dataclasses.replace(config, **{name: value})
        except UserError:
            continue
        if changed != config:
            found.append(value)
    return found


@pytest.mark.parametrize(("cls", "option"), FIELDS)
def test_every_field_says_what_it_is(cls: type, option: Any) -> None:
    assert option.doc.strip()
    assert "\n" not in option.help
    if option.kind in (int, float):
        assert option.range, "a number without a range"


@pytest.mark.parametrize(("cls", "option"), FIELDS)
def test_wrong_types_and_ranges_are_refused_by_name(cls: Any, option: Any) -> None:
    wrong: list[Any] = [object(), [1.5], {"a": 1}]
    kinds = {option.kind, *typing.get_args(option.kind)}
    if kinds & {int, float}:
        wrong += [math.nan, math.inf, -math.inf, True, "4", -(10**40)]
    if kinds == {int}:
        wrong += [2.5, None]
    for value in wrong:
        with pytest.raises(UserError, match=rf"^{dashed(option.name)} must be .*, not ") as error:
            cls(**{option.name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("cls", "option"), FIELDS)
def test_every_field_survives_json(cls: Any, option: Any) -> None:
    first = Diffusion(schedule="linear") if cls is Diffusion else cls()  # with that one, any prediction goes
    values = other_values(first, option.name)
    assert values
    for value in values:
        config = dataclasses.replace(first, **{option.name: value})
        restored = from_dict(cls, json.loads(json.dumps(to_dict(config))))
        assert restored == config
        assert type(getattr(restored, option.name)) is type(value)


@dataclass(frozen=True)
class Example:
    """All kinds of fields.

    They say what they are in docstrings of their own.
    """

    count: PositiveInt = 1
    """how
    many"""
    power: PowerOfTwo = 4
    share: Fraction = 0.5
    """a share; of the rows"""
    between: Annotated[float, at.Gt(0), at.Lt(1)] = 0.5
    maybe: Annotated[int | None, at.Ge(1)] = None
    perhaps: PositiveInt | None = None
    """a count (default: what there is)"""
    colour: Literal["red", "blue"] = "red"
    on: bool = False
    name: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("count", [1, 10**12]),
        ("power", [1, 2, 1024]),
        ("share", [0, 1, 0.0, 1.0]),
        ("between", [1e-9, 0.999]),
        ("maybe", [None, 1, 7]),
        ("perhaps", [None, 1, 7]),
        ("colour", ["blue"]),
        ("on", [True]),
        ("name", ["", "x"]),
        ("names", [(), ("a",)]),
    ],
)
def test_values_that_are_allowed(field: str, values: list[Any]) -> None:
    for value in values:
        assert getattr(Example(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("count", 0, "count must be >= 1, not 0"),
        ("count", 1.0, "count must be a whole number, not 1.0"),
        ("count", True, "count must be a whole number, not True"),
        ("count", None, "count must be a whole number, not None"),
        ("power", 0, "power must be a power of two, not 0"),
        ("power", -4, "power must be a power of two, not -4"),
        ("power", 100, "power must be a power of two, not 100"),
        ("power", 2**16, "power must be <= 32768, not 65536"),
        ("share", -0.001, "share must be >= 0, not -0.001"),
        ("share", 1.001, "share must be <= 1, not 1.001"),
        ("share", math.nan, "share must be a number, not nan"),
        ("share", "0.5", "share must be a number, not '0.5'"),
        ("between", 0.0, "between must be > 0, not 0.0"),
        ("between", 1.0, "between must be < 1, not 1.0"),
        ("maybe", 0, "maybe must be >= 1, not 0"),
        ("maybe", "a", "maybe must be a whole number or none, not 'a'"),
        ("perhaps", 0, "perhaps must be >= 1, not 0"),
        ("perhaps", 1.5, "perhaps must be a whole number or none, not 1.5"),
        ("colour", "green", "colour must be one of red, blue, not 'green'"),
        ("on", 1, "on must be true or false, not 1"),
        ("name", 3, "name must be text, not 3"),
    ],
)
def test_values_that_are_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        Example(**{field: value})
    assert str(error.value) == message


@pytest.mark.parametrize("value", [["a"], "ab", (1,)])
def test_a_tuple_is_no_list_and_holds_one_kind(value: Any) -> None:
    with pytest.raises(UserError, match=r"^names must be "):
        Example(names=value)


def test_options_carry_help_kind_and_range() -> None:
    found = {option.name: option for option in options(Example)}
    assert list(found) == [field.name for field in dataclasses.fields(Example)]
    assert found["count"].doc == "how many"
    assert found["power"].doc == ""
    assert (found["count"].kind, found["count"].range) == (int, ">= 1")
    assert (found["between"].kind, found["between"].range) == (float, "> 0, < 1")
    assert (found["share"].kind, found["share"].range) == (float, "0 to 1")
    assert (found["power"].kind, found["power"].range) == (int, "a power of two, <= 32768")
    assert (found["perhaps"].kind, found["perhaps"].range) == (int | None, ">= 1")
    assert options(Example()) == options(Example)


def test_help_has_the_range_after_the_noun_phrase() -> None:
    found = {option.name: option.help for option in options(Example)}
    assert found["count"] == "how many, >= 1"
    assert found["share"] == "a share, 0 to 1; of the rows"
    assert found["colour"] == ""
    assert found["perhaps"] == "a count, >= 1 (default: what there is)"


def test_flags_and_words_are_those_of_the_command_line() -> None:
    found = {option.name: option for option in options(Example)}
    assert found["count"].flag() == "--count"
    assert [found["on"].flag("task.", value) for value in (True, False)] == ["--task.on", "--task.no-on"]
    assert [word(value) for value in (None, "", (), ("a", "b"), 0, 0.5)] == ["none", "", "none", "a,b", "0", "0.5"]


def test_a_subclass_may_say_more_of_a_field() -> None:
    @dataclass(frozen=True)
    class Special(Example):
        """Another share."""

        share: Fraction = 0.25
        """share of the special rows"""

    found = {option.name: option.doc for option in options(Special)}
    assert (found["share"], found["count"]) == ("share of the special rows", "how many")


def test_a_configuration_of_another_version_is_refused() -> None:
    with pytest.raises(UserError, match=r"Shortcut has no field 'flux': .* another version"):
        from_dict(Shortcut, {"max_steps": 8, "flux": 1})
    with pytest.raises(UserError, match="max-steps must be a power of two, not 7"):
        from_dict(Shortcut, {"max_steps": 7})
