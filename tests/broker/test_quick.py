"""The broker's quick decoder says of any bytes what the wire says, and is indeed asked less."""

from __future__ import annotations

from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import quick as module
from broker.quick import quick_decoder
from sessionclient.wire import TO_BROKER, Message, WireError, decode, encode
from tests.client.messages import example
from tests.client.test_wire_bounds import SORTS, sort_of
from tests.client.test_wire_properties import values

quick: Final = quick_decoder(TO_BROKER)
FIELDS: Final = [(kind, field) for kind in TO_BROKER for field in example(kind) if field != "k"]
FLAT: Final[dict[str, dict[str, Any]]] = {  # what apps and gateways say all day
    "status": {"n": 7, "s": "s1", "status": "running", "task": "load", "task_age": 0.25},
    "heartbeat": {"n": 8},
    "delivered": {"n": 9, "c": "c1"},
    "end": {"n": 10, "s": "s1", "reason": "closed"},
    "get": {"r": 1, "s": "s1"},
    "touch": {"r": 2, "s": "s1"},
    "set_status": {"r": 3, "s": "s1", "status": "idle"},
    "kill": {"r": 4, "s": "s1", "reason": "too long", "wait": 2.0},
}


def said(payload: bytes, quickly: bool) -> Message | tuple[str, str, int | None]:
    try:
        return quick(payload) if quickly else decode(payload, TO_BROKER)
    except WireError as error:
        return error.cause, str(error), error.request


def agree(payload: bytes) -> None:
    assert said(payload, quickly=True) == said(payload, quickly=False)
    assert quick_or_none(memoryview(payload)) == quick_or_none(payload)


def quick_or_none(payload: bytes | memoryview) -> Message | None:
    try:
        return quick(payload)
    except WireError:
        return None


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_every_field_has_the_bounds_of_the_wire(kind: str, field: str) -> None:
    least = {key: value for key, value in example(kind).items() if key != "done"}
    for value in (*SORTS[sort_of(kind, field)][0], *SORTS[sort_of(kind, field)][1], None):
        agree(msgpack.packb({**least, field: value}))
    least.pop(field, None)
    agree(msgpack.packb(least))


@pytest.mark.parametrize("kind", FLAT)
def test_what_comes_all_day_is_not_left_to_the_wire(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = {"k": kind, **FLAT[kind]}
    monkeypatch.setattr(module, "decode", None)
    assert quick(encode(message)) == message
    assert quick(memoryview(encode(message))) == message


@pytest.mark.parametrize("kind", FLAT)
def test_what_is_unknown_or_stands_twice_or_elsewhere_is_left_to_the_wire(kind: str) -> None:
    pairs = [("k", kind), *FLAT[kind].items()]
    agree(_packed([*pairs, ("more", 1)]))
    agree(_packed([*pairs, pairs[-1]]))
    agree(_packed([*pairs, ("k", kind)]))
    agree(_packed([*pairs, ("k", "status")]))
    agree(_packed([*pairs[:-1], pairs[-2]]))
    agree(_packed(pairs[::-1]))
    agree(_packed(pairs) + b"\0")
    for size in range(len(_packed(pairs))):
        agree(_packed(pairs)[:size])


def _packed(pairs: list[tuple[str, Any]]) -> bytes:
    packer = msgpack.Packer()
    parts = [packer.pack(part) for pair in pairs for part in pair]
    return bytes(packer.pack_map_header(len(pairs)) + b"".join(parts))


@pytest.mark.no_cover  # to count lines doubles what it takes, and other tests meet them
@settings(deadline=None, max_examples=400)
@given(
    kind=st.sampled_from(sorted(FLAT)),
    changes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
)
def test_bytes_that_were_changed_are_read_as_the_wire_reads_them(
    kind: str, changes: list[tuple[int, int]]
) -> None:
    payload = bytearray(encode({"k": kind, **FLAT[kind]}))
    for at, byte in changes:
        payload[at % len(payload)] = byte
    agree(bytes(payload))


@pytest.mark.no_cover  # the same
@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(sorted(TO_BROKER)),
    fields=st.dictionaries(st.sampled_from(["n", "r", "s", "c", "status", "task", "wait"]), values),
)
def test_any_fields_of_any_kind_are_read_as_the_wire_reads_them(
    kind: str, fields: dict[str, Any]
) -> None:
    agree(msgpack.packb({"k": kind, **fields}))
