"""A registry on a test bench: a fake clock, a store of dicts, and peers to speak as."""

from __future__ import annotations

import itertools
from typing import Any

from broker.registry.access import Access
from broker.registry.core import Registry
from broker.registry.effects import ReadAudit
from broker.registry.model import Now, Settings
from broker.registry.validate import validate
from broker.store import (
    AuditRow,
    Batch,
    CommandRow,
    EndedBadly,
    Kept,
    Loaded,
    ProcessRow,
    SessionRow,
    StoreError,
    StoreUnavailable,
    TaskRow,
    Tombstone,
)
from sessionclient.wire import FEED, FROM_BROKER, TO_BROKER, decode, encode

WALL = 1_700_000_000.0  # where the fake wall clock starts


class Rows:
    """The least that is durable: rows by key, with the one rule a store keeps (no reopening)."""

    def __init__(self) -> None:
        self.processes: dict[str, ProcessRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.tasks: dict[tuple[str, int], TaskRow] = {}
        self.commands: dict[str, CommandRow] = {}
        self.audit: dict[int, AuditRow] = {}

    def commit(self, batch: Batch) -> Kept:
        refused = []
        for process in batch.processes:
            self.processes[process.instance] = process
        for session in batch.sessions:
            old = self.sessions.get(session.session_id)
            if old is None or old.ended_at is None or old.end_reason == "stale":
                self.sessions[session.session_id] = session
            elif session.ended_at is None:
                refused.append(_tombstone(old))
        for status in batch.statuses:
            old = self.sessions.get(status.session_id)
            if old is not None and old.ended_at is None:
                self.sessions[status.session_id] = old._replace(**status._asdict())
        for task in batch.tasks:
            self.tasks[task.session_id, task.task_no] = task
        for command in batch.commands:
            self.commands[command.command_id] = command
        for entry in batch.audit:
            self.audit.setdefault(entry.number, entry)
        for instance, heard_at in batch.heard:
            if instance in self.processes:
                row = self.processes[instance]
                self.processes[instance] = row._replace(heard_at=heard_at)
        return Kept(tuple(refused))

    def load(self) -> Loaded:
        live = sorted(
            (s for s in self.sessions.values() if s.ended_at is None), key=lambda row: row.seq
        )
        ended = sorted(
            (s for s in self.sessions.values() if s.ended_at is not None),
            key=lambda row: row.ended_at or 0.0,
        )
        owners = {row.process for row in live}
        return Loaded(
            processes=[p for p in self.processes.values() if p.instance in owners],
            sessions=live,
            commands=sorted(
                (c for c in self.commands.values() if c.stage != "refused"),
                key=lambda row: row.requested_at,
            ),
            tombstones=[_tombstone(s) for s in ended],
            last_audit=max(self.audit, default=0),
            last_seq=max((s.seq for s in self.sessions.values()), default=0),
            gone=[
                (p.instance, p.secret_hash)
                for p in sorted(self.processes.values(), key=lambda row: row.heard_at)
                if p.secret_hash is not None and p.instance not in owners
            ],
            ended_badly={
                s.session_id: EndedBadly(s.kill_command, s.kill_error, s.end_error)
                for s in ended
                if s.kill_command is not None and (s.kill_error or s.end_error) is not None
            },
        )


def _tombstone(row: SessionRow) -> Tombstone:
    return Tombstone(
        row.session_id,
        row.seq,
        row.end_reason or "",
        row.ended_at or 0,
        row.kill_command,
        row.process,
    )


class Bench:
    """Drives one registry; every step is validated, every message crosses the codec."""

    def __init__(
        self,
        rows: Rows | None = None,
        settings: Settings | None = None,
        access: Access | None = None,
    ) -> None:
        self.rows = rows or Rows()
        self.access = access
        self.users: dict[bytes, str] = {}  # what the transport has proved of a route
        self.settings = settings or Settings()
        self.mono, self.wall = 1000.0, WALL
        self.ids = (f"id{number:04d}" for number in itertools.count(1))
        self.sent: list[tuple[bytes, dict[str, Any]]] = []
        self.published: list[dict[str, Any]] = []
        self.batch: Batch | None = None
        self.registry = self._new()

    def _new(self) -> Registry:
        return Registry(
            self.rows.load(),
            self.now,
            new_id=lambda: next(self.ids),
            feed_address="tcp://127.0.0.1:5761",
            version="test",
            settings=self.settings,
            access=self.access,
        )

    @property
    def now(self) -> Now:
        return Now(self.mono, self.wall)

    @property
    def state(self) -> Any:
        return self.registry.state

    # --- steps -----------------------------------------------------------------------------

    def say(self, route: bytes, kind: str, **fields: Any) -> None:
        """A message arrives from ``route``; nothing is committed yet."""
        message = decode(encode({"k": kind, **fields}), TO_BROKER)
        self.registry.handle(route, message, self.now, self.users.get(route))
        self.settle()

    def settle(self) -> None:
        """Collect what the registry wants said, without time passing."""
        self.registry.tick(self.now)
        for route, sent in self.registry.take_sends():
            self.sent.append((route, decode(encode(sent), FROM_BROKER)))
        while (message := self.registry.take_feed(self.now)) is not None:
            self.published.append(decode(encode(message), FEED))
        validate(self.registry)

    def answer_reads(self) -> None:
        """The store answers what it was asked about the audit."""
        for read in self.registry.take_reads():
            assert isinstance(read, ReadAudit)
            newest = sorted(self.rows.audit.values(), reverse=True)
            found = [row for row in newest if read.before is None or row.number < read.before]
            self.registry.read_done(read, found[: read.limit])
        self.settle()

    def begin(self) -> Batch | None:
        self.batch = self.registry.begin(self.now)
        return self.batch

    def commit(self) -> None:
        """Commit whatever is due until nothing is."""
        while self.batch is not None or self.begin() is not None:
            if self.batch is None:
                return
            kept = self.rows.commit(self.batch)
            self.batch = None
            self.registry.committed(0.001, self.now, kept)
            self.settle()

    def fail(self, *, kept: bool = False, error: StoreError | None = None) -> None:
        """The batch that is due fails; ``kept`` for one that reached the disk all the same."""
        if self.batch is None and self.begin() is None:
            raise RuntimeError("nothing is due")
        if kept and self.batch is not None:
            self.rows.commit(self.batch)
        self.batch = None
        self.registry.commit_failed(error or StoreUnavailable("disk broken", "io"), self.now)
        self.settle()

    def sleep(self, seconds: float, *, step: float = 1.0) -> None:
        """Time passes while the broker runs: the loop turns at least every ``step``."""
        end = self.mono + seconds
        while self.mono < end:
            self.jump(min(step, end - self.mono))

    def jump(self, seconds: float) -> None:
        """Time passes without the broker noticing, then it turns once."""
        self.mono += seconds
        self.wall += seconds
        self.settle()

    def restart(self) -> None:
        """kill -9 and start again: only what was committed is left."""
        self.batch = None
        self.mono += 1.0
        self.wall += 1.0
        self.registry = self._new()
        self.settle()

    # --- peers -----------------------------------------------------------------------------

    def take(self, route: bytes, kind: str | None = None) -> list[dict[str, Any]]:
        """Messages sent to ``route`` since the last look (of one kind: the rest is dropped)."""
        mine = [message for to, message in self.sent if to == route]
        self.sent = [(to, message) for to, message in self.sent if to != route]
        return [message for message in mine if kind is None or message["k"] == kind]

    def operator(self, route: bytes = b"op", role: str = "operator") -> bytes:
        self.say(route, "hello", **greeting(role=role, instance=f"op-{route.hex()}"))
        self.take(route)
        return route

    def app(self, route: bytes, *sessions: dict[str, Any], instance: str = "proc") -> AppPeer:
        """A greeted app process with these sessions, committed."""
        peer = AppPeer(self, route, instance)
        peer.hello(*sessions)
        self.commit()
        self.take(route)
        return peer


def session(name: str, app: str = "sales", **more: Any) -> dict[str, Any]:
    """A session's state as an app states it."""
    return {"s": name, "app": app, "age": 0.0, "status": "idle", **more}


def greeting(role: str = "app", instance: str = "proc", n: int = 1, **more: Any) -> dict[str, Any]:
    """The fields of a hello."""
    return {
        "v": 1,
        "role": role,
        "instance": instance,
        "secret": b"secret of " + instance.encode().ljust(16, b"."),
        "host": "host1",
        "pid": 42,
        "interval": 30.0,
        "n": n,
        "sessions": [],
        "ended": [],
        "last": True,
        **more,
    }


class AppPeer:
    """Speaks as an app process, numbering its messages as a client must."""

    def __init__(self, bench: Bench, route: bytes, instance: str) -> None:
        self.bench, self.route, self.instance = bench, route, instance
        self.n = 0

    def say(self, kind: str, **fields: Any) -> None:
        self.n += 1
        self.bench.say(self.route, kind, n=self.n, **fields)

    def hello(self, *sessions: dict[str, Any], **more: Any) -> None:
        self.n += 1
        fields = greeting(instance=self.instance, n=self.n, sessions=list(sessions), **more)
        self.bench.say(self.route, "hello", **fields)

    def take(self, kind: str | None = None) -> list[dict[str, Any]]:
        return self.bench.take(self.route, kind)
