"""panelbus audit."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from sessionclient import Forbidden, Operator
from tests.cli.conftest import Open
from tests.support.processes import BrokerProcess, eventually, free_port

pytestmark = pytest.mark.process

Run = Callable[..., Result]


def test_a_kill_is_on_record_the_newest_last(run: Run, opened: Open) -> None:
    tracker = opened("audited", "ann")
    done = run("kill", tracker.session_id, "--reason", "\x1b[2Jnoon", "--wait", "20")
    assert done.exit_code == 0
    rows = json.loads(run("audit", "--json").stdout)
    assert [(row["action"], row["outcome"]) for row in rows[-2:]] == [
        ("kill", "requested"),
        ("kill", "completed"),
    ]
    assert rows[-2]["targets"] == [tracker.session_id]
    assert rows[-2]["at"].endswith("+00:00")
    assert [row["number"] for row in rows] == sorted(row["number"] for row in rows)
    output = run("audit").output
    lines = [line for line in output.splitlines() if line.strip()]
    assert "completed" in lines[-2]
    assert "requested" in lines[-3]
    assert tracker.session_id[:8] in lines[-3]
    assert "noon" in lines[-3]
    assert "\x1b" not in output


def test_pages(run: Run, opened: Open) -> None:
    for _ in range(2):
        tracker = opened("paged")
        assert run("kill", tracker.session_id, "--wait", "20").exit_code == 0
    (newest,) = json.loads(run("audit", "--limit", "1", "--json").stdout)
    output = run("audit", "--limit", "1").output
    assert output.endswith(f"1 row; older ones: --before {newest['number']}\n")
    (older,) = json.loads(
        run("audit", "--limit", "1", "--before", str(newest["number"]), "--json").stdout
    )
    assert older["number"] == newest["number"] - 1
    assert run("audit", "--before", "1").output == "Nothing is on record.\n"


def test_who_was_refused_is_on_record(run: Run, broker: BrokerProcess) -> None:
    with Operator(broker.bus) as operator:
        eve = operator.acting_for("eve", "viewer")
        with pytest.raises(Forbidden):
            eve.request_kill("x")

    def noted() -> bool:
        lines = run("audit").output.splitlines()
        return any("eve (viewer)" in line and "refused" in line for line in lines)

    eventually(noted, "the refusal is on record")


@pytest.mark.parametrize("words", [["--limit", "0"], ["--limit", "1001"], ["--before", "0"]])
def test_wrong_usage(run: Run, words: list[str]) -> None:
    assert run("audit", *words).exit_code == 2


def test_without_a_broker(run: Run) -> None:
    server = f"tcp://127.0.0.1:{free_port()}"
    done = run("audit", "--server", server, "--timeout", "0.1")
    assert done.exit_code == 1
    assert done.stderr.startswith("main: ")
