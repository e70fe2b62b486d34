"""What the pages say, as text."""

from __future__ import annotations

import pytest

from demos.app import percent, running
from demos.app_pool import sharing, state, table
from demos.look import identity
from demos.shared_pool import WorkerState


@pytest.mark.parametrize(
    ("passed", "seconds", "shown"),
    [(0, 20, 0), (10, 20, 50), (19.99, 20, 99), (20, 20, 100), (21, 20, 100), (-1, 20, 0)],
)
def test_progress(passed: float, seconds: float, shown: int) -> None:
    assert percent(passed, seconds) == shown


def test_names_are_shown_as_text() -> None:
    assert running("<b>x</b>", 3.4, 20) == "Running &#x27;&lt;b&gt;x&lt;/b&gt;&#x27;: 3 of 20 s"
    assert "<code>01234567</code>" in identity("0123456789", "a<b")
    assert "a&lt;b" in identity("0123456789", "a<b")


@pytest.mark.parametrize(
    ("worker", "shown"),
    [
        (WorkerState("w", started=5.0), "starting"),
        (WorkerState("w", "running", 7, 5.0), "running for 5 s"),
        (WorkerState("w", "stopped", 7, 5.0, 3.2, 1), "stopped after 3 s"),
        (WorkerState("w", "failed", 7, 5.0, 3.2), "failed after 3 s"),
        (WorkerState("w", "lost", 7, 5.0, 3.2), "lost with its process after 3 s"),
        (WorkerState("w", "abandoned", 7, 5.0, 3.2), "did not stop and was left behind"),
    ],
)
def test_a_worker_s_state(worker: WorkerState, shown: str) -> None:
    assert state(worker, 10.0) == shown


def test_the_table_and_the_pool() -> None:
    assert "none yet" in table([], 0.0)
    shown = table([WorkerState("a<b", "running", 4711, 1.0)], 3.0)
    assert "<td>a&lt;b</td><td>4711</td><td>running for 2 s</td>" in shown
    assert sharing(4, 4, 2) == "The pool runs 4 processes; 2 sessions share it."
    assert sharing(4, 0, 1) == (
        "The pool runs none of its 4 processes yet; this session alone has it."
    )
