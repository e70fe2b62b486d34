"""Bytes on the wire: what is a message, what is none, and how that is told."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from sessionclient.errors import Misuse, PeerFault
from sessionclient.wire import (
    FEED,
    FROM_BROKER,
    MAX_FRAME_BYTES,
    MAX_NUMBER,
    ROLES,
    TO_BROKER,
    WireError,
    decode,
    encode,
)
from tests.client.messages import EVERY_KIND, REQUIRED, TABLES, example, table_of


def refusal(payload: bytes, table: str = "from_broker") -> WireError:
    with pytest.raises(WireError) as caught:
        decode(payload, TABLES[table])
    return caught.value


def test_the_examples_are_of_every_kind_there_is() -> None:
    listed = [(table, kind) for table, kinds in TABLES.items() for kind in kinds]
    assert sorted(EVERY_KIND) == sorted(listed)
    assert sorted(REQUIRED) == sorted(kind for _, kind in EVERY_KIND)


# --- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "kind"), EVERY_KIND)
def test_every_kind_comes_through_unchanged(table: str, kind: str) -> None:
    message = example(kind)
    assert decode(encode(message), TABLES[table]) == message


@pytest.mark.parametrize(("table", "kind"), EVERY_KIND)
def test_a_kind_needs_its_required_fields_and_no_other(table: str, kind: str) -> None:
    needed = REQUIRED[kind].split()
    least = {key: value for key, value in example(kind).items() if key in ("k", *needed)}
    assert decode(encode(least), TABLES[table]) == least
    for field in needed:
        lacking = {key: value for key, value in least.items() if key != field}
        error = refusal(encode(lacking), table)
        assert (error.cause, str(error)) == ("bad_field", f"{kind}: {field} is missing")
        assert str(refusal(encode(least | {field: None}), table)) == str(error)


@pytest.mark.parametrize(("table", "kind"), EVERY_KIND)
def test_a_nil_stands_for_an_absent_field(table: str, kind: str) -> None:
    needed = REQUIRED[kind].split()
    optional = [key for key in example(kind) if key not in ("k", *needed)]
    message = example(kind, **dict.fromkeys(optional))
    bare = {key: value for key, value in message.items() if value is not None}
    assert decode(encode(message), TABLES[table]) == bare


@pytest.mark.parametrize(("table", "kind"), EVERY_KIND)
def test_a_field_nobody_knows_is_ignored(table: str, kind: str) -> None:
    message = example(kind, added_later={"a": [1, 2.5, b"x", None]})
    assert decode(encode(message), TABLES[table]) == example(kind)


@pytest.mark.parametrize(("table", "kind"), EVERY_KIND)
def test_a_field_of_another_kind_is_ignored_whatever_it_holds(table: str, kind: str) -> None:
    own = {field.name for field in TABLES[table][kind].fields}
    strange = {
        field.name for kinds in TABLES.values() for k in kinds.values() for field in k.fields
    }
    message = example(kind, **{name: [5] for name in strange - own - {"v"}})
    assert decode(encode(message), TABLES[table]) == example(kind)


@pytest.mark.parametrize(("_table", "kind"), EVERY_KIND)
def test_a_kind_is_known_in_its_own_direction_only(_table: str, kind: str) -> None:
    for kinds in TABLES.values():
        if kinds is not table_of(kind):
            with pytest.raises(WireError, match=f"^unknown kind '{kind}'$"):
                decode(encode(example(kind)), kinds)


def test_a_memoryview_is_read_like_bytes() -> None:
    assert decode(memoryview(encode({"k": "ack", "n": 3})), FROM_BROKER) == {"k": "ack", "n": 3}


@pytest.mark.parametrize("version", [0, 2, MAX_NUMBER])
def test_a_hello_of_another_version_is_told_so_whatever_else_it_holds(version: int) -> None:
    text = (
        f"this broker speaks protocol version 1, you speak {version}; upgrade the older of the two"
    )
    for message in (example("hello", v=version), {"k": "hello", "v": version, "role": "new"}):
        error = refusal(encode(message | {"r": 5}), "to_broker")
        assert (error.cause, str(error), error.request) == ("unsupported_version", text, 5)


def test_a_version_matters_in_a_hello_only() -> None:
    heartbeat = example("heartbeat", v=2)
    assert decode(encode(heartbeat), TO_BROKER) == example("heartbeat")
    answer = example("welcome", v=2)
    assert decode(encode(answer), FROM_BROKER) == answer


def test_only_operators_may_act_and_only_apps_have_sessions() -> None:
    allowed = {kind: TO_BROKER[kind].roles for kind in TO_BROKER}
    for kind in ("hello", "heartbeat", "bye"):
        assert allowed.pop(kind) == ROLES
    for kind in ("hello_part", "register", "status", "end", "delivered", "failed"):
        assert allowed.pop(kind) == ("app",)
    for kind in (
        "create",
        "delete",
        "touch",
        "set_status",
        "kill",
        "kill_all",
        "cleanup",
        "audit",
        "backup",
    ):
        assert allowed.pop(kind) == ("operator",)
    assert set(allowed.values()) == {("viewer", "operator")}


@pytest.mark.parametrize(
    ("by_role", "may"),
    [
        ("app", {"get", "create", "delete", "touch", "set_status"}),
        ("viewer", {"list", "get", "find", "commands", "command_state", "tasks", "stats"}),
    ],
)
def test_an_operator_may_do_less_on_behalf_of_somebody_who_may_do_less(
    by_role: str, may: set[str]
) -> None:
    requests = [kind for kind, entry in TO_BROKER.items() if entry.fields[0].name == "r"]
    assert {kind for kind in requests if TO_BROKER[kind].allows("operator", by_role)} == may
    assert all(TO_BROKER[kind].allows("operator", "operator") for kind in requests)
    # nobody gains a right by speaking for another
    assert not any(TO_BROKER[kind].allows("app", "operator") for kind in requests)
    assert not TO_BROKER["kill"].allows("viewer", "operator")


# --- kinds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("nonsense", "'nonsense'"),
        ("", "''"),
        ("ACK", "'ACK'"),
        ("x" * 41, repr("x" * 40)),
        (None, "of type NoneType"),
        (1, "of type int"),
        (b"ack", "of type bytes"),
        (["ack"], "of type list"),
        ({"a": 1}, "of type dict"),
    ],
)
def test_an_unknown_kind_is_told_with_what_it_was(kind: Any, shown: str) -> None:
    error = refusal(msgpack.packb({"k": kind, "n": 1}))
    assert (error.cause, str(error)) == ("unknown_kind", f"unknown kind {shown}")
    assert error.request is None


def test_a_map_without_a_kind_is_of_no_kind() -> None:
    assert str(refusal(msgpack.packb({}))) == "unknown kind of type NoneType"
    assert str(refusal(msgpack.packb({b"k": "ack", "n": 1}))) == "unknown kind of type NoneType"


@pytest.mark.parametrize(
    ("request_number", "kept"),
    [
        (0, 0),
        (7, 7),
        (MAX_NUMBER, MAX_NUMBER),
        (MAX_NUMBER + 1, None),
        (-1, None),
        (True, None),
        (7.0, None),
        ("7", None),
    ],
)
def test_an_error_carries_the_request_number_when_it_is_one(
    request_number: Any, kept: int | None
) -> None:
    unknown = refusal(msgpack.packb({"k": "nonsense", "r": request_number}), "to_broker")
    assert (unknown.cause, unknown.request) == ("unknown_kind", kept)
    wrong = refusal(msgpack.packb({"k": "ack", "r": request_number, "n": "x"}))
    assert (wrong.cause, wrong.request) == ("bad_field", kept)
    missing = refusal(msgpack.packb({"k": "ack", "r": request_number}))
    assert (missing.cause, missing.request) == ("bad_field", kept)


def test_a_wire_error_is_the_peers_fault_and_no_value_error() -> None:
    error = refusal(b"")
    assert isinstance(error, PeerFault)
    assert not isinstance(error, ValueError)
    assert error.request is None


# --- bytes that are no message -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "NoneType"),
        (True, "bool"),
        (1, "int"),
        (1.5, "float"),
        ("ack", "str"),
        (b"ack", "bytes"),
        ([["k", "ack"]], "list"),
    ],
)
def test_what_is_no_map_is_malformed(value: Any, name: str) -> None:
    error = refusal(msgpack.packb(value))
    assert (error.cause, str(error)) == ("malformed", f"expected a map, got {name}")


ACK = b"\x82\xa1k\xa3ack\xa1n\x01"


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(ACK[:-1], id="truncated"),
        pytest.param(ACK + b"\x00", id="more than one value"),
        pytest.param(ACK + ACK, id="two messages"),
        pytest.param(b"\xc1", id="a byte that is no format"),
        pytest.param(b"\x82\xa1k\xa3ack\x01\x01", id="a number as key"),
        pytest.param(b"\x82\xa1k\xa3ack\xc0\x01", id="nil as key"),
        pytest.param(b"\x82\xa1k\xa3ack\xc2\x01", id="false as key"),
        pytest.param(b"\x82\xa1k\xa3ack\x90\x01", id="a list as key"),
        pytest.param(b"\x82\xa1k\xa3ack\x80\x01", id="a map as key"),
        pytest.param(b"\x82\xa1k\xa3ack\xa1\xff\x01", id="a key that is no UTF-8"),
        pytest.param(b"\x82\xa1k\xa3\xed\xa0\x80\xa1n\x01", id="a lone surrogate"),
        pytest.param(b"\x82\xa1k\xa2\xc0\xaf\xa1n\x01", id="overlong UTF-8"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of 4 billion"),
        pytest.param(b"\x81\xa1k\xdd\xff\xff\xff\xff", id="a list of 4 billion"),
        pytest.param(b"\x81\xa1k\xdb\xff\xff\xff\xff", id="a text of 4 GB"),
        pytest.param(b"\x81\xa1k\xc6\xff\xff\xff\xff", id="bytes of 4 GB"),
        pytest.param(b"\x81\xa1k\xc9\xff\xff\xff\xff\x01", id="an extension of 4 GB"),
    ],
)
def test_broken_bytes_are_malformed(payload: bytes) -> None:
    error = refusal(payload)
    assert error.cause == "malformed"
    assert str(error).startswith("not a msgpack message: ")


def test_a_key_that_stands_twice_is_malformed_at_any_depth() -> None:
    error = refusal(b"\x83\xa1k\xa3ack\xa1n\x01\xa1n\x02")
    assert str(error) == "not a msgpack message: a key stands twice in a map"
    inner = refusal(b"\x83\xa1k\xa5reply\xa1r\x01\xa6result\x91\x82\xa1a\x01\xa1a\x01")
    assert (inner.cause, str(inner)) == ("malformed", str(error))
    next_to = refusal(b"\x83\xa1k\xa5reply\xa1r\x01\xa6result\x82\xa1a\x01\xa1a\x01")
    assert str(next_to) == str(error)


@pytest.mark.parametrize("length", [236, 276])
def test_it_is_malformed_in_a_short_message_and_in_a_long_one(length: int) -> None:
    message = example("refused", reason="x" * (length - len(encode(example("refused", reason="")))))
    payload = encode(message)
    assert decode(payload, FROM_BROKER) == message
    twice = bytes([payload[0] + 1]) + payload[1:] + b"\xa1k\xa7refused"
    assert str(refusal(twice)) == "not a msgpack message: a key stands twice in a map"


EXTENSIONS = [
    pytest.param(b"\xc7" + bytes([length]) + code.to_bytes(1, "big", signed=True) + b"1" * length)
    for code in (-128, -2, -1, 0, 1, 5, 127)
    for length in (0, 5, 12)
    if (code, length) != (-1, 0)
] + [
    pytest.param(b"\xd6\xff" + bytes(4), id="a timestamp of 4 bytes"),
    pytest.param(b"\xd7\xff" + bytes(8), id="a timestamp of 8 bytes"),
    pytest.param(b"\xc7\x0c\xff" + bytes(12), id="a timestamp of 12 bytes"),
    pytest.param(b"\xc8\x01\x00\x05" + bytes(256), id="256 bytes"),
    pytest.param(b"\xc9\x00\x00\x00\x01\x05\x00", id="a long length"),
]


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_extension_type_is_malformed_wherever_it_stands(extension: bytes) -> None:
    for payload in (
        b"\x82\xa1k\xa9say_hello\xa1x" + extension,  # in a field that nobody reads
        b"\x83\xa1k\xa5reply\xa1r\x01\xa6result\x91" + extension,
        b"\x82\xa1k\xa3ack\xa1n" + extension,
        b"\x82\xa1k\xa9say_hello" + extension + b"\x01",
        extension,
    ):
        error = refusal(payload)
        text = "not a msgpack message: extension types are not used here"
        assert (error.cause, str(error)) == ("malformed", text)


def test_a_timestamp_without_data_is_malformed() -> None:
    assert refusal(b"\x82\xa1k\xa9say_hello\xa1x\xc7\x00\xff").cause == "malformed"


@pytest.mark.parametrize("depth", [1, 500, 511, 512, 1000, 1010, 1020, 1021, 1022])
def test_deep_nesting_is_a_message_as_long_as_it_can_be_read(depth: int) -> None:
    nested = b"\x91" * depth + b"\xc0"
    message = decode(b"\x83\xa1k\xa5reply\xa1r\x01\xa6result" + nested, FROM_BROKER)
    found = 0
    value = message["result"]
    while value is not None:
        (value,) = value
        found += 1
    assert found == depth


@pytest.mark.parametrize("depth", [1000, 1010, 1020, 1021, 1022, 1023])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a"], ids=["lists", "maps"])
def test_a_kind_that_is_nested_deep_is_an_unknown_kind(depth: int, opening: bytes) -> None:
    error = refusal(b"\x81\xa1k" + opening * depth + b"\xc0")
    assert (error.cause, str(error)) == (
        "unknown_kind",
        f"unknown kind of type {'list' if opening == bytes([0x91]) else 'dict'}",
    )


@pytest.mark.parametrize("depth", [1000, 1020, 1022])
def test_a_field_that_is_nested_deep_is_a_bad_field(depth: int) -> None:
    error = refusal(b"\x82\xa1k\xa3ack\xa1n" + b"\x91" * depth + b"\xc0")
    assert (error.cause, str(error)) == ("bad_field", "ack: n must be a whole number from 0")


@pytest.mark.parametrize("depth", [1024, 1025, 5000, 300_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a"], ids=["lists", "maps"])
def test_nesting_that_is_too_deep_is_malformed(depth: int, opening: bytes) -> None:
    nested = opening * depth + b"\xc0"
    for payload in (b"\x82\xa1k\xa9say_hello\xa1x" + nested, opening + nested):
        error = refusal(payload)
        text = "not a msgpack message: StackError"
        assert (error.cause, str(error)) == ("malformed", text)


def padded(size: int) -> bytes:
    """A say_hello of this many bytes."""
    head = b"\x82\xa1k\xa9say_hello\xa1x\xc6"
    length = size - len(head) - 4
    return head + length.to_bytes(4, "big") + bytes(length)


def test_a_frame_may_have_its_limit_and_no_byte_more() -> None:
    assert decode(padded(MAX_FRAME_BYTES), FROM_BROKER)["k"] == "say_hello"
    error = refusal(padded(MAX_FRAME_BYTES + 1))
    assert (error.cause, str(error)) == ("too_large", "1048577 bytes are over 1048576")
    with pytest.raises(WireError, match="1048577 bytes are over 1048576"):
        decode(memoryview(bytes(MAX_FRAME_BYTES + 1)), FEED)


# --- encoding ------------------------------------------------------------------------------------


def test_a_message_may_be_encoded_up_to_the_limit_and_no_byte_more() -> None:
    room = MAX_FRAME_BYTES - 20
    assert len(encode({"k": "say_hello", "x": bytes(room)})) == MAX_FRAME_BYTES
    with pytest.raises(Misuse) as caught:
        encode({"k": "say_hello", "x": bytes(room + 1)})
    text = "a 'say_hello' message of 1048577 bytes is over the limit of 1048576"
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, 1 << 64, -(1 << 63) - 1, "\ud800", {"\udcff": 1}],
    ids=["object", "set", "large", "small", "surrogate", "surrogate as key"],
)
def test_what_msgpack_cannot_express_is_misuse(value: Any) -> None:
    with pytest.raises(Misuse, match=r"^a 'status' message can't be encoded: ") as caught:
        encode({"k": "status", "x": value})
    assert caught.value.__cause__ is not None


def test_nesting_too_deep_to_be_encoded_is_misuse() -> None:
    nested: list[Any] = []
    for _ in range(2000):
        nested = [nested]
    with pytest.raises(Misuse, match="can't be encoded"):
        encode({"k": "reply", "result": nested})
