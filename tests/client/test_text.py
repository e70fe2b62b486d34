"""Text that UTF-8 can't carry never reaches the wire from an app."""

from __future__ import annotations

from sessionclient.arguments import checked_name
from sessionclient.callbacks import describe
from sessionclient.text import is_sendable, sendable

BROKEN = "caf\udce9"  # as os.listdir gives a name that is no UTF-8


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert (is_sendable(BROKEN), sendable(BROKEN)) == (False, "caf?")
    whole = "caf\u00e9 \N{GRINNING FACE}\0"
    assert (is_sendable(whole), sendable(whole)) == (True, whole)


def test_what_an_app_says_is_made_sendable() -> None:
    assert describe(ValueError(f"cannot read {BROKEN}"), 100) == "ValueError: cannot read caf?"
    assert checked_name("task name", BROKEN) == "caf?"
