"""The routes of kills: acceptance, keys, waiting, progress."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from broker.gateway.app import create_app
from sessionclient.errors import LinkDown, RequestTimeout, refusal
from tests.gateway.asking import BASE, ask, check_problem
from tests.support.fake_operator import FakeOperator

KILL = "/sessions/s1/kill"


def test_kill(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    response = ask(operator, "POST", KILL, json={"reason": "maintenance"})
    assert response.status_code == 202
    assert response.json() == {
        "status": "kill_requested",
        "stage": "requested",
        "command_id": "c1",
    }
    assert operator.calls == [("request_kill", "s1", "maintenance", 0, None)]
    assert ask(operator, "POST", "/sessions/s1/heartbeat").json() == {"kill_requested": True}


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"reason": null}'])
def test_kill_needs_no_reason(operator: FakeOperator, body: bytes) -> None:
    operator.add("s1", "sales")
    assert ask(operator, "POST", KILL, content=body).status_code == 202
    assert operator.calls == [("request_kill", "s1", None, 0, None)]


@pytest.mark.parametrize("reason", [5, True, ["x"], "x" * 2001])
def test_kill_refuses_other_reasons(operator: FakeOperator, reason: Any) -> None:
    response = ask(operator, "POST", KILL, json={"reason": reason})
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert response.json()["errors"][0]["loc"] == ["body", "reason"]
    assert operator.calls == []


def test_longest_reason_passes(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    assert ask(operator, "POST", KILL, json={"reason": "x" * 2000}).status_code == 202


def test_the_same_key_gives_the_first_answer_again(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    headers = {"Idempotency-Key": "k-1"}
    first = ask(operator, "POST", KILL, json={"reason": "a"}, headers=headers)
    second = ask(operator, "POST", KILL, json={"reason": "a"}, headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert len(operator.commands) == 1
    assert operator.calls[0] == ("request_kill", "s1", "a", 0, "k-1")


def test_another_body_under_the_same_key_is_refused(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    headers = {"Idempotency-Key": "k-1"}
    ask(operator, "POST", KILL, json={"reason": "a"}, headers=headers)
    response = ask(operator, "POST", KILL, json={"reason": "b"}, headers=headers)
    detail = "this Idempotency-Key was used before for a different request; use a new key"
    check_problem(response, 422, "Unprocessable Content", "key_reused", detail, KILL)
    assert len(operator.commands) == 1


@pytest.mark.parametrize("path", [KILL, "/apps/sales/kill-all"])
@pytest.mark.parametrize("key", [b"", b"a b", b"x" * 256, b"caf\xe9", b"\xff", b"a\tb"])
def test_malformed_keys(operator: FakeOperator, path: str, key: bytes) -> None:
    operator.add("s1", "sales")
    response = ask(operator, "POST", path, headers=[(b"Idempotency-Key", key)])
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert response.json()["errors"][0]["loc"] == ["header", "Idempotency-Key"]
    assert operator.calls == []


def test_longest_key_passes(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    key = "~" * 255
    assert ask(operator, "POST", KILL, headers={"Idempotency-Key": key}).status_code == 202
    assert operator.calls == [("request_kill", "s1", None, 0, key)]


@pytest.mark.parametrize("wait", ["-1", "60.1", "nan", "inf", "x", ""])
@pytest.mark.parametrize("path", ["/sessions/s1/kill", "/commands/c1"])
def test_wait_bounds(operator: FakeOperator, path: str, wait: str) -> None:
    method = "POST" if path == KILL else "GET"
    response = ask(operator, method, f"{path}?wait={wait}")
    assert (response.status_code, response.json()["code"]) == (422, "invalid")
    assert response.json()["errors"][0]["loc"] == ["query", "wait"]
    assert operator.calls == []


@pytest.mark.parametrize("wait", ["60", "0.25"])
def test_wait_tells_the_end(operator: FakeOperator, wait: str) -> None:
    operator.add("s1", "sales")
    operator.ended.set()
    response = ask(operator, "POST", f"{KILL}?wait={wait}")
    assert response.status_code == 202
    assert response.json()["stage"] == "completed"
    # committed first, waited for then: a link that goes down meanwhile takes nothing back
    assert operator.calls == [
        ("request_kill", "s1", None, 0, None),
        ("get_command", "c1", float(wait), None),
    ]


def test_wait_ends_without_an_end(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    start = time.monotonic()
    response = ask(operator, "POST", f"{KILL}?wait=0.2")
    assert time.monotonic() - start >= 0.2
    assert response.json()["stage"] == "requested"


def test_a_link_lost_while_waiting_leaves_the_kill_accepted(operator: FakeOperator) -> None:
    operator.add("s1", "sales")

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=create_app(operator))
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            asking = asyncio.create_task(client.post(f"{KILL}?wait=30"))
            while len(operator.calls) < 2:
                await asyncio.sleep(0.01)
            await operator.aclose()
            return await asyncio.wait_for(asking, 5)

    response = asyncio.run(run())
    assert response.status_code == 202
    assert response.json() == {
        "status": "kill_requested",
        "stage": "requested",
        "command_id": "c1",
    }


def test_kill_all(operator: FakeOperator) -> None:
    for number in range(3):
        operator.add(f"s{number}", "sales")
    operator.add("other", "stock")
    headers = {"Idempotency-Key": "k"}
    body = {"reason": "noon"}
    response = ask(operator, "POST", "/apps/sales/kill-all", json=body, headers=headers)
    assert response.status_code == 202
    assert response.json() == {"killed_count": 3, "command_id": "c1"}
    assert operator.calls == [("kill_app", "sales", "noon", "k")]
    again = ask(operator, "POST", "/apps/sales/kill-all", json=body, headers=headers)
    assert again.json() == {"killed_count": 3, "command_id": "c1"}
    newly = ask(operator, "POST", "/apps/sales/kill-all")
    assert newly.json() == {"killed_count": 0, "command_id": None}


@pytest.mark.parametrize("name", ["a/b", "a b", "ümlaut", "100%", "?", "x" * 255])
def test_any_app_name_fits_the_path(operator: FakeOperator, name: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    path = f"/apps/{quoted}/kill-all"
    assert ask(operator, "POST", path).status_code == 202
    assert operator.calls == [("kill_app", name, None, None)]


def test_app_name_over_the_bound(operator: FakeOperator) -> None:
    response = ask(operator, "POST", f"/apps/{'x' * 256}/kill-all")
    assert (response.status_code, response.json()["code"]) == (422, "invalid")


def test_progress_of_a_command(operator: FakeOperator) -> None:
    operator.add("s1", "sales")
    operator.add("s2", "sales")
    ask(operator, "POST", "/apps/sales/kill-all", json={"reason": "noon"})
    command = operator.commands["c1"]
    command.update(
        stage="failed", failed=1, completed=1, pending=[], failures=[["s2", "loop blocked"]]
    )
    response = ask(operator, "GET", "/commands/c1?wait=0&seen=1")
    assert (response.status_code, response.json()) == (
        200,
        {
            "command_id": "c1",
            "kind": "kill",
            "app_name": "sales",
            "session_id": None,
            "reason": "noon",
            "requested_by": "operator",
            "requested_at": "2026-01-02T03:04:05Z",
            "finished_at": None,
            "stage": "failed",
            "total": 2,
            "delivered": 0,
            "completed": 1,
            "failed": 1,
            "pending": [],
            "failures": [{"session_id": "s2", "reason": "loop blocked"}],
        },
    )
    assert operator.calls[-1] == ("get_command", "c1", 0, 1)


def test_unknown_command(operator: FakeOperator) -> None:
    response = ask(operator, "GET", "/commands/c9")
    check_problem(response, 404, "Not Found", "not_found", "there is no command c9", "/commands/c9")


@pytest.mark.parametrize(
    ("code", "status", "title"),
    [
        ("forbidden", 403, "Forbidden"),
        ("not_found", 404, "Not Found"),
        ("conflict", 409, "Conflict"),
        ("too_many", 429, "Too Many Requests"),
        ("unsupported_version", 502, "Bad Gateway"),
        ("unavailable", 503, "Service Unavailable"),
    ],
)
def test_refusals(operator: FakeOperator, code: str, status: int, title: str) -> None:
    operator.fails_with = refusal(code, "the broker says no")
    response = ask(operator, "POST", KILL)
    check_problem(response, status, title, code, "the broker says no", KILL)


@pytest.mark.parametrize("code", ["bad_request", "key_reused"])
def test_refusals_of_content(operator: FakeOperator, code: str) -> None:
    operator.fails_with = refusal(code, "the broker says no")
    response = ask(operator, "POST", KILL)
    assert (response.status_code, response.json()["code"]) == (422, code)


MAYBE = (
    " It may still have been carried out. Try again; a kill or kill-all that carries an"
    " Idempotency-Key is not made twice."
)


@pytest.mark.parametrize(
    ("error", "code"),
    [(LinkDown("cannot reach it"), "link_down"), (RequestTimeout("cannot reach it"), "timeout")],
)
def test_broker_down(operator: FakeOperator, error: Exception, code: str) -> None:
    operator.fails_with = error
    title = "Service Unavailable"
    for method, path, hint in (
        ("POST", KILL, MAYBE),
        ("POST", "/apps/a/kill-all", MAYBE),
        ("DELETE", "/sessions/s1", MAYBE),
        ("GET", "/sessions", " Try again."),
        ("GET", "/sessions?limit=1", " Try again."),
        ("GET", "/sessions/s1", " Try again."),
        ("GET", "/commands/c1", " Try again."),
    ):
        response = ask(operator, method, path)
        detail = "cannot reach it." + hint
        check_problem(response, 503, title, code, detail, path.partition("?")[0])


@pytest.mark.parametrize("name", ["a/b", "a\nb", "\n", "/", "a b", "\N{GRINNING FACE}"])
def test_all_of_an_app_are_killed_whatever_its_name(operator: FakeOperator, name: str) -> None:
    operator.add("s1", name)
    answer = ask(operator, "POST", f"/apps/{quote(name, safe='')}/kill-all")
    assert (answer.status_code, answer.json()["killed_count"]) == (202, 1)
    assert operator.calls == [("kill_app", name, None, None)]
