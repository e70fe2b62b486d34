"""Log lines, for people and for machines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from broker import logs

log = logging.getLogger("panelbus.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Setting up replaces what the root logger has; put that back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


def line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    captured = capsys.readouterr()
    assert captured.out == ""
    text, end, rest = captured.err.partition("\n")
    assert (end, rest) == ("\n", "")
    return text


def entry(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line(capsys))
    return found


def test_text_is_time_level_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    log.warning("%d of %s", 3, "many")
    pattern = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING 3 of many"
    assert re.fullmatch(pattern, line(capsys))


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json")
    before = datetime.now(UTC)
    log.error('%s said "no"\nand left \N{GRINNING FACE}', "ann")
    found = entry(capsys)
    time = datetime.fromisoformat(found.pop("time"))
    assert before <= time <= datetime.now(UTC)
    assert found == {
        "level": "error",
        "logger": "panelbus.test",
        "message": 'ann said "no"\nand left \N{GRINNING FACE}',
    }


def test_json_keeps_the_traceback_in_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "json")
    try:
        raise ValueError("too wide")
    except ValueError:
        log.exception("it failed")
    found = entry(capsys)
    assert found["message"] == "it failed"
    assert found["traceback"].startswith("Traceback (most recent call last):\n")
    assert found["traceback"].endswith("\nValueError: too wide")


def test_text_shows_the_traceback_below(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    try:
        raise ValueError("too wide")
    except ValueError:
        log.exception("it failed")
    assert capsys.readouterr().err.endswith("\nValueError: too wide\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_is_below_the_level_is_not_printed(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    logs.set_up("warning", form)
    log.info("nothing")
    log.debug("nothing")
    assert capsys.readouterr().err == ""
    log.warning("something")
    assert "something" in line(capsys)


def test_setting_up_again_replaces_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", "text")
    logs.set_up("debug", "json")
    log.debug("once")
    assert entry(capsys)["level"] == "debug"
