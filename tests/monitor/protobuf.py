"""A small reader and writer of protobuf, independent of the product's."""

from __future__ import annotations


def varint(value: int, padding: int = 0) -> bytes:
    """A number; ``padding`` bytes longer than it has to be."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def member(field: int, value: bytes | int) -> bytes:
    """One field: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(field << 3) + varint(value)
    return varint(field << 3 | 2) + varint(len(value)) + value


def request(number: int, kind: int, body: bytes = b"", entity: bytes = b"sessions-1") -> bytes:
    """As a page of Perspective sends it."""
    return member(1, number) + member(2, entity) + member(kind, body)


def read(data: bytes) -> list[tuple[int, int | bytes]]:
    """All fields of a message, in their order."""
    fields: list[tuple[int, int | bytes]] = []
    rest = list(data)

    def number() -> int:
        value, shift = 0, 0
        while True:
            byte = rest.pop(0)
            value |= (byte % 128) << shift
            if byte < 128:
                return value
            shift += 7

    while rest:
        field, wire = divmod(number(), 8)
        value: int | bytes = number()
        if wire == 2:
            size = int(value)
            assert size <= len(rest), "the message is cut"
            value, rest[:] = bytes(rest[:size]), rest[size:]
        else:
            assert wire == 0, f"wire type {wire}"
        fields.append((field, value))
    return fields
