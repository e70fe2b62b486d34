"""The routes of sessions: exact bodies, exact calls, exact problems."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from broker.gateway import sessions
from tests.gateway.asking import ask, check_problem
from tests.support.fake_operator import NOW, FakeOperator

ROW = {
    "session_id": "s1",
    "app_name": "sales",
    "user_id": "ann",
    "start_time": "2026-01-02T03:02:59.100000Z",
    "last_heartbeat": "2026-01-02T03:04:00Z",
    "duration_seconds": 65,
    "status": "running",
    "current_task": "Refresh",
    "is_stale": False,
    "kill_requested": False,
    "kill_reason": None,
    "kill_stage": None,
    "kill_error": None,
    "task_start": "2026-01-02T03:04:05Z",
    "process": "p1",
    "host": "apps-1",
    "pid": 4711,
    "source": "bus",
}


def add_row(operator: FakeOperator) -> None:
    operator.add(
        "s1",
        "sales",
        user_id="ann",
        status="running",
        current_task="Refresh",
        task_start=NOW,
        process="p1",
        host="apps-1",
        pid=4711,
        source="bus",
    )


def test_create(operator: FakeOperator) -> None:
    response = ask(operator, "POST", "/sessions", json={"app_name": "sales", "user_id": "ann"})
    assert (response.status_code, response.json()) == (201, {"session_id": "rest-1"})
    assert response.headers["content-type"] == "application/json"
    assert operator.calls == [("create_session", "sales", "ann")]


def test_create_without_user_and_with_unknown_field(operator: FakeOperator) -> None:
    response = ask(operator, "POST", "/sessions", json={"app_name": "sales", "colour": "red"})
    assert response.status_code == 201
    assert operator.calls == [("create_session", "sales", None)]


def test_json_without_content_type_is_taken_as_the_ancestor_did(operator: FakeOperator) -> None:
    response = ask(operator, "POST", "/sessions", content=b'{"app_name": "sales"}')
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("body", "loc", "msg", "kind"),
    [
        ({}, ["body", "app_name"], "Field required", "missing"),
        (
            {"app_name": 5},
            ["body", "app_name"],
            "Input should be a valid string",
            "string_type",
        ),
        (
            {"app_name": "a", "user_id": True},
            ["body", "user_id"],
            "Input should be a valid string",
            "string_type",
        ),
        (
            {"app_name": ""},
            ["body", "app_name"],
            "String should have at least 1 character",
            "string_too_short",
        ),
        (
            {"app_name": "x" * 256},
            ["body", "app_name"],
            "String should have at most 255 characters",
            "string_too_long",
        ),
    ],
)
def test_create_refuses(
    operator: FakeOperator, body: dict[str, Any], loc: list[str], msg: str, kind: str
) -> None:
    response = ask(operator, "POST", "/sessions", json=body)
    check_problem(
        response,
        422,
        "Unprocessable Content",
        "invalid",
        f"correct this and send it again: {'.'.join(loc)}: {msg}",
        "/sessions",
        errors=[{"loc": loc, "msg": msg, "type": kind}],
    )
    assert operator.calls == []


def test_255_characters_pass(operator: FakeOperator) -> None:
    name = "ü" * 255
    assert ask(operator, "POST", "/sessions", json={"app_name": name}).status_code == 201
    assert operator.calls == [("create_session", name, None)]


@pytest.mark.parametrize("body", [b'{"app_name": "\\ud800"}', b"[]", b'"x"', b"5", b"null"])
def test_create_refuses_other_json(operator: FakeOperator, body: bytes) -> None:
    response = ask(operator, "POST", "/sessions", content=body)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid"
    assert operator.calls == []


def test_delete(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    response = ask(operator, "DELETE", "/sessions/s1")
    assert (response.status_code, response.json()) == (200, {"status": "deleted"})
    assert operator.sessions == {}


def test_delete_of_a_process_session_conflicts(operator: FakeOperator) -> None:
    operator.add("s1", "sales", source="bus")
    response = ask(operator, "DELETE", "/sessions/s1")
    detail = "session s1 belongs to a process"
    check_problem(response, 409, "Conflict", "conflict", detail, "/sessions/s1")


def test_stale_is_not_taken_for_an_id(operator: FakeOperator) -> None:
    operator.add("old", "sales", last_heartbeat=datetime(2026, 1, 2, 2, 0, tzinfo=UTC))
    operator.add("new", "sales")
    response = ask(operator, "DELETE", "/sessions/stale")
    assert (response.status_code, response.json()) == (200, {"deleted_count": 1})
    assert operator.calls == [("cleanup_stale_sessions", 10)]
    assert list(operator.sessions) == ["new"]


@pytest.mark.parametrize("minutes", ["0", "2.5", "5270400"])
def test_stale_minutes(operator: FakeOperator, minutes: str) -> None:
    ask(operator, "DELETE", f"/sessions/stale?older_than_minutes={minutes}")
    assert operator.calls == [("cleanup_stale_sessions", float(minutes))]


@pytest.mark.parametrize("minutes", ["-1", "nan", "inf", "1e9", "x", ""])
def test_stale_refuses_other_minutes(operator: FakeOperator, minutes: str) -> None:
    response = ask(operator, "DELETE", f"/sessions/stale?older_than_minutes={minutes}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["query", "older_than_minutes"]
    assert operator.calls == []


def test_heartbeat(operator: FakeOperator) -> None:
    session = operator.add("s1", "sales")
    response = ask(operator, "POST", "/sessions/s1/heartbeat")
    assert (response.status_code, response.json()) == (200, {"kill_requested": False})
    session["kill_requested"] = True
    assert ask(operator, "POST", "/sessions/s1/heartbeat").json() == {"kill_requested": True}


def test_status(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    body = {"status": "running", "current_task": "Refresh"}
    response = ask(operator, "PUT", "/sessions/s1/status", json=body)
    assert (response.status_code, response.json()) == (200, {"status": "updated"})
    assert operator.calls == [("update_status", "s1", "running", "Refresh")]


@pytest.mark.parametrize("body", [{}, {"status": 1}, {"status": "a", "current_task": ""}])
def test_status_refuses(operator: FakeOperator, body: dict[str, Any]) -> None:
    operator.add("s1", "sales")
    response = ask(operator, "PUT", "/sessions/s1/status", json=body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert operator.calls == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/sessions/nobody", None),
        ("GET", "/sessions/nobody", None),
        ("POST", "/sessions/nobody/heartbeat", None),
        ("PUT", "/sessions/nobody/status", {"status": "idle"}),
        ("POST", "/sessions/nobody/kill", None),
    ],
)
def test_unknown_session_is_named(
    operator: FakeOperator, method: str, path: str, body: dict[str, Any] | None
) -> None:
    response = ask(operator, method, path, json=body)
    detail = "there is no live session nobody"
    check_problem(response, 404, "Not Found", "not_found", detail, path)


def test_id_over_the_bound(operator: FakeOperator) -> None:
    response = ask(operator, "GET", "/sessions/" + "x" * 65)
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert operator.calls == []


def test_get_one(operator: FakeOperator) -> None:
    add_row(operator)
    response = ask(operator, "GET", "/sessions/s1")
    assert (response.status_code, response.json()) == (200, ROW)


def test_list_gives_all_without_a_limit(operator: FakeOperator) -> None:
    add_row(operator)
    for number in range(2, 2003):  # more than two chunks of the encoder
        operator.add(f"s{number}", "other")
    response = ask(operator, "GET", "/sessions")
    answer = response.json()
    assert response.headers["content-type"] == "application/json"
    assert list(answer) == ["sessions", "total", "next_cursor"]
    assert (answer["total"], answer["next_cursor"]) == (2002, None)
    assert answer["sessions"][0] == ROW
    assert [row["session_id"] for row in answer["sessions"]] == [f"s{n}" for n in range(1, 2003)]
    assert operator.calls == [("get_all_sessions", None, None, None, None)]


def test_empty_list(operator: FakeOperator) -> None:
    response = ask(operator, "GET", "/sessions")
    assert response.json() == {"sessions": [], "total": 0, "next_cursor": None}


def test_pages(operator: FakeOperator) -> None:
    for number in range(5):
        operator.add(f"s{number}", "sales")
    seen: list[list[str]] = []
    cursor = ""
    while cursor is not None:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        answer = ask(operator, "GET", "/sessions" + query).json()
        assert answer["total"] == 5
        seen.append([row["session_id"] for row in answer["sessions"]])
        cursor = answer["next_cursor"]
    assert seen == [["s0", "s1"], ["s2", "s3"], ["s4"]]


def test_cursor_alone_gives_pages_too(operator: FakeOperator) -> None:
    ask(operator, "GET", "/sessions?cursor=0")
    assert operator.calls == [("list_sessions", None, None, None, None, 100, "0")]


def test_malformed_cursor(operator: FakeOperator) -> None:
    response = ask(operator, "GET", "/sessions?limit=2&cursor=zz")
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert response.json()["detail"].startswith("'zz' is not a cursor; give")


def test_filters(operator: FakeOperator) -> None:
    query = {"app_name": "sales/eu", "user_id": "ann", "status": "idle", "stale": "true"}
    ask(operator, "GET", "/sessions", params=query)
    ask(operator, "GET", "/sessions", params={**query, "stale": "false", "limit": "1000"})
    assert operator.calls == [
        ("get_all_sessions", "sales/eu", "ann", "idle", True),
        ("list_sessions", "sales/eu", "ann", "idle", False, 1000, None),
    ]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "limit=1.5", "stale=perhaps", "app_name=", "cursor="],
)
def test_list_refuses(operator: FakeOperator, query: str) -> None:
    response = ask(operator, "GET", f"/sessions?{query}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert response.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]
    assert operator.calls == []


def test_a_long_list_lets_others_run_in_between(operator: FakeOperator) -> None:
    rows = [operator.add(f"s{number}", "sales") for number in range(10_000)]

    async def run() -> int:
        turns = 0
        done = False

        async def others() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        await sessions._session_list(rows, len(rows), None)
        done = True
        await beside
        return turns

    # ten chunks of 1,000 rows have nine breaks between them; without one, no turn but the last
    assert asyncio.run(run()) >= 9
