"""A Panel app whose long task really stops when its session is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import panel as pn

from sessionclient import SessionClient

APP_NAME: Final = "demo-app"
STEP: Final = 0.1  # seconds between two looks at the clock of a running task


class TaskRunner(pn.viewable.Viewer):
    """A form that runs one pretended task at a time in a background thread.

    The work happens inside ``tracker.task(...)``, so the operator sees what is running, and it
    ends as soon as ``stop`` is set, which is what the session's kill does.
    """

    def __init__(self, tracker: SessionClient, stop: threading.Event, **params: Any) -> None:
        super().__init__(**params)
        self._tracker, self._stop = tracker, stop
        self._doc = pn.state.curdoc
        self.task_name = pn.widgets.TextInput(name="Task", value="Refresh forecast")
        self.duration = pn.widgets.IntSlider(name="Seconds", start=1, end=120, value=20)
        self.run = pn.widgets.Button(name="Run", button_type="primary")
        self.progress = pn.indicators.Progress(value=0, max=100, width=300, visible=False)
        self.message = pn.pane.Str("Ready.")
        self.run.on_click(self._start)

    def _start(self, _event: Any) -> None:
        name = self.task_name.value.strip()[:255] or "unnamed task"
        self.run.disabled = True
        self.progress.param.update(value=0, visible=True)
        self.message.object = f"Running {name!r} ..."
        work = threading.Thread(
            target=self._work, args=(name, float(self.duration.value)), daemon=True
        )
        work.start()

    def _work(self, name: str, seconds: float) -> None:
        started = time.monotonic()
        with self._tracker.task(name):
            while (passed := time.monotonic() - started) < seconds and not self._stop.wait(STEP):
                self._show(self.progress, value=int(100 * passed / seconds))
        stopped = self._stop.is_set()
        text = f"{name!r} was stopped." if stopped else f"{name!r} is done."
        self._show(self.message, object=text)
        self._show(self.progress, value=0 if stopped else 100)
        self._show(self.run, disabled=stopped)

    def _show(self, part: Any, **values: Any) -> None:
        """Change what the page shows, from any thread."""

        def change() -> None:
            part.param.update(**values)

        if self._doc is None or self._doc.session_context is None:
            change()
        else:
            self._doc.add_next_tick_callback(change)

    def __panel__(self) -> Any:
        return pn.Column(
            self.task_name, self.duration, self.run, self.progress, self.message, width=340
        )


class App(pn.viewable.Viewer):
    """The whole page: who this session is, and a task to run."""

    def __init__(self, tracker: SessionClient, **params: Any) -> None:
        super().__init__(**params)
        self.tracker = tracker
        self.stop = threading.Event()
        tracker.on_kill(self.stop.set)
        self.runner = TaskRunner(tracker, self.stop)

    def __panel__(self) -> Any:
        return pn.Column(
            "## Demo app",
            f"Session `{self.tracker.session_id[:8]}` of app `{self.tracker.app_name}`.",
            self.runner,
        )


def app_factory(server_url: str | None) -> Callable[[], App]:
    """What Panel calls for every session that is opened."""

    def create() -> App:
        return App(SessionClient.get_tracker(APP_NAME, server_url=server_url))

    return create
