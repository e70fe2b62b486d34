"""Any order of valid and nearly valid messages from several peers: the registry never raises, its
state stays valid (the bench looks after each step), and answers go to who asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.registry.model import Settings
from broker.store import StoreUnavailable
from sessionclient.wire import ROLES, TO_BROKER, WireError, decode, encode
from tests.support.bench import Bench, greeting, session

# every line is met by tests of its own, and to count lines doubles what so many examples take
pytestmark = pytest.mark.no_cover

# few of each, so that messages meet
ROUTES = (b"a", b"b", b"c")
INSTANCES = ("p1", "p2")
SESSIONS = ("s1", "s2", "s3")
APPS = ("sales", "stock")
KEYS = ("k1", "k2", None)
ANSWERS = {"welcome", "say_hello", "reply", "error", "refused"}
SMALL = Settings(
    max_sessions=5,
    max_sessions_per_process=3,
    max_greeting_parts=3,
    max_processes=4,
    max_peers=3,
    max_open_commands=3,
    max_commands_kept=3,
    max_tombstones=4,
    max_gone=2,
    max_waiters=3,
    max_unsaved_tasks=5,
    cleanup_after=20.0,
    peer_silence=10.0,
)

states = st.lists(
    st.builds(
        session,
        st.sampled_from(SESSIONS),
        st.sampled_from(APPS),
        status=st.sampled_from(["idle", "running"]),
        task=st.sampled_from([None, "load"]),
        task_age=st.sampled_from([None, 0.5]),
    ),
    max_size=4,
)
ends = st.lists(
    st.fixed_dictionaries(
        {"s": st.sampled_from(SESSIONS), "reason": st.sampled_from(["closed", "killed"])},
        optional={"error": st.just("it hangs")},
    ),
    max_size=3,
)
tasks = st.lists(
    st.fixed_dictionaries(
        {
            "s": st.sampled_from(SESSIONS),
            "no": st.integers(1, 3),
            "name": st.just("load"),
            "age": st.just(2.0),
            "took": st.just(1.0),
            "outcome": st.sampled_from(["ok", "error"]),
        }
    ),
    max_size=3,
)
# what a field may hold, right or not; whoever is left out gets the value of `plain`
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "s": st.sampled_from(SESSIONS),
    "c": st.sampled_from([f"id{number:04d}" for number in range(1, 9)]),
    "app": st.sampled_from(APPS),
    "user": st.sampled_from([None, "ann"]),
    "status": st.sampled_from(["idle", "running"]),
    "stale": st.sampled_from([None, True, False]),
    "reason": st.sampled_from([None, "enough", "killed"]),
    "error": st.sampled_from([None, "it hangs"]),
    "key": st.sampled_from(KEYS),
    "wait": st.sampled_from([None, 0.0, 5.0]),
    "seen": st.sampled_from([None, 0, 1]),
    "older": st.sampled_from([0.0, 5.0]),
    "before": st.sampled_from([None, 0, 3]),
    "file": st.just("monday.db"),
    "by": st.none()
    | st.fixed_dictionaries({"name": st.just("ann"), "role": st.sampled_from(ROLES)}),
    "prefix": st.sampled_from(["s", "id"]),
    "r": st.integers(0, 3),
    "age": st.just(1.0),
    "name": st.just("load"),
    "task": st.sampled_from([None, "load"]),
    "task_age": st.sampled_from([None, 0.5]),
    "limit": st.sampled_from([None, 1]),
    "after": st.sampled_from([None, 0, 2]),
    "sessions": states,
    "ended": ends,
    "done": tasks | st.none(),
    "last": st.booleans(),
}
junk = st.one_of(st.none(), st.integers(-1, 2), st.text(max_size=3), st.binary(max_size=3))


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A route, and a message whose number ``n`` is relative to the last one of its instance."""
    route, kind = draw(st.sampled_from(ROUTES)), draw(st.sampled_from(sorted(TO_BROKER)))
    if kind == "hello" or draw(st.integers(0, 3)) == 0:
        role, instance = draw(st.sampled_from(ROLES)), draw(st.sampled_from(INSTANCES))
        state = {name: draw(FIELDS[name]) for name in ("sessions", "ended", "done", "last")}
        message = {"k": "hello", **greeting(role, instance, **state)}
    else:
        names = [field.name for field in TO_BROKER[kind].fields if field.name != "n"]
        message = {"k": kind, **{name: draw(FIELDS[name]) for name in names}}
    if any(field.name == "n" for field in TO_BROKER[message["k"]].fields):
        message["n"] = draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
    if draw(st.integers(0, 9)) == 0:
        message[draw(st.sampled_from(sorted(message)))] = draw(junk)
    return route, message


events = st.one_of(
    messages(),
    messages(),
    messages(),
    st.sampled_from(["begin", "commit", "fail", "half", "sleep", "restart", "gone"]),
)


class Stage:
    def __init__(self) -> None:
        self.bench = Bench(settings=SMALL)
        self.number = 0

    def say(self, route: bytes, message: dict[str, Any]) -> None:
        """As the server does it; ``n`` goes on from the last number in most cases."""
        bench, step = self.bench, message.get("n")
        if type(step) is int:
            peer = bench.state.peers.get(route)
            last = self.number if peer is None or peer.process is None else peer.process.number
            message = {**message, "n": (last or 0) + step}
            self.number = max(self.number, message["n"])
        bench.settle()
        bench.sent.clear()
        try:
            checked = decode(encode(message), TO_BROKER)
        except WireError as error:
            bench.registry.rejected(route, error)
        else:
            bench.registry.handle(route, checked, bench.now)
        bench.settle()
        strangers = [(to, sent["k"]) for to, sent in bench.sent if to != route]
        # others hear of it only what is theirs: their commands, and answers they wait for
        assert {kind for _, kind in strangers} <= {"command", "reply"}
        assert all(sent["k"] in ANSWERS | {"ack", "command"} for to, sent in bench.sent)

    def happen(self, event: str) -> None:
        bench = self.bench
        if event == "begin" and bench.batch is None:
            bench.begin()
        elif event == "commit":
            bench.commit()
        elif event in ("fail", "half") and (bench.batch is not None or bench.begin() is not None):
            bench.fail(kept=event == "half", error=StoreUnavailable("full", "full"))
        elif event == "sleep":
            bench.sleep(7.0, step=2.0)
        elif event == "restart":
            bench.restart()
        elif event == "gone":
            bench.registry.unreachable(ROUTES[0])
            bench.settle()


@settings(max_examples=400, deadline=None, print_blob=True)
@given(life=st.lists(events, max_size=60))
def test_any_order_of_messages_leaves_the_registry_valid(life: list[Any]) -> None:
    stage = Stage()
    for event in life:
        if isinstance(event, str):
            stage.happen(event)
        else:
            stage.say(*event)
    stage.bench.sleep(60.0, step=5.0)
    stage.bench.commit()
    assert stage.bench.state.waiter_count == 0
    live = {sid for sid, row in stage.bench.rows.sessions.items() if row.ended_at is None}
    assert live == set(stage.bench.state.sessions)
