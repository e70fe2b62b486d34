"""A bus in the test's own process, over a store that fails, hangs and recovers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from broker.keyring import BrokerKey
from broker.registry.access import Access
from broker.registry.core import Registry
from broker.registry.model import Settings
from broker.server import Bus, clock
from broker.sockets import Sockets
from broker.store import Batch, CopyRefused, Kept, StoreError, StoreUnavailable, TaskRow
from tests.broker.raw import RawPeer
from tests.broker.stores import EVERYTHING, DictStore
from tests.support.processes import free_port

SOON = 60.0  # seconds; generous, for a busy machine
QUICK = Settings(
    flush_interval=0.05, retry_interval=0.05, sweep_interval=0.05, redeliver_after=0.05
)


class MoodyStore(DictStore):
    """A store that can be told to fail, or to take its time."""

    def __init__(self) -> None:
        super().__init__()
        self.error: StoreError | None = None
        self.read_error: StoreError | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False
        self.attempts = 0
        self.probes: list[bool] = []
        self.copy_gate = threading.Event()
        self.copying = threading.Event()

    def commit(self, batch: Batch) -> Kept:
        assert self.gate.wait(SOON)
        self.attempts += 1
        if self.error is not None:
            raise self.error
        return super().commit(batch)

    def check(self, *, probe: bool) -> StoreUnavailable | None:
        assert self.gate.wait(SOON)
        self.probes.append(probe)
        if isinstance(self.error, StoreUnavailable):
            return self.error
        if self.error is not None:
            raise self.error
        return None

    def tasks(self, session_id: str, limit: int) -> list[TaskRow]:
        if self.read_error is not None:
            raise self.read_error
        return super().tasks(session_id, limit)

    def copy(self, file: str, go_on: Callable[[], bool]) -> tuple[str, int]:
        """Takes until the gate opens, or it is given up."""
        self.copying.set()
        while not self.copy_gate.wait(0.01):
            if not go_on():
                raise StoreUnavailable("the broker stops", "busy")
        if file == "taken.db":
            raise CopyRefused("taken.db exists already", "conflict")
        return f"/data/{file}", 4096

    def close(self) -> None:
        self.closed = True

    def apps(self) -> list[str]:
        """The apps of the live sessions that were kept."""
        loaded = self.load(max_tombstones=0, max_commands=EVERYTHING, max_gone=0)
        return [row.app_name for row in loaded.sessions]


class RunningBus:
    """A bus in a thread of the test's own process."""

    def __init__(
        self,
        *,
        alone: bool = False,
        key: BrokerKey | None = None,
        access: Access | None = None,
    ) -> None:
        """``alone``: there is nobody to be told before the last commit."""
        self.store = MoodyStore()
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.feed = f"tcp://127.0.0.1:{free_port()}"
        sockets = Sockets(key, access)
        sockets.bind(self.address, self.feed)
        ids = iter(f"id{number}" for number in range(100_000))
        loaded = self.store.load(max_tombstones=0, max_commands=0, max_gone=0)
        self.registry = Registry(
            loaded,
            clock(),
            new_id=lambda: next(ids),
            feed_address=self.feed,
            version="test",
            settings=QUICK,
            access=access,
        )
        self.bus = Bus(sockets, self.registry, self.store)
        self.asked_before_finish = 0
        before_finish = None if alone else self._before_finish
        self._thread = threading.Thread(target=self.bus.run, args=(before_finish,))

    def _before_finish(self) -> None:
        self.asked_before_finish += 1

    def join(self) -> None:
        self._thread.join(SOON)
        assert not self._thread.is_alive()

    def __enter__(self) -> RunningBus:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.store.gate.set()
        if self._thread.is_alive():
            self.bus.stop()
        self.join()


def ask(peer: RawPeer, kind: str, **fields: Any) -> Any:
    """A reply's result, or the whole error."""
    peer.say(kind, r=1, **fields)
    answer = peer.answer()
    return answer["result"] if answer["k"] == "reply" else answer
