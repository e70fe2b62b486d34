"""A Panel app whose sessions share one pool of processes, and stop only what is their own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import panel as pn
import panel_material_ui as pmui
from aiomultiprocess import Pool

from demos.look import Doc, escaped, frame, identity, text
from demos.shared_pool import WORKERS_PER_RUN, PoolProblem, Run, SharedPool, WorkerState
from sessionclient import SessionClient

APP_NAME: Final = "demo-pool"
TASK_NAME: Final = f"{WORKERS_PER_RUN} pool workers"
REFRESH_MS: Final = 1_000  # milliseconds between two looks at the clock and at the pool

_shared = SharedPool()


def get_pool() -> Pool:
    """The pool all sessions of this process share; started when it is first asked for."""
    return _shared.get_pool()


def get_manager() -> Any:
    """The manager that makes the events with which the pool's workers are told to stop."""
    return _shared.get_manager()


async def shutdown_pool() -> None:
    """End the pool's workers, its processes and its manager, and wait for all of it."""
    await _shared.shutdown()


class PoolApp(pn.viewable.Viewer):
    """The whole page: two workers in the shared pool, which stop with this session alone."""

    def __init__(self, tracker: SessionClient, pool: SharedPool = _shared, **params: Any) -> None:
        super().__init__(**params)
        self.tracker, self._pool = tracker, pool
        self._doc = Doc()
        self._over = threading.Event()  # the session has ended
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None  # kept: a loop holds its tasks weakly
        self.run = pmui.Button(
            label="Run two workers", color="primary", icon="play_arrow", sizing_mode="stretch_width"
        )
        self.halt = pmui.Button(
            label="Stop", color="primary", variant="outlined", icon="stop", disabled=True, width=120
        )
        self.message = text(object="Ready.")
        self.workers = text(object=table([], 0.0))
        self.sharing = text(object="", size=13)
        self.run.on_click(self.start)
        self.halt.on_click(self._halt_pressed)
        pool.acquire(tracker.session_id)
        tracker.on_kill(self._stop)
        tracker.on_kill(lambda: pool.release(tracker.session_id))
        self._refresh()
        if pn.state.curdoc is not None:
            pn.state.add_periodic_callback(self._refresh, REFRESH_MS)

    # --- a run -------------------------------------------------------------------------------

    def start(self, _event: Any = None) -> None:
        """Run two workers, unless they run already or the session is over."""
        if self._over.is_set() or (self._task is not None and not self._task.done()):
            return
        self.run.disabled = True
        self.message.object = "Starting ..."
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        said = "Both workers have stopped."
        try:
            with self.tracker.task(TASK_NAME):
                await self._pool.run(self.tracker.session_id, self._begun, self._changed)
        except PoolProblem as problem:
            said = escaped(problem)
        else:
            if self._run is not None and any(w.state != "stopped" for w in self._run.workers):
                said = "The run is over, but not all went well."
        self._doc.show(self.message, object=said)
        self._doc.show(self.run, disabled=self._over.is_set())
        self._doc.show(self.halt, disabled=True)

    def _begun(self, run: Run) -> None:
        self._run = run
        if self._over.is_set():  # it ended while the run was being prepared
            run.stop()
        self._doc.show(self.message, object="Running until you stop it or the session ends.")
        self._doc.show(self.halt, disabled=False)

    def _changed(self) -> None:
        self._doc.show(self.workers, object=self._table())

    def _halt_pressed(self, _event: Any) -> None:
        self.halt.disabled = True
        self.message.object = "Stopping ..."
        if self._run is not None:
            # asks the manager, which may take its time
            asyncio.get_running_loop().run_in_executor(None, self._run.stop)

    # --- the end -----------------------------------------------------------------------------

    def _stop(self) -> None:
        """The session ends: its own workers are told; on a thread of the session client."""
        self._over.set()
        if self.tracker.killed.is_set():
            said = "Stopping: an operator has ended this session."
            self._doc.show(self.message, object=said)
            self._doc.show(self.run, disabled=True)
        if self._run is not None:
            self._run.stop()

    # --- what is shown -----------------------------------------------------------------------

    def _refresh(self) -> None:
        self.sharing.object = sharing(self._pool.size, len(self._pool.pids), self._pool.sessions)
        self.workers.object = self._table()

    def _table(self) -> str:
        return table([] if self._run is None else self._run.workers, time.monotonic())

    def __panel__(self) -> Any:
        who = identity(self.tracker.session_id, self.tracker.app_name)
        buttons = pn.Row(self.run, self.halt, sizing_mode="stretch_width", margin=0)
        return frame(
            "Demo: shared pool", text(object=who), buttons, self.message, self.workers, self.sharing
        )


def sharing(size: int, running: int, sessions: int) -> str:
    """How large the pool is and how many use it, as HTML."""
    processes = f"{running} processes" if running else f"none of its {size} processes yet"
    people = "this session alone has it" if sessions <= 1 else f"{sessions} sessions share it"
    return f"The pool runs {processes}; {people}."


def table(workers: Sequence[WorkerState], now: float) -> str:
    """The workers as an HTML table; ``now`` is monotonic seconds."""
    rows = [(w.task_id, "" if w.pid is None else str(w.pid), state(w, now)) for w in workers]
    rows = rows or [("none yet", "", "")]
    head = "".join(f"<th>{name}</th>" for name in ("Worker", "Process", "State"))
    body = "".join(
        "<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<style>{TABLE_CSS}</style><table><tr>{head}</tr>{body}</table>"


TABLE_CSS: Final = """
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 8px 12px 8px 0; }
th { font-weight: 600; opacity: .7; font-size: 13px; }
tr + tr { border-top: 1px solid rgba(128, 136, 150, .3); }
"""

_ENDS: Final = {
    "stopped": "stopped after {seconds:.0f} s",
    "failed": "failed after {seconds:.0f} s",
    "lost": "lost with its process after {seconds:.0f} s",
    "abandoned": "did not stop and was left behind",
}


def state(worker: WorkerState, now: float) -> str:
    """How a worker is, in words; ``now`` is monotonic seconds."""
    if worker.seconds is None:
        if worker.state == "running":
            return f"running for {max(0.0, now - worker.started):.0f} s"
        return worker.state
    return _ENDS[worker.state].format(seconds=worker.seconds)


def app_factory(server_url: str | None) -> Callable[[], PoolApp]:
    """What Panel calls for every session that is opened."""

    def create() -> PoolApp:
        return PoolApp(SessionClient.get_tracker(APP_NAME, server_url=server_url))

    return create
