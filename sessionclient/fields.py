"""What a field of a message may hold: checks that never raise, whatever they are given."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, final

Check = Callable[[Any], bool]


class Field(NamedTuple):
    """One field of a kind: its key on the wire, its check, what it must be, and if it must be."""

    name: str
    check: Check
    must_be: str
    required: bool = True


_NEW_ID: Final = re.compile(r"[0-9A-Za-z_.:-]{1,64}", re.ASCII)


# The three of most fields tell their bounds, for whoever has a quicker way to check them.


@final
class Text:
    """Text of so many characters."""

    __slots__ = ("longest", "shortest")

    def __init__(self, longest: int, shortest: int = 1) -> None:
        self.longest, self.shortest = longest, shortest

    def __call__(self, value: Any) -> bool:
        return type(value) is str and self.shortest <= len(value) <= self.longest


@final
class Integer:
    """A whole number within bounds."""

    __slots__ = ("high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def __call__(self, value: Any) -> bool:
        # bool is a subclass of int: an exact type check keeps True from passing as 1
        return type(value) is int and self.low <= value <= self.high


@final
class Seconds:
    """A time within bounds, whole or not."""

    __slots__ = ("high", "low")

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def __call__(self, value: Any) -> bool:
        # a comparison with NaN is false, so NaN never passes
        return (type(value) is float or type(value) is int) and self.low <= value <= self.high


def is_bool(value: Any) -> bool:
    return value is True or value is False


def is_new_id(value: Any) -> bool:
    return type(value) is str and _NEW_ID.fullmatch(value) is not None


def is_secret(value: Any) -> bool:
    return type(value) is bytes and 16 <= len(value) <= 64


def list_of(check: Check, limit: int) -> Check:
    return lambda value: type(value) is list and len(value) <= limit and all(map(check, value))


def map_of(*fields: Field) -> Check:
    return lambda value: (
        type(value) is dict
        and all(
            (not f.required) if (item := value.get(f.name)) is None else f.check(item)
            for f in fields
        )
    )


def is_map(value: Any) -> bool:
    return type(value) is dict


def anything(_value: Any) -> bool:
    return True
