"""docs/PROTOCOL.md says what the code does: its tables are read and compared with `wire`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from broker import unread
from broker.registry import audit
from broker.registry.core import BEAT_INTERVAL
from broker.registry.model import Settings
from sessionclient import Operator, connection, hub, link, mirror, wire
from sessionclient.fields import Field
from tests.support.bench import Bench, session

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"
TEXT: Final = DOCUMENT.read_text(encoding="utf-8")
FIELDS: Final = ("kind", "field", "type", "required", "meaning")


class Table(NamedTuple):
    """One table: the heading it stands under, the names of its columns, its rows."""

    heading: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def _tables(text: str) -> list[Table]:
    found: list[Table] = []
    heading, inside = "", False
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip()
        if not line.startswith("|"):
            inside = False
        elif not inside:
            found.append(Table(heading, _cells(line), []))
            inside = True
        elif not line.startswith("|--"):
            assert len(_cells(line)) == len(found[-1].columns), f"uneven row: {line}"
            found[-1].rows.append(_cells(line))
    return found


TABLES: Final = _tables(TEXT)


def _table(heading: str, *columns: str) -> list[tuple[str, ...]]:
    found = [
        t.rows for t in TABLES if t.heading == heading and t.columns[: len(columns)] == columns
    ]
    assert len(found) == 1, f"{len(found)} tables of {columns} under {heading!r}"
    return found[0]


def _words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def _word(cell: str) -> str:
    words = _words(cell)
    assert len(words) == 1, f"expected one word in backticks: {cell}"
    return words[0]


def _number(cell: str) -> float:
    match = re.match(r"[\d,]+(\.\d+)?", cell)
    assert match is not None, f"expected a number: {cell}"
    return float(match[0].replace(",", ""))


# --- fields ---------------------------------------------------------------------------------

Documented = dict[str, tuple[str, bool]]  # field -> (type, whether it is required)


def _add(into: Documented, field: str, kind: str, required: str) -> None:
    name = _word(field)
    assert required in ("yes", "no"), f"{name}: required must be yes or no, not {required!r}"
    assert name not in into, f"{name} stands twice"
    into[name] = (kind, required == "yes")


def _records() -> dict[str, Documented]:
    records: dict[str, Documented] = {}
    for record, field, kind, required, _ in _table("Records", "record", "field"):
        _add(records.setdefault(_word(record), {}), field, kind, required)
    return records


def _kinds(heading: str) -> dict[str, Documented]:
    kinds: dict[str, Documented] = {}
    common: list[tuple[str, str, str]] = []
    for kind, field, type_, required, _ in _table(heading, *FIELDS):
        if kind == "every kind of this table":
            common.append((field, type_, required))
            continue
        fields = kinds.setdefault(_word(kind), {})
        if field == "no more fields":
            continue
        if field.startswith("all of "):
            extra = _records()[_word(field)]
            assert not fields.keys() & extra.keys()
            fields.update(extra)
        else:
            _add(fields, field, type_, required)
    for fields in kinds.values():
        for field, type_, required in common:
            _add(fields, field, type_, required)
    return kinds


DIRECTIONS: Final[list[tuple[Mapping[str, wire.Kind], tuple[str, ...]]]] = [
    (wire.TO_BROKER, ("Numbered messages", "Requests")),
    (wire.FROM_BROKER, ("6. Messages from the broker",)),
    (wire.FEED, ("9. The feed",)),
]


@pytest.mark.parametrize(("kinds", "headings"), DIRECTIONS, ids=["to", "from", "feed"])
def test_every_kind_stands_there_with_exactly_its_fields(
    kinds: Mapping[str, wire.Kind], headings: tuple[str, ...]
) -> None:
    documented: dict[str, dict[str, bool]] = {}
    for heading in headings:
        for kind, fields in _kinds(heading).items():
            assert kind not in documented, f"{kind} stands twice"
            documented[kind] = {name: required for name, (_, required) in fields.items()}
    assert documented == {
        name: {field.name: field.required for field in kind.fields} for name, kind in kinds.items()
    }


def _longest(items: Any, limit: int) -> tuple[list[Any], list[Any]]:
    """A list that is just accepted, and lists that are not."""
    return [[], [items] * limit], [[items] * (limit + 1), {}, [None]]


_ENDED: Final = {"s": "x", "reason": "killed"}
_DONE: Final = {"s": "x", "no": 1, "name": "t", "age": 0, "took": 0.0, "outcome": "ok"}
_BATCH: Final = wire.MAX_BATCH_ITEMS
_SAY_BATCH: Final = f"list of at most {_BATCH:,}"
_HIGHEST: Final = float(wire.MAX_NUMBER)
_NO_SECONDS: Final = [-0.1, float("nan"), float("inf"), "1", True]

# a type as the document names it -> (values it takes, values it does not take)
TYPES: Final[dict[str, tuple[list[Any], list[Any]]]] = {
    "count": ([0, wire.MAX_NUMBER], [-1, wire.MAX_NUMBER + 1, 1.0, True, "1"]),
    "integer from 1 to 2^62": ([1, wire.MAX_NUMBER], [0, wire.MAX_NUMBER + 1, 1.0, True]),
    "integer from 1 to 1,000": ([1, 1000], [0, 1001, 1.0, True]),
    "seconds": ([0, 0.0, wire.MAX_SECONDS], [*_NO_SECONDS, wire.MAX_SECONDS + 1]),
    "number from 0.01 to 86,400": ([0.01, 1, 86400], [*_NO_SECONDS, 0.009, 86400.1]),
    "number from 0 to 3,600": ([0, 0.5, 3600], [*_NO_SECONDS, 3600.5]),
    "number from 0 to 2^62": ([0, 0.5, _HIGHEST], [*_NO_SECONDS, _HIGHEST * 2]),
    "name": (["x", "ä" * wire.MAX_TEXT_CHARS], ["", "x" * (wire.MAX_TEXT_CHARS + 1), b"x", 1]),
    "text": (["", "ä" * wire.MAX_LONG_TEXT_CHARS], ["x" * (wire.MAX_LONG_TEXT_CHARS + 1), b"x"]),
    "new id": (["aZ09_.:-", "x" * wire.MAX_ID_CHARS], ["", "x" * 65, "a/b", "ä", b"x"]),
    "ref": (["a/ä", "x" * wire.MAX_ID_CHARS], ["", "x" * (wire.MAX_ID_CHARS + 1), b"x"]),
    "bool": ([True, False], [0, 1, "true"]),
    "bytes, 16 to 64": ([b"x" * 16, b"x" * 64], [b"x" * 15, b"x" * 65, "x" * 16]),
    "`app`, `viewer` or `operator`": (list(wire.ROLES), ["", "root", 1]),
    "`ok` or `error`": (["ok", "error"], ["", "fine", 1]),
    "an error code": (list(wire.ERROR_CODES), ["", "worse", 1]),
    "anything": ([0, "", [], {}], []),
    "map": ([{}, {"status": "ok"}], [[], ""]),
    "map `on_behalf`": (
        [{"name": "ann", "role": "app"}],
        [{}, {"name": "ann"}, {"name": "", "role": "app"}, {"name": "ann", "role": "root"}, "ann"],
    ),
    f"{_SAY_BATCH} `session_state`": _longest(session("x"), _BATCH),
    f"{_SAY_BATCH} `ended_session`": _longest(_ENDED, _BATCH),
    f"{_SAY_BATCH} `finished_task`": _longest(_DONE, _BATCH),
    f"{_SAY_BATCH} changes": _longest(["h", "x", 1.0], _BATCH),
    f"list of at most {wire.MAX_TARGETS:,} `ref`": _longest("x", wire.MAX_TARGETS),
}


def _all_fields() -> list[tuple[str, Field, str]]:
    found = []
    for kinds, headings in DIRECTIONS:
        for heading in headings:
            for kind, documented in _kinds(heading).items():
                for field in kinds[kind].fields if kind in kinds else ():
                    if field.name in documented:  # else another test fails
                        found.append((kind, field, documented[field.name][0]))
    return found


def test_fields_take_what_their_documented_type_says() -> None:
    for kind, field, type_ in _all_fields():
        good, bad = TYPES[type_]
        for value in good:
            assert field.check(value), f"{kind}.{field.name} is no {type_}: refuses {value!r:.40}"
        for value in bad:
            assert not field.check(value), f"{kind}.{field.name} is no {type_}: {value!r:.40}"


# what is in a list is not one of a kind's own fields, so its checks are reached through the list
_LISTS: Final = {
    "session_state": ("sessions", session("x", user="u", task="t", task_age=0.0)),
    "ended_session": ("ended", {**_ENDED, "error": ""}),
    "finished_task": ("done", {**_DONE, "error": ""}),
}


@pytest.mark.parametrize("record", sorted(_LISTS))
def test_records_in_lists_stand_there_with_exactly_their_fields(record: str) -> None:
    name, item = _LISTS[record]
    check = next(field.check for field in wire.TO_BROKER["hello"].fields if field.name == name)
    documented = _records()[record]
    # all keys of the item are checked, so it has no field too many; and the document has them all
    assert documented.keys() == item.keys()
    for field, (type_, required) in documented.items():
        good, bad = TYPES[type_]
        assert check([{**item, field: None}]) is not required, f"{record}.{field}: required"
        assert all(check([{**item, field: value}]) for value in good), f"{record}.{field}"
        assert not any(check([{**item, field: value}]) for value in bad), f"{record}.{field}"


def test_every_kind_is_explained() -> None:
    told = [_table("Numbered messages", "kind", "says"), _table("Requests", "kind", "asks")]
    assert {_word(row[0]) for rows in told for row in rows} == wire.TO_BROKER.keys()
    told = [_table("6. Messages from the broker", "kind", "says")]
    assert {_word(row[0]) for rows in told for row in rows} == wire.FROM_BROKER.keys()


# --- roles, errors, numbers -----------------------------------------------------------------


def test_roles_may_send_what_is_said() -> None:
    documented: dict[str, set[str]] = {}
    for role, _, kinds in _table("4. Roles", "role"):
        words = set(_words(kinds))
        for base in words & documented.keys():  # "as `viewer`, and ..."
            words = (words - {base}) | documented[base]
        documented[_word(role)] = words
    assert documented == {
        role: {name for name, kind in wire.TO_BROKER.items() if role in kind.roles}
        for role in wire.ROLES
    }


def test_errors_are_all_explained() -> None:
    rows = _table("8. Errors", "code")
    assert {_word(row[0]) for row in rows} == set(wire.ERROR_CODES)
    assert all(all(row) for row in rows)
    for _, _, _, codes in _table("Requests", "kind", "asks"):
        assert set(_words(codes)) <= set(wire.ERROR_CODES)


def test_version() -> None:
    assert TEXT.startswith(f"# The Panelbus protocol, version {wire.PROTOCOL_VERSION}\n")
    assert f"Protocol version: `{wire.PROTOCOL_VERSION}`" in TEXT
    said = re.findall(r"protocol version, (\d+)", TEXT)
    assert [int(number) for number in said] == [wire.PROTOCOL_VERSION] * 2


def test_types_state_the_bounds() -> None:
    types = {_word(name): what for name, what in _table("2. Encoding", "type")}
    assert f"from 0 to {wire.MAX_NUMBER:,}" in types["count"]
    assert f"from 0 to {wire.MAX_SECONDS:,.0f}" in types["seconds"]
    assert f"of 1 to {wire.MAX_TEXT_CHARS:,} characters" in types["name"]
    assert f"of 0 to {wire.MAX_LONG_TEXT_CHARS:,} characters" in types["text"]
    assert f"of 1 to {wire.MAX_ID_CHARS:,} characters" in types["new id"]
    assert f"of 1 to {wire.MAX_ID_CHARS:,} characters" in types["ref"]
    assert types.keys() <= TYPES.keys()


def test_limits() -> None:
    settings = Settings()
    assert unread.LARGE == 16 * 1024
    rows = _table("10. Timers and limits", "limit")
    assert {row[0]: _number(row[1]) for row in rows} == {
        "bytes in a frame": wire.MAX_FRAME_BYTES,
        "characters of a name": wire.MAX_TEXT_CHARS,
        "characters of a text": wire.MAX_LONG_TEXT_CHARS,
        "characters of an id": wire.MAX_ID_CHARS,
        "items in a list of sessions, ends, tasks or changes": wire.MAX_BATCH_ITEMS,
        "rows in a page of `list`": wire.MAX_PAGE_ROWS,
        "targets in one `command` to one process": wire.MAX_TARGETS,
        "highest integer (2^62)": wire.MAX_NUMBER,
        "highest number of seconds": wire.MAX_SECONDS,
        "live sessions of one process": settings.max_sessions_per_process,
        "live sessions": settings.max_sessions,
        "known processes": settings.max_processes,
        "greeted connections": settings.max_peers,
        "messages of one greeting": settings.max_greeting_parts,
        "sessions of one greeting": settings.max_sessions_per_process,
        "secrets of processes without sessions": settings.max_gone,
        "unfinished commands": settings.max_open_commands,
        "finished commands remembered for their keys": settings.max_commands_kept,
        "answers that wait": settings.max_waiters,
        "ended sessions remembered": settings.max_tombstones,
        "bytes of answers over 16 KiB that one connection has not read": unread.MAX_UNREAD_PEER,
        "the same of all connections": unread.MAX_UNREAD,
    }


def test_timers() -> None:
    settings = Settings()
    rows = _table("10. Timers and limits", "timer")
    assert all(re.fullmatch(r"[\d,.]+ s", row[1]) for row in rows)
    assert {row[0]: _number(row[1]) for row in rows} == {
        "hello timeout": link.HELLO_TIMEOUT,
        "reconnect spread": link.RECONNECT_JITTER,
        "heartbeat": hub.DEFAULT_HEARTBEAT,
        "silence": link.SILENCE,
        "unwelcome pause": link.UNWELCOME_PAUSE,
        "request timeout": signature(Operator).parameters["timeout"].default,
        "feed silence": mirror.SILENT_AFTER,
        "page timeout": mirror.PAGE_TIMEOUT,
        "beat": BEAT_INTERVAL,
        "asking for hello": settings.ask_hello_after,
        "redelivery": settings.redeliver_after,
        "stale": settings.stale_after,
        "cleanup": settings.cleanup_after,
        "peer silence": settings.peer_silence,
        "retention": settings.retention,
    }
    assert connection.HEARTBEAT == hub.DEFAULT_HEARTBEAT
    assert wire.MAX_WAIT <= wire.MAX_SECONDS


# --- rows and changes -----------------------------------------------------------------------


def _busy_bench() -> Bench:
    """A broker of whom an operator has asked everything that answers with rows."""
    bench = Bench()
    app, operator = bench.app(b"app", session("s1"), session("s2")), bench.operator()
    task = {**_DONE, "s": "s1"}
    app.say("status", s="s1", status="running", task="t", task_age=0.0, done=[task])
    bench.sleep(11.0)
    app.say("heartbeat")
    bench.registry.beat(bench.now)
    bench.say(operator, "kill", r=1, s="s2")
    bench.commit()
    app.say("end", s="s2", reason="killed")
    bench.commit()
    bench.take(operator)
    return bench


def _result(bench: Bench, kind: str, **fields: Any) -> dict[str, Any]:
    bench.say(b"op", kind, r=9, **fields)
    (reply,) = bench.take(b"op", "reply")
    result: dict[str, Any] = reply["result"]
    return result


def _documented_rows() -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for row, key, *_ in _table("7. Rows", "row"):
        rows.setdefault(row, []).append(_word(key))
    return rows


def test_rows_hold_exactly_what_is_said() -> None:
    bench = _busy_bench()
    (session_row,) = _result(bench, "list")["rows"]
    (command_row,) = _result(bench, "commands")["commands"]
    stats = _result(bench, "stats")
    bench.say(b"op", "tasks", r=2, s="s1")
    (read,) = bench.registry.take_reads()
    bench.registry.read_done(read, list(bench.rows.tasks.values()))
    bench.settle()
    (reply,) = bench.take(b"op", "reply")
    (task_row,) = reply["result"]["tasks"]
    audit_row = audit.wire(next(iter(bench.rows.audit.values())))
    assert _documented_rows() == {
        "session": list(session_row),
        "command": list(command_row),
        "task": list(task_row),
        "audit": list(audit_row),
        "health": list(stats["health"]),
        "stats": list(stats),
    }
    queues = next(what for _, key, _, what in _table("7. Rows", "row") if key == "`queues`")
    assert set(_words(queues)) == stats["queues"].keys()


def test_results_hold_exactly_what_is_said() -> None:
    """The part of each result that is no row."""
    bench = _busy_bench()
    results = {_word(row[0]): _words(row[2]) for row in _table("Requests", "kind", "asks")}
    results["list"] = [word for word in results["list"] if word not in ("after", "limit")]
    (command,) = _result(bench, "commands")["commands"]
    found = {
        "list": _result(bench, "list"),
        "get": _result(bench, "get", s="s1"),
        "find": _result(bench, "find", prefix="s"),
        "commands": _result(bench, "commands"),
    }
    assert {kind: set(results[kind]) for kind in found} == {
        kind: set(result) for kind, result in found.items()
    }
    more = _result(bench, "command_state", c=command["command_id"]).keys() - command.keys()
    assert {word for word in results["command_state"] if word.isidentifier()} == more


def test_changes_are_laid_out_as_is_said() -> None:
    documented = {}
    for kind, layout, _ in _table("9. The feed", "change kind"):
        items = _word(layout).strip("[]").split(", ")
        assert items[0] == f'"{_word(kind)}"'
        documented[_word(kind)] = len(items)
    published = [change for message in _busy_bench().published for change in message["changes"]]
    assert {change[0]: len(change) for change in published} == documented


# --- the example ----------------------------------------------------------------------------


def test_example_bytes_are_the_messages_shown() -> None:
    payloads = [bytes.fromhex(block) for block in re.findall(r"```hex\n(.*?)```", TEXT, re.S)]
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.S)]
    assert len(payloads) == len(shown) == 2
    hello, welcome = (
        wire.decode(payload, kinds)
        for payload, kinds in zip(payloads, (wire.TO_BROKER, wire.FROM_BROKER), strict=True)
    )
    shown[0]["secret"] = bytes.fromhex(shown[0]["secret"])
    assert [hello, welcome] == shown
    assert [wire.encode(message) for message in shown] == payloads
    assert [int(size) for size in re.findall(r"\((\d+) bytes\)", TEXT)] == [
        len(payload) for payload in payloads
    ]


def test_example_hello_is_answered_by_the_example_welcome() -> None:
    hello, welcome = (json.loads(b) for b in re.findall(r"```json\n(.*?)```", TEXT, re.S))
    bench = Bench()
    hello["secret"] = bytes.fromhex(hello["secret"])
    bench.say(b"app", **{("kind" if key == "k" else key): value for key, value in hello.items()})
    (answer,) = bench.take(b"app", "welcome")
    assert answer == {**welcome, "epoch": answer["epoch"], "version": answer["version"]}
