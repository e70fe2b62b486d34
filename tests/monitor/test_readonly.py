"""Only requests that read pass; whatever else the bytes are, nothing but `NotARequest` comes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.readonly import (
    MAKE_PORT,
    MAX_REQUEST_BYTES,
    ON_UPDATE,
    READS,
    NotARequest,
    Request,
    answers,
    empty_port,
    parse,
    refusal,
)
from tests.monitor.protobuf import member, read, request, varint

FORBIDDEN = {
    17: "system info",
    27: "make table",
    28: "delete table",
    31: "remove rows",
    32: "replace or clear",
    33: "update",
    38: "make join",
}
KINDS = st.integers(3, 200)
NUMBERS = st.integers(0, 2**32 - 1)


def test_a_request_is_told_by_its_outside() -> None:
    found = parse(request(300, 8, b"anything", b"sessions-1"))
    assert found == Request(300, b"sessions-1", 8)
    assert found.reads


def test_a_request_needs_neither_number_nor_entity() -> None:
    assert parse(member(4, b"")) == Request(0, b"", 4)


def test_the_order_of_fields_does_not_matter() -> None:
    data = member(6, b"view") + member(2, b"table") + member(1, 7)
    assert parse(data) == Request(7, b"table", 6)


def test_of_a_number_or_an_entity_that_stands_twice_the_last_counts() -> None:
    data = member(1, 7) + member(2, b"a") + member(2, b"b") + member(1, 8) + member(7, b"")
    assert parse(data) == Request(8, b"b", 7)


@pytest.mark.parametrize("kind", sorted(READS))
def test_every_kind_that_reads_passes(kind: int) -> None:
    assert parse(request(1, kind)).reads


@pytest.mark.parametrize("kind", FORBIDDEN, ids=FORBIDDEN.values())
def test_every_kind_that_writes_is_refused(kind: int) -> None:
    assert not parse(request(1, kind)).reads


@pytest.mark.parametrize("kind", [9, 42, 43, 50, 100, 2**20])
def test_a_kind_that_nobody_knows_is_refused(kind: int) -> None:
    assert not parse(request(1, kind)).reads


def test_known_and_forbidden_kinds_share_nothing() -> None:
    assert READS.isdisjoint(FORBIDDEN)
    assert {MAKE_PORT, ON_UPDATE} <= READS


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"", 0),
        (member(1, 5) + member(2, b"t"), 0),
        (request(1, 8) + member(33, b""), 2),
        (request(1, 33) + member(8, b""), 2),
        (request(1, 8) + member(8, b""), 2),
        (request(1, 8) * 3, 3),
    ],
)
def test_exactly_one_member_of_the_oneof_makes_a_request(data: bytes, number: int) -> None:
    with pytest.raises(NotARequest, match=f"^{number} requests in one message$"):
        parse(data)


@pytest.mark.parametrize("wire", [1, 3, 4, 5, 6, 7])
def test_other_wire_types_are_refused(wire: int) -> None:
    with pytest.raises(NotARequest, match=f"^field 9 has wire type {wire}$"):
        parse(varint(9 << 3 | wire) + b"\0" * 8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (varint(1 << 3 | 2) + b"\1x", "field 1 has wire type 2"),
        (varint(2 << 3) + b"\1", "field 2 has wire type 0"),
        (varint(8 << 3) + b"\1", "field 8 has wire type 0"),
        (varint(0 << 3 | 2) + b"\0", "field 0 has wire type 2"),
        (varint(0) + b"\0", "field 0 has wire type 0"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(NotARequest, match=f"^{words}$"):
        parse(data)


def test_every_beginning_of_a_request_is_no_request() -> None:
    data = request(300, 8, b"body")
    whole = {len(member(1, 300)), len(member(1, 300) + member(2, b"sessions-1")), 0}
    for size in range(len(data)):
        words = "0 requests" if size in whole else "is cut"
        with pytest.raises(NotARequest, match=words):
            parse(data[:size])


def test_a_length_beyond_the_end_is_refused() -> None:
    with pytest.raises(NotARequest, match=r"^field 8 is cut$"):
        parse(varint(8 << 3 | 2) + varint(2**63) + b"x")


@pytest.mark.parametrize("padding", [0, 1, 8])
def test_a_number_may_be_longer_than_it_has_to(padding: int) -> None:
    key = varint(8 << 3 | 2, padding)
    assert parse(key + varint(1, padding) + b"x").kind == 8
    assert parse(varint(33 << 3 | 2, padding) + b"\0").kind == 33


def test_a_number_has_ten_bytes_at_most() -> None:
    assert parse(varint(1 << 3) + varint(5, 9) + member(8, b"")).number == 5
    with pytest.raises(NotARequest, match=r"^a number is cut or too long$"):
        parse(varint(1 << 3) + varint(5, 10) + member(8, b""))


@pytest.mark.parametrize("kind", FORBIDDEN, ids=FORBIDDEN.values())
def test_high_bits_of_a_key_hide_no_kind(kind: int) -> None:
    # an engine that keeps 32 bits of a key would see the kind
    data = varint(kind << 3 | 2 | 1 << 35) + b"\0"
    assert not parse(data).reads


def test_a_request_has_its_size_at_most() -> None:
    frame = member(8, b"")
    room = MAX_REQUEST_BYTES - len(frame) - 4
    data = frame + member(2, b"x" * room)
    assert len(data) == MAX_REQUEST_BYTES
    assert parse(data).kind == 8
    with pytest.raises(NotARequest, match="65537 bytes are over 65536"):
        parse(data + b"x")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_or_none(data: bytes) -> None:
    with suppress(NotARequest):
        found = parse(data)
        assert type(found) is Request
        kinds = [field for field, _ in read(data) if field > 2]
        assert [found.kind] == kinds


@given(st.lists(st.tuples(st.integers(1, 60), st.binary(max_size=5) | NUMBERS), max_size=5))
def test_what_passes_holds_one_member_and_it_reads(
    fields: list[tuple[int, bytes | int]],
) -> None:
    data = b"".join(member(field, value) for field, value in fields)
    with suppress(NotARequest):
        if parse(data).reads:
            kinds = [field for field, _ in fields if field > 2]
            assert len(kinds) == 1
            assert kinds[0] not in FORBIDDEN


@given(NUMBERS, KINDS, st.binary(max_size=200), st.binary(max_size=20))
def test_every_well_formed_request_is_read(
    number: int, kind: int, body: bytes, entity: bytes
) -> None:
    assert parse(request(number, kind, body, entity)) == Request(number, entity, kind)


# --- answers -----------------------------------------------------------------------------------


@given(NUMBERS, st.binary(max_size=200), st.text(max_size=200))
def test_a_refusal_is_the_answer_that_fails(number: int, entity: bytes, text: str) -> None:
    answer = refusal(Request(number, entity, 33), text)
    fields = read(answer)
    assert fields == [(1, number), (2, entity), (50, fields[2][1])]
    assert isinstance(fields[2][1], bytes)
    assert read(fields[2][1]) == [(1, text.encode())]
    assert answers(answer) == number


@given(NUMBERS, st.binary(max_size=200))
def test_an_empty_port_is_the_first(number: int, entity: bytes) -> None:
    answer = empty_port(Request(number, entity, MAKE_PORT))
    assert read(answer) == [(1, number), (2, entity), (5, b"")]
    assert answers(answer) == number


@pytest.mark.parametrize("data", [b"", member(2, b"table"), member(8, b"") + member(1, 5)])
def test_an_answer_without_a_number_in_front_belongs_to_nobody(data: bytes) -> None:
    assert answers(data) is None
