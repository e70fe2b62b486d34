"""Lists, REST sessions, clean-up, the feed and the counts."""

from __future__ import annotations

from typing import Any

from broker.registry.model import Settings
from broker.store import StoreUnusable
from sessionclient.wire import WireError
from tests.support.bench import WALL, Bench, greeting, session


def started(settings: Settings | None = None) -> Bench:
    bench = Bench(settings=settings)
    bench.operator()
    return bench


def ask(bench: Bench, kind: str, **fields: Any) -> Any:
    """The answer to a request, after whatever commit it needs."""
    bench.say(b"op", kind, r=1, **fields)
    bench.commit()
    (answer,) = bench.take(b"op")
    return answer.get("result", answer.get("code"))


def ids(answer: Any) -> list[str]:
    return [row["session_id"] for row in answer["rows"]]


def test_pages_follow_the_order_of_registration() -> None:
    bench = started()
    bench.app(b"a", *(session(f"s{i}") for i in range(5)))
    first = ask(bench, "list", limit=2)
    assert (ids(first), first["total"]) == (["s0", "s1"], 5)
    second = ask(bench, "list", limit=2, after=first["next"])
    assert ids(second) == ["s2", "s3"]
    third = ask(bench, "list", limit=2, after=second["next"])
    assert (ids(third), third["next"]) == (["s4"], None)


def test_filters_combine() -> None:
    bench = started()
    bench.app(b"a", session("s1", user="ann"), session("s2", user="bob", status="running"))
    bench.app(b"b", session("s3", app="other", user="ann"), instance="second")
    assert ids(ask(bench, "list", app="sales")) == ["s1", "s2"]
    assert ids(ask(bench, "list", user="ann")) == ["s1", "s3"]
    assert ids(ask(bench, "list", user="ann", app="other")) == ["s3"]
    answer = ask(bench, "list", status="running")
    assert (ids(answer), answer["total"]) == (["s2"], 1)
    assert ids(ask(bench, "list", app="nothing")) == []


def test_stale_is_computed_from_observed_silence() -> None:
    bench = started()
    bench.app(b"a", session("s1"))
    bench.sleep(100.0)
    bench.app(b"b", session("s2"), instance="second")
    bench.sleep(30.0)
    assert ids(ask(bench, "list", stale=True)) == ["s1"]
    assert ids(ask(bench, "list", stale=False)) == ["s2"]
    assert ask(bench, "stats")["stale"] == 1


def test_a_page_always_fits_its_frame() -> None:
    bench = started()
    wide = "\N{GRINNING FACE}" * 255
    entries = [session(f"s{i}", app=wide, user=wide, status=wide, task=wide) for i in range(200)]
    peer = bench.app(b"a")
    for entry in entries:
        peer.say("register", **entry)
    seen, after = [], 0
    while after is not None:
        page = ask(bench, "list", after=after)
        seen += ids(page)
        after = page["next"]
    assert seen == [f"s{i}" for i in range(200)]


def test_get_and_find() -> None:
    bench = started()
    bench.app(b"a", session("abc1"), session("abd2"))
    assert ask(bench, "get", s="abc1")["row"]["session_id"] == "abc1"
    assert ask(bench, "get", s="zzz") == "not_found"
    assert ids(ask(bench, "find", prefix="ab")) == ["abc1", "abd2"]
    assert ids(ask(bench, "find", prefix="abc")) == ["abc1"]


def test_a_rest_session_lives_through_its_requests() -> None:
    bench = started()
    sid = ask(bench, "create", app="web", user="ann")["session_id"]
    assert bench.rows.sessions[sid].app_name == "web"
    assert ask(bench, "set_status", s=sid, status="running", task="load") == {}
    row = ask(bench, "get", s=sid)["row"]
    assert (row["status"], row["current_task"], row["task_start"]) == ("running", "load", WALL)
    assert (row["source"], row["host"], row["pid"]) == ("rest", "-", 0)
    bench.sleep(100.0)
    assert ask(bench, "touch", s=sid) == {"kill_requested": False}
    bench.sleep(100.0)
    assert ask(bench, "stats")["stale"] == 0
    assert ask(bench, "delete", s=sid) == {}
    assert bench.rows.sessions[sid].end_reason == "deleted"
    for kind, more in (("touch", {}), ("delete", {}), ("set_status", {"status": "idle"})):
        assert ask(bench, kind, s=sid, **more) == "not_found"


