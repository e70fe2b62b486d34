"""Every answer and every message of the feed fits its frame, whatever the rows hold."""

from __future__ import annotations

from typing import Any

from tests.support.bench import Bench, greeting, session

WIDE = "\N{GRINNING FACE}"  # four bytes a character


def wide_host(bench: Bench, *sessions: dict[str, Any]) -> None:
    """An app whose host has the longest name there may be, with these sessions."""
    bench.say(b"a", "hello", **greeting(host=WIDE * 255, sessions=list(sessions)))


def test_a_message_of_the_feed_fits_with_long_host_names() -> None:
    bench = Bench()
    wide_host(bench, *(session(f"s{n}", app=WIDE * 255, status=WIDE * 19) for n in range(600)))
    assert len(bench.published) > 1


def test_a_page_of_the_list_fits_with_long_host_names() -> None:
    bench = Bench()
    wide_host(bench, *(session(f"s{n:060d}") for n in range(1_000)))
    bench.operator()
    bench.say(b"op", "list", r=1)
    assert bench.take(b"op")[0]["result"]["total"] == 1_000


def test_what_is_found_by_its_prefix_fits_with_long_host_names() -> None:
    bench = Bench()
    texts = {"app": WIDE * 255, "user": WIDE * 255, "status": WIDE * 255, "task": WIDE * 255}
    wide_host(bench, *(session(f"s{n}", **texts) for n in range(100)))
    bench.operator()
    bench.say(b"op", "find", r=1, prefix="s")
    assert len(bench.take(b"op")[0]["result"]["rows"]) == 50


def test_stats_fit_with_any_number_of_apps_and_statuses() -> None:
    bench = Bench()
    peer = bench.app(b"a")
    for number in range(600):
        peer.say("register", **session(f"s{number}", WIDE * 250 + str(number), status=WIDE * 255))
    bench.operator()
    bench.say(b"op", "stats", r=1)
    assert bench.take(b"op")[0]["k"] == "reply"


def test_the_state_of_a_command_fits_with_many_long_failures() -> None:
    bench = Bench()
    peer = bench.app(b"a", *(session(f"s{number:060d}") for number in range(1_100)))
    bench.operator()
    bench.say(b"op", "kill_all", r=1, app="sales", reason=WIDE * 2_000)
    bench.commit()
    command_id = bench.take(b"op")[0]["result"]["command_id"]
    for number in range(120):
        peer.say("failed", s=f"s{number:060d}", error=WIDE * 2_000)
    bench.say(b"op", "command_state", r=2, c=command_id)
    result = bench.take(b"op")[0]["result"]
    assert (result["failed"], len(result["pending"])) == (120, 980)
    assert 0 < len(result["failures"]) < 120


def test_the_list_of_commands_fits_with_long_reasons() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"))
    bench.operator()
    for number in range(150):
        bench.say(b"op", "kill", r=number, s="s1", reason=WIDE * 2_000)
    bench.commit()
    bench.take(b"op")
    bench.say(b"op", "commands", r=1)
    assert 50 < len(bench.take(b"op")[0]["result"]["commands"]) < 150


def test_a_kill_of_all_a_process_may_hold_is_one_message() -> None:
    bench = Bench()
    peer = bench.app(b"a", *(session(f"{number:064d}") for number in range(2_000)))
    for start in range(2_000, 10_000, 2_000):
        part = [session(f"{number:064d}") for number in range(start, start + 2_000)]
        for entry in part:
            bench.registry.handle(b"a", {"k": "register", "n": peer.n + 1, **entry}, bench.now)
            peer.n += 1
    bench.operator()
    bench.say(b"op", "kill_all", r=1, app="sales", reason=WIDE * 2_000)
    bench.commit()
    (command,) = peer.take("command")
    assert len(command["s"]) == 10_000


def test_the_refusal_of_a_key_fits_whatever_the_key() -> None:
    bench = Bench()
    bench.app(b"a", session("s1"), session("s2"))
    bench.operator()
    key = "\U000e0001" * 255
    bench.say(b"op", "kill", r=1, s="s1", key=key)
    bench.say(b"op", "kill", r=2, s="s2", key=key)
    (answer,) = bench.take(b"op")
    assert answer["code"] == "key_reused"
