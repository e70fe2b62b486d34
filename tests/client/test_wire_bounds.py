"""The bounds of every field: what is let through at the limit, and refused just past it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from sessionclient.wire import (
    ERROR_CODES,
    MAX_BATCH_ITEMS,
    MAX_NUMBER,
    MAX_PAGE_ROWS,
    MAX_SECONDS,
    MAX_TARGETS,
    ROLES,
    WireError,
    decode,
    encode,
)
from tests.client.messages import ENDED, EVERY_KIND, SESSION, TASK, example, table_of

WIDE: Final = "\N{GRINNING FACE}"  # four bytes, one character
NAN: Final = float("nan")
ENDLESS: Final = float("inf")

# what a field of this sort must be -> (values let through, values refused)
SORTS: Final[dict[str, tuple[list[Any], list[Any]]]] = {
    "text of 1 to 255 characters": (
        ["x", "x" * 255, WIDE * 255, "\0", " "],
        ["", "x" * 256, WIDE * 256, b"x", 1, True, ["x"], {}],
    ),
    "text of at most 2000 characters": (
        ["", "x" * 2000, WIDE * 2000],
        ["x" * 2001, WIDE * 2001, b"", 0, False, [], {}],
    ),
    "an id of 1 to 64 characters": (
        ["x", "x" * 64, WIDE * 64, "no id of ours"],
        ["", "x" * 65, b"x", 1, True, [], {}],
    ),
    "an id of 1 to 64 of A-Z a-z 0-9 _ . : -": (
        ["x", "x" * 64, "AZaz09_.:-"],
        ["", "x" * 65, "a b", "a\n", "é", "\u0661", "a/b", b"x", 1, [], {}],
    ),
    "a whole number from 0": (
        [0, 1, MAX_NUMBER],
        [-1, MAX_NUMBER + 1, (1 << 64) - 1, True, False, 0.0, 1.5, NAN, "1", b"1", [], {}],
    ),
    "a whole number from 0, this version's": (
        [1],
        [-1, MAX_NUMBER + 1, True, False, 1.0, 2.0, NAN, "1", b"1", [], {}],
    ),
    "a whole number from 1": (
        [1, MAX_NUMBER],
        [0, -1, MAX_NUMBER + 1, True, 1.0, NAN, "1", [], {}],
    ),
    "1 to 1000": ([1, MAX_PAGE_ROWS], [0, -1, MAX_PAGE_ROWS + 1, True, 1.0, "1", [], {}]),
    "a number of seconds from 0": (
        [0, 0.0, -0.0, 1, 1.5, MAX_SECONDS, int(MAX_SECONDS)],
        [-1, -0.001, MAX_SECONDS + 0.5, ENDLESS, -ENDLESS, NAN, True, False, "1", b"", [], {}],
    ),
    "seconds from 0.01 to 86400": (
        [0.01, 1, 86400, 86400.0],
        [0.0099, 0, 86400.001, 86401, ENDLESS, NAN, True, "30", [], {}],
    ),
    "seconds from 0 to 3600": (
        [0, 0.0, 1, 1.5, 3600, 3600.0],
        [-1, -0.001, 3600.5, 3601, ENDLESS, NAN, True, "1", [], {}],
    ),
    "seconds": (
        [0, 0.0, 1.5, MAX_NUMBER, float(MAX_NUMBER)],
        [-0.001, -1, 2.0**63, ENDLESS, NAN, True, "1", [], {}],
    ),
    "true or false": ([True, False], [0, 1, 1.0, "true", b"", [], {}]),
    "16 to 64 bytes": (
        [bytes(16), bytes(64)],
        [bytes(15), bytes(65), b"", "x" * 16, 16, [0] * 16, {}],
    ),
    "'app', 'viewer' or 'operator'": (
        list(ROLES),
        ["", "App", "admin", b"app", 1, True, ["app"], {"app": 1}],
    ),
    "'ok' or 'error'": (["ok", "error"], ["", "OK", "failed", b"ok", 0, True, ["ok"], {}]),
    "an error code": (
        list(ERROR_CODES),
        ["", "gone", b"conflict", 404, True, ["conflict"], {}],
    ),
    "a map of a name and a role": (
        [{"name": "ann", "role": role, "more": 1} for role in ROLES],
        [{}, {"name": "ann"}, {"role": "app"}, {"name": "", "role": "app"}, [], "ann", 1, True],
    ),
    "a map": ([{}, {"a": [1]}], [[], "x", 1, True, b""]),
    "anything": ([0, False, "", [], {}, 1.5, b"x", [None]], []),
    "at most 10000 session ids": (
        [[], ["x"], ["x"] * MAX_TARGETS, ["x" * 64]],
        [["x"] * (MAX_TARGETS + 1), [""], ["x" * 65], ["x", 1], [None], "x", {}, b"x", 1],
    ),
    "a list of at most 2000 session states": (
        [[], [SESSION], [SESSION] * MAX_BATCH_ITEMS],
        [[SESSION] * (MAX_BATCH_ITEMS + 1), [1], [None], [[]], [{}], {}, SESSION, "x", 1],
    ),
    "a list of at most 2000 ended sessions": (
        [[], [ENDED], [ENDED] * MAX_BATCH_ITEMS],
        [[ENDED] * (MAX_BATCH_ITEMS + 1), [1], [None], [[]], [{}], {}, ENDED, "x", 1],
    ),
    "a list of at most 2000 finished tasks": (
        [[], [TASK], [TASK] * MAX_BATCH_ITEMS],
        [[TASK] * (MAX_BATCH_ITEMS + 1), [1], [None], [[]], [{}], {}, TASK, "x", 1],
    ),
    "a list of at most 2000 changes": (
        [[], [["h", "p", 1.0]], [[None]], [["h"]] * MAX_BATCH_ITEMS],
        [[["h"]] * (MAX_BATCH_ITEMS + 1), [[]], [["h"], []], [{}], ["h"], {}, "x", 1],
    ),
}

_NAMES = "app user status task host name key version command"
_LONG = "error reason feed file message"
_IDS = "s c prefix epoch"
_COUNTS = "v n r pid after seen before"
_AGES = "age task_age took older stale_after"
SORT_OF: Final[dict[str, str]] = {
    **dict.fromkeys(_NAMES.split(), "text of 1 to 255 characters"),
    **dict.fromkeys(_LONG.split(), "text of at most 2000 characters"),
    **dict.fromkeys(_IDS.split(), "an id of 1 to 64 characters"),
    **dict.fromkeys(_COUNTS.split(), "a whole number from 0"),
    **dict.fromkeys(_AGES.split(), "a number of seconds from 0"),
    **dict.fromkeys(("t", "w"), "seconds"),
    **dict.fromkeys(("last", "stale"), "true or false"),
    "wait": "seconds from 0 to 3600",
    "instance": "an id of 1 to 64 of A-Z a-z 0-9 _ . : -",
    "no": "a whole number from 1",
    "limit": "1 to 1000",
    "interval": "seconds from 0.01 to 86400",
    "secret": "16 to 64 bytes",
    "role": "'app', 'viewer' or 'operator'",
    "outcome": "'ok' or 'error'",
    "code": "an error code",
    "by": "a map of a name and a role",
    "health": "a map",
    "result": "anything",
    "sessions": "a list of at most 2000 session states",
    "ended": "a list of at most 2000 ended sessions",
    "done": "a list of at most 2000 finished tasks",
    "changes": "a list of at most 2000 changes",
}
EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    # another whole number is another version, which is refused as such
    ("hello", "v"): "a whole number from 0, this version's",
    ("register", "s"): "an id of 1 to 64 of A-Z a-z 0-9 _ . : -",
    ("end", "reason"): "text of 1 to 255 characters",
    ("command", "s"): "at most 10000 session ids",
}


def sort_of(kind: str, field: str) -> str:
    return EXCEPTIONS.get((kind, field), SORT_OF[field])


FIELDS: Final = [(kind, field) for _, kind in EVERY_KIND for field in example(kind) if field != "k"]


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_a_field_is_let_through_up_to_its_limits_and_refused_past_them(
    kind: str, field: str
) -> None:
    sort = sort_of(kind, field)
    good, bad = SORTS[sort]
    for value in good:
        message = example(kind, **{field: value})
        assert decode(encode(message), table_of(kind)) == message
    for value in bad:
        with pytest.raises(WireError) as caught:
            decode(encode(example(kind, **{field: value})), table_of(kind))
        assert caught.value.cause == "bad_field"
        assert str(caught.value) == f"{kind}: {field} must be {sort.split(', this')[0]}"


NESTED: Final = [
    ("sessions", SESSION, "s app age status"),
    ("ended", ENDED, "s reason"),
    ("done", TASK, "s no name age took outcome"),
]
NESTED_EXCEPTIONS: Final[dict[tuple[str, str], str]] = {
    ("sessions", "s"): "an id of 1 to 64 of A-Z a-z 0-9 _ . : -",
    ("ended", "reason"): "text of 1 to 255 characters",
}


def accepted(field: str, item: dict[str, Any]) -> bool:
    """Whether a hello_part with this one item is a message; if not, it must say which field."""
    message = example("hello_part", **{field: [item]})
    said = None
    try:
        assert decode(encode(message), table_of("hello_part")) == message
    except WireError as error:
        said = str(error)
    assert said in (None, f"hello_part: {field} must be {SORT_OF[field]}")
    return said is None


@pytest.mark.parametrize(("field", "whole", "needed"), NESTED)
def test_items_have_the_bounds_of_their_fields(
    field: str, whole: dict[str, Any], needed: str
) -> None:
    for name in whole:
        good, bad = SORTS[NESTED_EXCEPTIONS.get((field, name), SORT_OF[name])]
        assert all(accepted(field, whole | {name: value}) for value in good), name
        assert not any(accepted(field, whole | {name: value}) for value in bad), name


@pytest.mark.parametrize(("field", "whole", "needed"), NESTED)
def test_items_need_their_required_fields_and_no_other(
    field: str, whole: dict[str, Any], needed: str
) -> None:
    for name in whole:
        rest = {key: value for key, value in whole.items() if key != name}
        assert accepted(field, rest) is (name not in needed.split()), name
        assert accepted(field, whole | {name: None}) is (name not in needed.split()), name
    assert accepted(field, whole | {"added later": 1})
