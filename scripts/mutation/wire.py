"""Guards of what a message may be."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_WIRE: Final = "tests/client/test_wire.py"

GUARDS: Final = (
    # --- bytes ------------------------------------------------------------------------------
    Guard(
        "a key that stands twice is refused",
        "38, I13",
        "sessionclient/wire.py",
        "    if len(result) != len(pairs):\n",
        "    if False:\n",
        _WIRE,
    ),
    Guard(
        "so is one in a message that the broker reads quickly",
        "38, I13",
        "broker/quick.py",
        "message if payload[0] == FIXMAP | len(message) else decode(payload, kinds)\n",
        "message\n",
        "tests/broker/test_quick.py",
    ),
    Guard(
        "extension types are refused",
        "38, I13",
        "sessionclient/wire.py",
        "    max_ext_len=0,\n",
        "",
        _WIRE,
    ),
    Guard(
        "an extension without data is refused",
        "38, I13",
        "sessionclient/wire.py",
        "    raise ValueError(_NO_EXTENSIONS)\n",
        "    return None\n",
        _WIRE,
    ),
    Guard(
        "nesting that is too deep is refused",
        "38, I13",
        "sessionclient/wire.py",
        "    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:\n",
        "    except (msgpack.OutOfData, msgpack.FormatError) as error:\n",
        _WIRE,
    ),
    Guard(
        "only text is a key of a map",
        "38, I13",
        "sessionclient/wire.py",
        "strict_map_key=True",
        "strict_map_key=False",
        "tests/client/test_wire.py::test_broken_bytes_are_malformed",
    ),
    Guard(
        "NaN is no number",
        "38, I13",
        "sessionclient/fields.py",
        "type(value) is int) and self.low <= value <= self.high\n",
        "type(value) is int) and not (value < self.low or value > self.high)\n",
        "tests/client/test_wire_bounds.py",
    ),
    Guard(
        "a message too long to be sent is told, not sent",
        "I11",
        "sessionclient/wire.py",
        "    if len(payload) > MAX_FRAME_BYTES:\n        raise Misuse(\n",
        "    if False:\n        raise Misuse(\n",
        _WIRE,
    ),
    Guard(
        "every field is checked",
        "38, I13",
        "sessionclient/wire.py",
        "        elif check(value):\n",
        "        elif True:\n",
        "tests/client/test_wire_bounds.py",
    ),
    Guard(
        "lists are bounded",
        "38, I11",
        "sessionclient/fields.py",
        "type(value) is list and len(value) <= limit and all(map(check, value))",
        "type(value) is list and all(map(check, value))",
        "tests/client/test_wire_bounds.py",
    ),
    Guard(
        "an id can't hold anything",
        "46",
        "sessionclient/fields.py",
        "    return type(value) is str and _NEW_ID.fullmatch(value) is not None\n",
        "    return type(value) is str\n",
        "tests/client/test_wire_bounds.py",
    ),
)
