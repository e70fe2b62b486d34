"""An app's callbacks: in order, each reported, none able to hold the others up for long."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sessionclient import callbacks
from sessionclient.callbacks import (
    DEFAULT_TIMEOUT,
    TIMEOUT_VARIABLE,
    Callback,
    Calls,
    Runners,
    callback_timeout,
    describe,
)
from sessionclient.errors import Misuse

PATIENCE = 30.0  # seconds until a test that hangs has failed


class Hanging:
    """A callback that does not end until it is let go."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.thread: threading.Thread | None = None
        self.called = threading.Event()

    def __call__(self) -> None:
        self.thread = threading.current_thread()
        self.called.set()
        self.free.wait(PATIENCE)

    def release(self) -> None:
        self.free.set()
        assert self.called.wait(PATIENCE)
        assert self.thread is not None
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


@contextmanager
def hanging() -> Iterator[Hanging]:
    callback = Hanging()
    try:
        yield callback
    finally:
        callback.release()


def run_all(callbacks: list[Callback], timeout: float) -> list[str]:
    """What went wrong of callbacks that are run by threads of their own."""
    return Calls(callbacks, callers()).run(timeout)


def callers() -> Runners:
    return Runners("panelbus-callback", idle=0.01)


def raising() -> None:
    raise ValueError("no such file")


def exiting() -> None:
    raise SystemExit(3)


# --- running -------------------------------------------------------------------------------------


def test_callbacks_run_once_each_in_order_on_threads_of_their_own() -> None:
    ran: list[tuple[str, str, bool]] = []

    def note(name: str) -> None:
        thread = threading.current_thread()
        ran.append((name, thread.name, thread.daemon))

    errors = run_all([lambda: note("a"), lambda: note("b"), lambda: note("c")], PATIENCE)
    assert errors == []
    assert ran == [(name, "panelbus-callback", True) for name in "abc"]


def test_the_first_callback_does_not_wait_for_the_thread_that_waits_for_it() -> None:
    first, second = threading.Event(), threading.Event()
    calls = Calls([first.set, second.set], callers())
    calls.begin()
    assert first.wait(PATIENCE)
    calls.begin()  # has no effect: there is one under way
    assert not second.is_set()
    first.clear()
    assert calls.run(PATIENCE) == []
    assert second.is_set()
    assert not first.is_set()


def test_beyond_a_bound_the_first_callback_waits_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "MAX_EAGER", 1)
    threads, ran = callers(), list[str]()
    with hanging() as callback:
        Calls([callback], threads).begin()
        assert callback.called.wait(PATIENCE)
        calls = Calls([lambda: ran.append("a"), lambda: ran.append("b")], threads)
        calls.begin()
        assert ran == []
        assert calls.run(PATIENCE) == []
        assert ran == ["a", "b"]


def test_a_failure_of_a_callback_that_was_begun_before_is_reported() -> None:
    calls = Calls([raising, exiting], callers())
    calls.begin()
    errors = calls.run(PATIENCE)
    assert errors == ["raising raised ValueError: no such file", "exiting raised SystemExit: 3"]


def test_nothing_to_run_is_no_error() -> None:
    assert run_all([], PATIENCE) == []


def test_what_a_callback_returns_is_of_no_interest() -> None:
    assert run_all([lambda: "a result", lambda: False], PATIENCE) == []


def test_a_callback_that_raises_is_reported_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran = threading.Event()
    assert run_all([raising, ran.set], PATIENCE) == ["raising raised ValueError: no such file"]
    assert ran.is_set()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("sessionclient", logging.ERROR)
    assert record.getMessage() == "the callback raising failed"
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def test_a_callback_may_not_end_the_process() -> None:
    assert run_all([exiting], PATIENCE) == ["exiting raised SystemExit: 3"]


def test_every_failure_is_reported_in_order() -> None:
    errors = run_all([exiting, lambda: None, raising], PATIENCE)
    assert errors == ["exiting raised SystemExit: 3", "raising raised ValueError: no such file"]


def test_the_report_of_an_error_is_bounded() -> None:
    def shouting() -> None:
        raise ValueError("x" * 1000)

    shouting.__qualname__ = "f" * 200
    (error,) = run_all([shouting], PATIENCE)
    assert error == "f" * 100 + " raised " + "ValueError: " + "x" * 288


def test_a_callback_that_hangs_is_left_behind_and_the_next_one_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran = threading.Event()
    with hanging() as callback:
        first = run_all([callback], 0.0)
        second = run_all([ran.set], PATIENCE)
    assert first == ["Hanging did not end within 0 s"]
    assert second == []
    assert ran.is_set()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    text = "the callback Hanging did not end within 0 s; it is left behind"
    assert record.getMessage() == text


def test_a_callable_is_named_by_its_qualified_name_or_its_class() -> None:
    class Odd:
        def __call__(self) -> None:
            raise KeyError("a")

        def method(self) -> None:
            raise KeyError("b")

    odd = Odd()
    where = "test_a_callable_is_named_by_its_qualified_name_or_its_class.<locals>."
    errors = run_all([odd, odd.method], PATIENCE)
    assert errors == ["Odd raised KeyError: 'a'", f"{where}Odd.method raised KeyError: 'b'"]


def test_a_callback_does_not_wait_for_the_thread_of_one_that_was_left_behind() -> None:
    threads, ran = callers(), threading.Event()
    with hanging() as callback:
        assert Calls([callback], threads).run(0.0) == ["Hanging did not end within 0 s"]
        assert Calls([ran.set], threads).run(PATIENCE) == []
    assert ran.is_set()


def test_a_callback_runs_here_when_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_thread(_self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    threads: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    errors = run_all([lambda: threads.append(threading.current_thread()), raising], PATIENCE)
    assert threads == [threading.current_thread()]
    assert errors == ["raising raised ValueError: no such file"]


# --- the time limit ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3.0), ("0.25", 0.25), ("1e3", 1000.0), (" 7 ", 7.0)]
)
def test_the_time_limit_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    assert callback_timeout() == seconds


def test_the_time_limit_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TIMEOUT_VARIABLE, raising=False)
    assert callback_timeout() == DEFAULT_TIMEOUT == 10.0
    monkeypatch.setenv(TIMEOUT_VARIABLE, "")
    assert callback_timeout() == DEFAULT_TIMEOUT


@pytest.mark.parametrize("text", ["0", "-1", "inf", "-inf", "nan", "ten", "1 s", " "])
def test_a_time_limit_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(Misuse) as caught:
        callback_timeout()
    expected = f"PANELBUS_CALLBACK_TIMEOUT={text!r} must be a number of seconds above 0"
    assert str(caught.value) == expected


# --- errors as text ------------------------------------------------------------------------------


def test_an_error_is_described_by_its_class_and_text() -> None:
    assert describe(ValueError("no"), 100) == "ValueError: no"
    assert describe(KeyError("no"), 100) == "KeyError: 'no'"
    assert describe(ValueError(), 100) == "ValueError: "
    assert describe(ValueError("no"), 12) == "ValueError: "
    assert describe(ValueError("x" * 100), 20) == "ValueError: xxxxxxxx"


def test_an_error_without_a_text_is_described_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    assert describe(Mute(), 100) == "Mute: (no text)"
