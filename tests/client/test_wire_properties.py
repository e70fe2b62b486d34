"""Whatever bytes arrive: they are a checked message or a `WireError`, and nothing else happens."""

from __future__ import annotations

from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionclient.wire import Message, WireError, decode, encode
from tests.client.messages import EVERY_KIND, REQUIRED, TABLES, example, table_of

# every line is met by tests of its own, and to count lines doubles what so many examples take
pytestmark = pytest.mark.no_cover

CAUSES: Final = {"too_large", "malformed", "unknown_kind", "unsupported_version", "bad_field"}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
)
keys = st.one_of(st.text(max_size=8), st.binary(max_size=8))
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)
kinds = st.sampled_from([kind for _, kind in EVERY_KIND])


def outcome(payload: bytes, table: str) -> Message | WireError:
    try:
        return decode(payload, TABLES[table])
    except WireError as error:
        return error


def check(payload: bytes, table: str) -> bool:
    """Decode; whether it was a message. What it may be is all that is asserted."""
    found = outcome(payload, table)
    if isinstance(found, WireError):
        assert found.cause in CAUSES
        assert str(found)
        assert found.request is None or 0 <= found.request <= 1 << 62
        return False
    assert type(found) is dict
    assert found["k"] in TABLES[table]
    assert all(found[field] is not None for field in REQUIRED[found["k"]].split())
    again = encode(found)
    assert encode(decode(again, TABLES[table])) == again
    return True


@pytest.mark.parametrize("table", TABLES)
@settings(deadline=None, max_examples=300)
@given(payload=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_wire_error(table: str, payload: bytes) -> None:
    check(payload, table)


@pytest.mark.parametrize("table", TABLES)
@settings(deadline=None, max_examples=200)
@given(value=values)
def test_any_value_is_a_message_or_a_wire_error(table: str, value: Any) -> None:
    check(msgpack.packb(value), table)


@pytest.mark.parametrize("table", TABLES)
@settings(deadline=None, max_examples=200)
@given(kind=kinds, fields=st.dictionaries(st.sampled_from(sorted("srncvtw")), values))
def test_any_fields_of_any_kind_are_a_message_or_a_wire_error(
    table: str, kind: str, fields: dict[str, Any]
) -> None:
    check(msgpack.packb({"k": kind, **fields}), table)


@settings(deadline=None, max_examples=400)
@given(data=st.data(), kind=kinds)
def test_a_message_with_one_field_replaced_is_a_message_or_a_wire_error(
    data: st.DataObject, kind: str
) -> None:
    message = example(kind)
    field = data.draw(st.sampled_from(sorted(message)))
    message[field] = data.draw(values)
    for table in TABLES:
        accepted = check(msgpack.packb(message), table)
        assert not accepted or message["k"] in TABLES[table]


@settings(deadline=None, max_examples=600)
@given(data=st.data(), kind=kinds)
def test_a_message_with_damaged_bytes_is_a_message_or_a_wire_error(
    data: st.DataObject, kind: str
) -> None:
    payload = bytearray(encode(example(kind)))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(payload)))
        end = data.draw(st.integers(start, min(len(payload), start + 4)))
        payload[start:end] = data.draw(st.binary(max_size=4))
    for table in TABLES:
        check(bytes(payload), table)


@settings(deadline=None, max_examples=200)
@given(data=st.data(), kind=kinds)
def test_a_message_cut_short_is_malformed(data: st.DataObject, kind: str) -> None:
    payload = encode(example(kind))
    kept = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(WireError) as caught:
        decode(payload[:kept], table_of(kind))
    assert caught.value.cause == "malformed"


@settings(deadline=None, max_examples=200)
@given(kind=kinds, name=st.text(min_size=1, max_size=10).map("later ".__add__), value=values)
def test_unknown_fields_are_left_out(kind: str, name: str, value: Any) -> None:
    message = example(kind, **{name: value})
    decoded = decode(encode(message), table_of(kind))
    assert decoded == example(kind)


extensions = st.builds(
    lambda code, data: msgpack.packb(msgpack.ExtType(code, data)),
    st.integers(0, 127),
    st.binary(max_size=20),
) | st.builds(
    lambda seconds, nanoseconds: msgpack.packb(msgpack.Timestamp(seconds, nanoseconds)),
    st.integers(0, (1 << 40) - 1),
    st.integers(0, 999_999_999),
)


@settings(deadline=None, max_examples=200)
@given(kind=kinds, extension=extensions, depth=st.integers(0, 5))
def test_a_message_with_an_extension_anywhere_is_malformed(
    kind: str, extension: bytes, depth: int
) -> None:
    payload = encode({**example(kind), "later": None})
    assert payload.endswith(b"\xa5later\xc0")
    with pytest.raises(WireError) as caught:
        decode(payload[:-1] + b"\x91" * depth + extension, table_of(kind))
    text = "not a msgpack message: extension types are not used here"
    assert (caught.value.cause, str(caught.value)) == ("malformed", text)


@settings(deadline=None, max_examples=200)
@given(data=st.data(), first=kinds, second=kinds)
def test_two_messages_joined_anywhere_are_a_message_or_a_wire_error(
    data: st.DataObject, first: str, second: str
) -> None:
    head, tail = encode(example(first)), encode(example(second))
    payload = head[: data.draw(st.integers(0, len(head)))]
    payload += tail[data.draw(st.integers(0, len(tail))) :]
    for table in TABLES:
        check(payload, table)