def test_a_rest_session_hears_of_its_kill_with_the_next_heartbeat() -> None:
    bench = started()
    sid = ask(bench, "create", app="web")["session_id"]
    command = ask(bench, "kill", s=sid)["command_id"]
    assert ids(ask(bench, "list")) == [sid]
    assert ask(bench, "touch", s=sid) == {"kill_requested": True}
    assert bench.state.commands[command].stage == "delivered"
    assert ask(bench, "touch", s=sid) == {"kill_requested": True}
    assert bench.state.commands[command].delivered == 1
    ask(bench, "delete", s=sid)
    assert bench.state.commands[command].stage == "completed"


def test_a_rest_session_survives_a_restart() -> None:
    bench = started()
    sid = ask(bench, "create", app="web")["session_id"]
    bench.restart()
    bench.operator()
    assert ask(bench, "touch", s=sid) == {"kill_requested": False}


def test_a_rest_session_that_can_not_be_stored_is_not_there() -> None:
    bench = started()
    bench.say(b"op", "create", r=1, app="web")
    bench.fail()
    assert bench.take(b"op")[0]["code"] == "unavailable"
    assert bench.state.sessions == {}
    bench.jump(1.0)
    bench.commit()
    bench.restart()
    assert bench.state.sessions == {}


def test_requests_on_a_session_of_the_bus_are_a_conflict() -> None:
    bench = started()
    bench.app(b"a", session("s1"))
    assert ask(bench, "delete", s="s1") == "conflict"
    assert ask(bench, "touch", s="s1") == "conflict"
    assert ask(bench, "set_status", s="s1", status="idle") == "conflict"


def test_rest_sessions_stop_at_the_limit() -> None:
    bench = started(Settings(max_sessions=1))
    ask(bench, "create", app="web")
    assert ask(bench, "create", app="web") == "too_many"


def test_an_app_cannot_greet_as_a_rest_session() -> None:
    bench = started()
    sid = ask(bench, "create", app="web")["session_id"]
    bench.say(b"x", "hello", **greeting(instance=sid))
    assert bench.take(b"x")[0]["code"] == "forbidden"


def test_cleanup_counts_and_ends() -> None:
    bench = started()
    bench.app(b"a", session("s1"), session("s2"))
    bench.sleep(100.0)
    sid = ask(bench, "create", app="web")["session_id"]
    assert ask(bench, "cleanup", older=60.0) == {"count": 2}
    assert ids(ask(bench, "list")) == [sid]
    assert ask(bench, "cleanup", older=60.0) == {"count": 0}
    assert bench.rows.sessions["s1"].end_reason == "stale"


def test_cleanup_and_delete_say_when_they_are_not_stored() -> None:
    bench = started()
    sid = ask(bench, "create", app="web")["session_id"]
    bench.sleep(10.0)
    bench.commit()
    bench.say(b"op", "cleanup", r=1, older=5.0)
    bench.fail()
    assert bench.take(b"op")[0]["code"] == "unavailable"
    bench.jump(1.0)
    bench.commit()
    assert bench.rows.sessions[sid].end_reason == "stale"
    sid = ask(bench, "create", app="web")["session_id"]
    bench.say(b"op", "delete", r=1, s=sid)
    bench.fail()
    assert bench.take(b"op")[0]["code"] == "unavailable"


def test_commands_are_listed_newest_first() -> None:
    bench = started()
    peer = bench.app(b"a", session("s1"), session("s2"))
    first = ask(bench, "kill", s="s1", reason="one")["command_id"]
    peer.say("end", s="s1", reason="killed")
    second = ask(bench, "kill", s="s2")["command_id"]
    bench.say(b"op", "kill", r=9, s="s2")  # not committed, so not to be seen
    bench.say(b"op", "commands", r=1)
    shown = bench.take(b"op")[0]["result"]["commands"]
    assert [command["command_id"] for command in shown] == [second, first]
    assert shown[1] == {
        "command_id": first,
        "kind": "kill",
        "app_name": None,
        "session_id": "s1",
        "reason": "one",
        "requested_by": "operator op-6f70 on host1 pid 42",
        "requested_at": WALL,
        "finished_at": WALL,
        "stage": "completed",
        "total": 1,
        "delivered": 0,
        "completed": 1,
        "failed": 0,
    }


def test_the_feed_is_numbered_without_a_gap_and_replays_to_the_list() -> None:
    bench = started()
    peer = bench.app(b"a", session("s1"), session("s2"))
    peer.say("status", s="s1", status="running", task="load", task_age=0.0)
    ask(bench, "kill", s="s1")
    peer.say("end", s="s1", reason="killed")
    assert [m["n"] for m in bench.published] == list(range(1, len(bench.published) + 1))
    rows: dict[str, Any] = {}
    for change in (c for m in bench.published for c in m["changes"]):
        if change[0] == "+":
            rows[change[1]["session_id"]] = change[1]
        elif change[0] == "s":
            rows[change[1]].update(status=change[2], current_task=change[3], task_start=change[4])
        elif change[0] == "-":
            del rows[change[1]]
    assert list(rows.values()) == ask(bench, "list")["rows"]


