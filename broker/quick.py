"""The wire's `decode` for the broker, in C where that can be had.

Most messages are a flat map of texts and numbers, whose bounds msgspec checks while it reads them,
in a quarter of the time. What it does not take, or might take otherwise than the wire does, is
given to the wire, which knows every error: a message that has a field with a check of another kind,
one that is unknown, one that stands twice, or none at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Required, TypedDict, cast

import msgspec

from sessionclient.fields import Field, Integer, Seconds, Text
from sessionclient.wire import Kind, Message, decode

Payload = bytes | memoryview

# How messages begin that our own clients send: a map of up to 15 keys with their number in it, "k"
# in two bytes, a text of up to 31 bytes with their number in it, the name of the kind.
FIXMAP: Final = 0x80
SIZE_AT: Final = 3
NAME_AT: Final = 4
SIZE_BITS: Final = 0b11111


def quick_decoder(kinds: Mapping[str, Kind]) -> Callable[[Payload], Message]:
    """What decodes and checks a frame as ``decode(frame, kinds)`` does.

    A whole number where seconds are expected may come as a float. Raises `WireError` likewise.
    """
    readers = {name.encode(): reader for name in kinds if (reader := _reader(name, kinds[name]))}
    not_here = (IndexError, KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

    def quick(payload: Payload) -> Message:
        try:
            end = NAME_AT + (payload[SIZE_AT] & SIZE_BITS)
            message = readers[bytes(payload[NAME_AT:end])](payload)
        except not_here:
            return decode(payload, kinds)  # which also says what is wrong with it
        # as many keys as it says itself: none was unknown, and none stood twice
        return message if payload[0] == FIXMAP | len(message) else decode(payload, kinds)

    return quick


def _reader(name: str, kind: Kind) -> Callable[[Payload], Message] | None:
    """Reads a message of this kind that has no other fields than those of a simple type; None if
    it must have others."""
    fields: dict[str, Any] = {"k": Required[Literal[name]]}
    for field in kind.fields:
        simple = _simple(field)
        if simple is not None:
            fields[field.name] = Required[simple] if field.required else simple
        elif field.required:
            return None
    # made from the wire's tables, so that these remain the only place where a kind is described
    shape = cast(Any, TypedDict)(name, fields, total=False)
    return cast("Callable[[Payload], Message]", msgspec.msgpack.Decoder(shape).decode)


def _simple(field: Field) -> Any:
    """The annotated type that is checked as the field is; None for other checks."""
    match field.check:
        case Text(shortest=shortest, longest=longest):
            return Annotated[str, msgspec.Meta(min_length=shortest, max_length=longest)]
        case Integer(low=least, high=most):
            return Annotated[int, msgspec.Meta(ge=least, le=most)]
        case Seconds(low=least, high=most):
            return Annotated[float, msgspec.Meta(ge=least, le=most)]
        case _:
            return None
