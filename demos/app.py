"""A Panel app whose long task really stops when its session is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import panel as pn
import panel_material_ui as pmui

from demos.look import Doc, escaped, frame, identity, text
from sessionclient import SessionClient

APP_NAME: Final = "demo-app"
STEP: Final = 0.1  # seconds between two looks at the clock of a running task
MAX_NAME: Final = 255  # characters of a task's name
MAX_SECONDS: Final = 120  # a task may take
USUAL_SECONDS: Final = 20


class TaskRunner(pn.viewable.Viewer):
    """A form that runs one pretended task at a time in a background thread.

    The work happens inside ``tracker.task(...)``, so the operator sees what is running, and it
    ends as soon as ``stop`` is set, which is what the session's kill does.
    """

    def __init__(self, tracker: SessionClient, stop: threading.Event, **params: Any) -> None:
        super().__init__(**params)
        self._tracker, self._stop = tracker, stop
        self._doc = Doc()
        wide = {"sizing_mode": "stretch_width"}
        self.task_name = pmui.TextInput(label="Task", value="Refresh forecast", **wide)
        self.duration = pmui.IntSlider(
            label="Seconds", start=1, end=MAX_SECONDS, value=USUAL_SECONDS, margin=(5, 18), **wide
        )
        self.run = pmui.Button(label="Run", color="primary", icon="play_arrow", **wide)
        self.progress = pmui.LinearProgress(
            value=0, variant="determinate", visible=False, margin=(12, 10), **wide
        )
        self.message = text(object="Ready.")
        self.run.on_click(self._start)
        tracker.on_kill(self._tell_of_the_end)

    def _start(self, _event: Any) -> None:
        name = self.task_name.value.strip()[:MAX_NAME] or "unnamed task"
        self.run.disabled = True
        self.progress.param.update(value=0, visible=True)
        seconds = float(self.duration.value)
        self.message.object = running(name, 0, seconds)
        threading.Thread(target=self._work, args=(name, seconds), daemon=True).start()

    def _work(self, name: str, seconds: float) -> None:
        started = time.monotonic()
        shown = 0
        with self._tracker.task(name):
            while (passed := time.monotonic() - started) < seconds and not self._stop.wait(STEP):
                if shown != (now := percent(passed, seconds)):
                    shown = now
                    self._doc.show(self.progress, value=now)
                    self._doc.show(self.message, object=running(name, passed, seconds))
        if self._stop.is_set():
            self._doc.show(self.message, object=f"{escaped(repr(name))} has stopped.")
            return
        self._doc.show(self.message, object=f"{escaped(repr(name))} is done.")
        self._doc.show(self.progress, value=100)
        self._doc.show(self.run, disabled=False)

    def _tell_of_the_end(self) -> None:
        if self._tracker.killed.is_set():
            self._doc.show(self.run, disabled=True)
            self._doc.show(self.message, object="Stopping: an operator has ended this session.")

    def __panel__(self) -> Any:
        return pn.Column(
            self.task_name,
            self.duration,
            self.run,
            self.progress,
            self.message,
            sizing_mode="stretch_width",
            margin=0,
        )


class App(pn.viewable.Viewer):
    """The whole page: who this session is, and a task to run."""

    def __init__(self, tracker: SessionClient, **params: Any) -> None:
        super().__init__(**params)
        self.tracker = tracker
        self.stop = threading.Event()
        self.runner = TaskRunner(tracker, self.stop)
        tracker.on_kill(self.stop.set)

    def __panel__(self) -> Any:
        who = identity(self.tracker.session_id, self.tracker.app_name)
        return frame("Demo: one task", text(object=who), self.runner)


def percent(passed: float, seconds: float) -> int:
    """How much of the task is done, 0 to 100."""
    return max(0, min(100, int(100 * passed / seconds)))


def running(name: str, passed: float, seconds: float) -> str:
    """What the page says while a task runs, as HTML."""
    return f"Running {escaped(repr(name))}: {passed:.0f} of {seconds:.0f} s"


def app_factory(server_url: str | None) -> Callable[[], App]:
    """What Panel calls for every session that is opened."""

    def create() -> App:
        return App(SessionClient.get_tracker(APP_NAME, server_url=server_url))

    return create
