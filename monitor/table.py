"""One indexed Perspective table for all pages, and each page's read-only session at it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

import perspective

from broker.memory import give_back
from monitor import readonly
from monitor.columns import INDEX, SCHEMA

log = logging.getLogger("panelbus.monitor")

REMOVE_ROWS: Final = 5_000  # rows removed in one call
# A table never forgets what it has held: 0.7 to 1 kB for each session that came and went, which
# makes 50 MB until a new one takes its place.
RENEW_AFTER: Final = 50_000  # rows removed


class LiveTable:
    """Rows by session id. Written by one thread; pages read it through `Reader`s."""

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        """``give_back`` returns to the system what is free inside the process."""
        self._give_back = give_back
        self._server = perspective.Server()
        self._client = self._server.new_local_client()
        self._generation = 0
        self._removed = 0
        self._old: list[Any] = []
        self._table: Any = None
        # One thread for the requests of all pages: it keeps the order of each and the engine's
        # work off the event loop.
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="panelbus-table")
        self.readers: set[Reader] = set()
        self._make()

    def _make(self) -> None:
        self._generation += 1
        name = f"sessions-{self._generation}"
        self._table = self._client.table(SCHEMA, index=INDEX, name=name)
        self.name = name  # only now, because whoever sees a new name looks for its table

    @property
    def worn(self) -> bool:
        """Whether it is time to `renew` it."""
        return self._removed >= RENEW_AFTER

    def renew(self) -> None:
        """Put an empty table under a new ``name`` in the place of this one, which goes when the
        last page has left it."""
        self._old.append(self._table)
        self._removed = 0
        self._make()

    def put(self, rows: Iterable[dict[str, Any]]) -> None:
        """Insert or replace rows."""
        records = list(rows)
        if records:
            # as text, which it reads faster than it walks dicts
            self._table.update(json.dumps(records), format="json")

    def remove(self, ids: Iterable[str]) -> None:
        """Remove rows; unknown ids do nothing."""
        gone = list(ids)
        for start in range(0, len(gone), REMOVE_ROWS):
            self._table.remove(gone[start : start + REMOVE_ROWS])
        self._removed += len(gone)
        self._drop_old()

    def _drop_old(self) -> None:
        kept = len(self._old)
        for table in list(self._old):
            with suppress(perspective.PerspectiveError):  # a page still looks at it
                table.delete()
                self._old.remove(table)
        if len(self._old) < kept:
            self._give_back()  # or what the old one held stays, in pieces the next can't use

    def size(self) -> int:
        """How many rows there are."""
        return int(self._table.size())

    def open_reader(self, send: Callable[[bytes], None]) -> Reader:
        """A page's session; ``send`` is called from any thread with what goes to the page."""
        reader = Reader(self._server, self._readers, send, self.readers.discard)
        self.readers.add(reader)
        return reader

    def close(self) -> None:
        """Close every reader and let their thread end."""
        for reader in list(self.readers):
            reader.close()
        self._readers.shutdown(wait=True)


class Reader:
    """What one page may ask of the table: to read it."""

    def __init__(
        self,
        server: perspective.Server,
        executor: ThreadPoolExecutor,
        send: Callable[[bytes], None],
        leave: Callable[[Reader], None],
    ) -> None:
        self._executor = executor
        self._to_page, self._leave = send, leave
        self._lock = threading.Lock()  # over the three below
        self._paused = False
        self._updates: set[int] = set()  # requests that are answered at every change
        self._missed: dict[int, bytes] = {}  # the newest answer of each that was held back
        self._session: Any = server.new_session(self._send)

    def ask(self, data: bytes) -> None:
        """One request of the page; it is answered through ``send``, a forbidden one with why.

        Raises:
            NotARequest: the bytes are none.
        """
        request = readonly.parse(data)
        if not request.reads:
            log.warning("a page asked to change the table (request %d); refused", request.kind)
            self._tell(readonly.refusal(request, "this table is read-only"))
            return
        if request.kind == readonly.MAKE_PORT:
            self._tell(readonly.empty_port(request))
            return
        if request.kind == readonly.ON_UPDATE:
            with self._lock:
                self._updates.add(request.number)
        self._submit(lambda session: session.handle_request(data), request)

    def pause(self, paused: bool) -> None:
        """Hold back what tells the page that rows have changed, or send it on again."""
        with self._lock:
            self._paused = paused
        if not paused:
            self.catch_up()

    def catch_up(self) -> None:
        """Tell the page of the changes that were held back."""
        with self._lock:
            missed, self._missed = self._missed, {}
        for data in missed.values():
            self._tell(data)

    def close(self) -> None:
        """Free its views; idempotent."""
        self._submit(lambda session: session.close())
        self._session = None
        self._leave(self)

    def _send(self, data: bytes) -> None:
        with self._lock:
            number = readonly.answers(data) if self._paused else None
            if number is not None and number in self._updates:
                self._missed[number] = data
                return
        self._tell(data)

    def _tell(self, data: bytes) -> None:
        """In whichever thread changed the table: what goes wrong here must not end that."""
        try:
            self._to_page(data)
        except Exception:  # whatever is wrong with one page, the others have their table
            log.exception("a page could not be answered")

    def _submit(self, work: Callable[[Any], None], request: readonly.Request | None = None) -> None:
        session = self._session
        if session is None:
            return

        def run() -> None:
            try:
                work(session)
            except perspective.PerspectiveError as error:
                log.warning("a page's request failed: %s", error)
                if request is not None:
                    self._tell(readonly.refusal(request, str(error)))

        with suppress(RuntimeError):  # the table has been closed
            self._executor.submit(run)
