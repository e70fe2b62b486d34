"""Which of a page's requests to Perspective pass: those that read. Pure.

Perspective's protocol is protobuf: ``Request {uint32 msg_id = 1; string entity_id = 2; oneof
client_req {...}}`` (its perspective.proto). All pages share one table, and the engine itself lets
any of them alter it, so what is let through is an allow-list: a request that a later version adds
is refused until it is put here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_REQUEST_BYTES: Final = 64 * 1024  # some hundred are usual; filters and expressions add more

# Field numbers of the oneof in 5.6. Missing, and so refused: 17 system info, 27 make table,
# 28 delete table, 31 remove rows, 32 replace or clear, 33 update, 38 make join.
MAKE_PORT: Final = 5
ON_UPDATE: Final = 21  # answered again each time the view has changed
READS: Final = frozenset(
    {
        3,  # features
        4,  # names of tables
        MAKE_PORT,
        6,  # make view
        7,  # schema
        8,  # size
        10,  # paths of a view
        11,  # delete view
        12,  # dimensions
        13,  # schema of expressions
        14,  # configuration of a view
        15,  # schema of a view
        16,  # rows as Arrow
        18,  # collapse
        19,  # expand
        20,  # minimum and maximum
        ON_UPDATE,
        22,  # off update
        23,  # depth
        24,  # rows as columns
        25,  # rows as CSV
        26,  # rows as JSON
        29,  # on deletion of the table
        30,  # off deletion of the table
        34,  # on deletion of a view
        35,  # off deletion of a view
        36,  # rows as NDJSON
        37,  # off tables
        39,  # on removal
        40,  # off removal
        41,  # describe
    }
)
_SERVER_ERROR: Final = 50
_MAX_SHIFT: Final = 63
_VARINT: Final = 0  # protobuf's wire types
_BYTES: Final = 2


class NotARequest(Exception):
    """Bytes that are not one request."""


class Request(NamedTuple):
    """What is told by the outside of a request."""

    number: int
    entity: bytes
    kind: int

    @property
    def reads(self) -> bool:
        return self.kind in READS


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > _MAX_SHIFT:
            raise NotARequest("a number is cut or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def parse(data: bytes) -> Request:
    """The request in these bytes: exactly one member, and nothing unknown around it.

    Of a oneof that stands twice protobuf takes the last, so finding one that is allowed is not
    enough: a second one is an error.

    Raises:
        NotARequest: whatever is wrong.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise NotARequest(f"{len(data)} bytes are over {MAX_REQUEST_BYTES}")
    at, number, entity, kinds = 0, 0, b"", []
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if field == 1 and wire == _VARINT:
            number, at = _varint(data, at)
            continue
        if wire != _BYTES or field < 2:
            raise NotARequest(f"field {field} has wire type {wire}")
        size, at = _varint(data, at)
        if size > len(data) - at:
            raise NotARequest(f"field {field} is cut")
        if field == 2:
            entity = data[at : at + size]
        else:
            kinds.append(field)
        at += size
    if len(kinds) != 1:
        raise NotARequest(f"{len(kinds)} requests in one message")
    return Request(number, entity, kinds[0])


def answers(data: bytes) -> int | None:
    """The number of the request that an answer of the engine belongs to; None if it has none."""
    if not data or data[0] != 1 << 3 | _VARINT:
        return None
    return _varint(data, 1)[0]


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(field: int, value: bytes) -> bytes:
    return _number(field << 3 | _BYTES) + _number(len(value)) + value


def _answer(request: Request, member: bytes) -> bytes:
    return _number(1 << 3 | _VARINT) + _number(request.number) + _field(2, request.entity) + member


def refusal(request: Request, text: str) -> bytes:
    """The answer that makes the page's call fail with this text; the connection goes on."""
    return _answer(request, _field(_SERVER_ERROR, _field(1, text.encode())))


def empty_port(request: Request) -> bytes:
    """The grid asks for a port to edit through; nobody edits, so the first is as good as any."""
    return _answer(request, _field(MAKE_PORT, b""))