def test_a_beat_repeats_the_newest_number_and_tells_the_health() -> None:
    bench = started()
    bench.app(b"a", session("s1"))
    bench.mono += 1.0
    beat = bench.registry.beat(bench.now)
    assert beat is not None
    assert (beat["n"], beat["changes"]) == (bench.published[-1]["n"], [])
    assert beat["health"]["status"] == "ok"
    assert bench.registry.beat(bench.now) is None


def test_a_busy_feed_beats_too() -> None:
    bench = started()
    peer = bench.app(b"a", session("s1"))
    beats = 0
    for number in range(30):  # something changes three times a second
        peer.say("status", s="s1", status=f"step {number}")
        bench.jump(1 / 3)
        beats += bench.registry.beat(bench.now) is not None
    assert beats == 10


def test_a_feed_message_always_fits_its_frame() -> None:
    bench = started()
    wide = "\N{GRINNING FACE}" * 255
    peer = bench.app(b"a")
    for number in range(300):
        peer.say("register", **session(f"s{number}", app=wide, user=wide, task=wide))
    peer.say("bye")
    peer = bench.app(b"a", *(session(f"t{i}") for i in range(2)), instance="second")
    ends = [{"s": f"t{i}", "reason": "killed", "error": wide} for i in range(2)]
    peer.hello(ended=ends)
    assert bench.published


def test_heartbeats_are_published_per_process_and_not_too_often() -> None:
    bench = started()
    peer = bench.app(b"a", session("s1"), session("s2"))
    bench.sleep(30.0)
    bench.published.clear()
    peer.say("heartbeat")
    peer.say("heartbeat")
    assert bench.published == []  # nobody waits for it, so it comes after a beat
    heard = bench.state.observed
    bench.registry.beat(bench.now)
    bench.settle()
    changes = [c for m in bench.published for c in m["changes"]]
    assert changes == [["h", "proc", heard]]
    bench.sleep(2.0)
    bench.commit()
    assert bench.rows.processes["proc"].heard_at == WALL + 30.0


def test_they_are_published_at_once_where_silence_is_judged_soon() -> None:
    bench = Bench(settings=Settings(heard_interval=0.5))
    peer = bench.app(b"a", session("s1"))
    bench.sleep(1.0)
    bench.published.clear()
    peer.say("heartbeat")
    changes = [c for m in bench.published for c in m["changes"]]
    assert changes == [["h", "proc", bench.state.observed]]


def test_health_follows_the_store() -> None:
    bench = started()
    bench.say(b"op", "create", r=1, app="web")
    bench.fail()
    assert bench.state.stats.health.wire() == {
        "status": "degraded",
        "cause": "io",
        "message": "disk broken",
    }
    bench.jump(1.0)
    bench.commit()
    assert bench.state.stats.health.wire()["status"] == "ok"
    bench.say(b"op", "create", r=2, app="web")
    bench.fail(error=StoreUnusable("replaced"))
    assert bench.state.stats.health.cause == "unusable"


def test_stats_count_what_happened() -> None:
    bench = started()
    peer = bench.app(b"a", session("s1"))
    ask(bench, "kill", s="s1")
    bench.sleep(0.02, step=0.02)
    peer.say("delivered", c=peer.take("command")[0]["c"])
    bench.registry.rejected(b"x", WireError("malformed", "junk", 7))
    bench.settle()
    assert bench.take(b"x") == [{"k": "error", "r": 7, "code": "bad_request", "message": "junk"}]
    stats = ask(bench, "stats")
    assert stats["sessions"] == [["sales", "idle", 1]]
    assert stats["kills"] == {"requested": 1, "delivered": 1}
    assert stats["rejected"] == {"malformed": 1}
    assert stats["messages"]["kill"] == 1
    assert stats["kill_latency"]["count"] == 1
    assert 0.01 < stats["kill_latency"]["sum"] < 0.03
    assert stats["commit"]["count"] > 0
    assert stats["queues"]["open_commands"] == 1


def test_operators_beat_leave_and_are_forgotten() -> None:
    bench = started()
    bench.say(b"op", "heartbeat", n=2)
    assert bench.take(b"op") == [{"k": "ack", "n": 2}]
    bench.say(b"op", "bye", n=3)
    assert bench.state.peers == {}
    bench.operator()
    bench.sleep(301.0)
    assert bench.state.peers == {}
    bench.say(b"op", "stats", r=1)
    assert bench.take(b"op") == [{"k": "say_hello"}]
