"""Every request an operator can make: its fields, and what becomes of its result."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sessionclient import calls
from sessionclient.calls import Call, SessionPage
from sessionclient.rows import BrokerTime, moment, present_command, present_session
from sessionclient.wire import MAX_PAGE_ROWS, TO_BROKER, decode, encode
from tests.client.rows import WALL, command, row

AT = BrokerTime(130.0, WALL, 25.0)


def rows_result(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"t": AT.observed, "w": AT.wall, "epoch": "e1", "n": 1, "rows": list(rows), **more}


def shown(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [present_session(raw, AT) for raw in rows]


def sent(call: Call) -> dict[str, Any]:
    """The message a call becomes; it must be one the broker accepts."""
    fields = {key: value for key, value in call.fields.items() if value is not None}
    return decode(encode({"k": call.kind, "r": 1, **fields}), TO_BROKER)


# --- what is sent --------------------------------------------------------------------------------

NAME = "x" * 255
ID = "x" * 64
CALLS: list[tuple[Call, dict[str, Any], float]] = [
    (
        calls.list_sessions(None, None, None, None, 1, None),
        {"k": "list", "limit": 1},
        0.0,
    ),
    (
        calls.list_sessions(NAME, "ann", "idle", False, MAX_PAGE_ROWS, "0"),
        {
            "k": "list",
            "app": NAME,
            "user": "ann",
            "status": "idle",
            "stale": False,
            "limit": 1000,
            "after": 0,
        },
        0.0,
    ),
    (
        calls.list_sessions(None, None, None, True, 10, str((1 << 62) - 1)),
        {"k": "list", "stale": True, "limit": 10, "after": (1 << 62) - 1},
        0.0,
    ),
    (calls.get_session(ID), {"k": "get", "s": ID}, 0.0),
    (calls.find_sessions("ab"), {"k": "find", "prefix": "ab"}, 0.0),
    (calls.get_tasks("s1"), {"k": "tasks", "s": "s1"}, 0.0),
    (calls.get_commands(), {"k": "commands"}, 0.0),
    (calls.get_command("c1", 0, None), {"k": "command_state", "c": "c1", "wait": 0.0}, 0.0),
    (
        calls.get_command("c1", 3600, 1 << 53),
        {"k": "command_state", "c": "c1", "wait": 3600.0, "seen": 1 << 53},
        3600.0,
    ),
    (calls.stats(), {"k": "stats"}, 0.0),
    (calls.get_audit(100, None), {"k": "audit", "limit": 100}, 0.0),
    (calls.get_audit(1, 7), {"k": "audit", "limit": 1, "before": 7}, 0.0),
    (
        calls.request_kill("s1", None, 0.0, NAME),
        {"k": "kill", "s": "s1", "wait": 0.0, "key": NAME},
        0.0,
    ),
    (
        calls.request_kill("s1", "x" * 2000, 2.5, "k1"),
        {"k": "kill", "s": "s1", "reason": "x" * 2000, "wait": 2.5, "key": "k1"},
        2.5,
    ),
    (
        calls.kill_app("sales", "", "k1"),
        {"k": "kill_all", "app": "sales", "reason": "", "key": "k1"},
        0.0,
    ),
    (calls.cleanup(0), {"k": "cleanup", "older": 0.0}, 0.0),
    (calls.cleanup(1.5), {"k": "cleanup", "older": 90.0}, 0.0),
    (calls.backup("a.db", 0), {"k": "backup", "file": "a.db"}, 0.0),
    (calls.backup("x" * 2000, 600), {"k": "backup", "file": "x" * 2000}, 600.0),
    (calls.create_session("w", None), {"k": "create", "app": "w"}, 0.0),
    (calls.create_session("web", "ann"), {"k": "create", "app": "web", "user": "ann"}, 0.0),
    (calls.delete_session("s1"), {"k": "delete", "s": "s1"}, 0.0),
    (calls.update_heartbeat("s1"), {"k": "touch", "s": "s1"}, 0.0),
    (
        calls.update_status("s1", "idle", None),
        {"k": "set_status", "s": "s1", "status": "idle"},
        0.0,
    ),
    (
        calls.update_status("s1", "running", "load"),
        {"k": "set_status", "s": "s1", "status": "running", "task": "load"},
        0.0,
    ),
]


@pytest.mark.parametrize(("call", "message", "wait"), CALLS)
def test_a_call_becomes_a_message_the_broker_accepts(
    call: Call, message: dict[str, Any], wait: float
) -> None:
    assert sent(call) == {"r": 1, **message}
    assert call.wait == wait


def test_the_calls_are_of_every_kind_an_operator_may_say() -> None:
    known = {kind for kind, entry in TO_BROKER.items() if "app" not in entry.roles}
    assert {call.kind for call, _, _ in CALLS} == known


@pytest.mark.parametrize(
    "make",
    [
        lambda: calls.request_kill("s1", None, 0.0, None),
        lambda: calls.kill_app("sales", None, None),
    ],
    ids=["kill", "kill_all"],
)
def test_a_kill_without_a_key_gets_one_of_its_own(make: Any) -> None:
    first, second = sent(make())["key"], sent(make())["key"]
    assert re.fullmatch(r"[0-9a-f]{32}", first)
    assert re.fullmatch(r"[0-9a-f]{32}", second)
    assert first != second


# --- what becomes of the result ------------------------------------------------------------------


def test_a_page_has_its_sessions_and_a_cursor_to_the_next() -> None:
    call = calls.list_sessions(None, None, None, None, 2, None)
    result = rows_result(row("s1"), row("s2"), total=5, next=7)
    page = call.convert(result, AT.stale_after)
    assert page == SessionPage(shown(row("s1"), row("s2")), 5, "7")
    assert page.sessions[0]["is_stale"] is True
    assert sent(calls.list_sessions(None, None, None, None, 2, page.next_cursor))["after"] == 7
    last = call.convert(rows_result(total=5, next=None), AT.stale_after)
    assert last == SessionPage([], 5, None)


def test_all_sessions_are_asked_for_page_after_page() -> None:
    asking = calls.all_sessions("sales", "ann", "idle", True)
    first = next(asking)
    asked = {"app": "sales", "user": "ann", "status": "idle", "stale": True, "limit": 1000}
    assert sent(first) == {"k": "list", "r": 1, **asked}
    second = asking.send(SessionPage([{"a": 1}], 3, "7"))
    assert sent(second) == {"k": "list", "r": 1, **asked, "after": 7}
    with pytest.raises(StopIteration) as stop:
        asking.send(SessionPage([{"a": 2}, {"a": 3}], 3, None))
    assert stop.value.value == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_sessions_are_shown_as_of_the_brokers_time() -> None:
    one = calls.get_session("s1").convert(
        {"t": AT.observed, "w": AT.wall, "row": row("s1")}, AT.stale_after
    )
    assert [one] == shown(row("s1"))
    found = calls.find_sessions("s").convert(rows_result(row("s1"), row("s2")), AT.stale_after)
    assert found == shown(row("s1"), row("s2"))


def test_tasks_and_commands_get_real_times() -> None:
    task = {"name": "load", "started_at": WALL - 1.0, "ended_at": WALL}
    shown_tasks = calls.get_tasks("s1").convert({"tasks": [task]}, 0.0)
    assert shown_tasks == [
        {"name": "load", "started_at": moment(WALL - 1.0), "ended_at": moment(WALL)}
    ]
    raw = [command("c2"), command("c1", WALL)]
    assert calls.get_commands().convert({"commands": raw}, 0.0) == list(map(present_command, raw))
    assert calls.get_command("c1", 0.0, None).convert(raw[1], 0.0) == present_command(raw[1])


@pytest.mark.parametrize(
    ("call", "result", "converted"),
    [
        (calls.stats(), {"live": 3}, {"live": 3}),
        (calls.request_kill("s1", None, 0, None), {"command_id": "c1"}, {"command_id": "c1"}),
        (calls.kill_app("sales", None, None), {"targets": 0}, {"targets": 0}),
        (calls.cleanup(1), {"count": 2}, 2),
        (calls.backup("a.db", 1), {"file": "/a.db"}, {"file": "/a.db"}),
        (calls.create_session("web", None), {"session_id": "s1"}, "s1"),
        (calls.delete_session("s1"), {}, None),
        (calls.update_heartbeat("s1"), {"kill_requested": True}, True),
        (calls.update_heartbeat("s1"), {"kill_requested": False}, False),
        (calls.update_status("s1", "idle", None), {"a": 1}, None),
    ],
)
def test_results_become_what_the_caller_wants(call: Call, result: Any, converted: Any) -> None:
    assert call.convert(result, 120.0) == converted
