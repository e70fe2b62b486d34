"""The verdict, on records written by hand: each rule is broken once, and seen to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.faults.check import (
    SHOWN,
    Accepted,
    Callback,
    CommandState,
    Evidence,
    Row,
    Told,
    compare,
    judge,
    unheard,
)

ZEROS = (
    "kills lost",
    "kills doubled under one key",
    "callbacks doubled",
    "sessions missing",
    "sessions doubled or not alive",
    "lists unlike each other",
    "other violations",
)


def row(session: str, app: str = "app0", life: str = "1", task: str | None = None) -> Row:
    return Row(session, app, life, "running" if task else "idle", task, f"process of {app} {life}")


# app0 lives: s1 and s2 are alive, s3 was killed, s4 left before its kill came. app1 was killed hard
# with s5 in it; s6 was opened at that very instant, so only the database knows whose it was.
TOLD = (
    Told(
        "app0",
        "1",
        "alive",
        frozenset({"s1", "s2", "s3", "s4"}),
        (Callback("s3", True, 10.5), Callback("s4", False, 9.0)),
        frozenset({"s1", "s2"}),
    ),
    Told("app1", "1", "killed", frozenset({"s5"})),
)
GOOD = Evidence(
    accepted=(
        Accepted("c3", "k3", "s3", "bus", 10.0),
        Accepted("c3", "k3", "s3", "bus", 11.0),  # asked for again
        Accepted("c4", "k4", "s4", "REST", 10.0),
        Accepted("c5", "k5", None, "REST", 10.0),  # of all app1
    ),
    told=TOLD,
    lists={"the list": [row("s1"), row("s2", task="t")], "other": [row("s2", task="t"), row("s1")]},
    commands={
        "c3": CommandState(("s3",), "completed"),
        "c4": CommandState(("s4",), "completed"),
        "c5": CommandState(("s5", "s6"), "failed"),
    },
    owners={"s6": ("app1", "1")},
)


def broken(evidence: Evidence) -> dict[str, int]:
    """The rules that are broken, and how often; there is a violation told for each."""
    verdict = judge(evidence)
    found = {name: verdict.counts[name] for name in ZEROS if verdict.counts[name]}
    assert len(verdict.violations) == sum(found.values())
    return found


def test_nothing_is_wrong_with_a_good_run() -> None:
    verdict = judge(GOOD)
    assert verdict.violations == []
    assert verdict.counts == {
        "kills accepted": 3,
        "sessions to be killed": 4,
        "delivered, callback run": 1,
        "gone before, by themselves": 1,
        "gone before, process killed": 2,
        "kills completed": 2,
        "kills failed, target gone": 1,
        **dict.fromkeys(ZEROS, 0),
    }
    assert verdict.slowest == 0.5


def test_nothing_at_all_is_no_violation() -> None:
    verdict = judge(Evidence((), (), {}))
    assert (verdict.violations, verdict.slowest) == ([], None)


def test_a_kill_whose_session_never_heard_of_it_is_lost() -> None:
    lives, hard = TOLD
    deaf = replace(lives, callbacks=lives.callbacks[1:], opened=lives.opened - {"s3"})
    # the session is in no record of a process that was killed
    assert broken(replace(GOOD, told=(deaf, hard))) == {"kills lost": 1}
    # its process lives, exited in order, or fell over
    for fate in ("alive", "exited", "crashed"):
        told = replace(lives, callbacks=lives.callbacks[1:], fate=fate)
        lists = {} if fate != "alive" else {"the list": [row("s1"), row("s2"), row("s3")]}
        online = frozenset({"s1", "s2", "s3"})
        evidence = replace(GOOD, told=(replace(told, online=online), hard), lists=lists)
        assert broken(evidence) == {"kills lost": 1}, fate


def test_a_target_that_only_the_command_names_is_lost_too() -> None:
    commands = {**GOOD.commands, "c5": CommandState(("s5", "s6", "s1"), "completed")}
    assert broken(replace(GOOD, commands=commands)) == {"kills lost": 1}


def test_a_session_nobody_knows_is_lost_unless_its_process_was_killed() -> None:
    assert broken(replace(GOOD, owners={})) == {"kills lost": 1}
    assert broken(replace(GOOD, owners={"s6": ("app0", "1")})) == {"kills lost": 1}


def test_an_accepted_kill_must_be_in_the_database_and_at_its_end() -> None:
    commands = {name: command for name, command in GOOD.commands.items() if name != "c4"}
    assert broken(replace(GOOD, commands=commands)) == {"kills lost": 1}
    for stage in ("requested", "delivered", "refused"):
        commands = {**GOOD.commands, "c4": CommandState(("s4",), stage)}
        assert broken(replace(GOOD, commands=commands)) == {"kills lost": 1}


def test_two_kills_under_one_key() -> None:
    commands = {**GOOD.commands, "c9": CommandState(("s3",), "completed")}
    accepted = (*GOOD.accepted, Accepted("c9", "k3", "s3", "bus", 12.0))
    evidence = replace(GOOD, accepted=accepted, commands=commands)
    assert broken(evidence) == {"kills doubled under one key": 1}


@pytest.mark.parametrize("killed", [True, False])
def test_a_callback_that_runs_twice(killed: bool) -> None:
    lives, hard = TOLD
    twice = replace(lives, callbacks=(*lives.callbacks, Callback("s3", killed, 12.0)))
    assert broken(replace(GOOD, told=(twice, hard))) == {"callbacks doubled": 1}
    # also when the second time is in another life
    other = replace(hard, callbacks=(Callback("s3", killed, 12.0),))
    assert broken(replace(GOOD, told=(lives, other))) == {"callbacks doubled": 1}


@pytest.mark.parametrize("name", ["the list", "other"])
def test_a_session_that_lives_but_is_not_listed(name: str) -> None:
    lists = {**GOOD.lists, name: GOOD.lists[name][:1]}
    assert broken(replace(GOOD, lists=lists)) == {"sessions missing": 1}


def test_a_session_that_its_client_does_not_see_at_the_broker() -> None:
    lives, hard = TOLD
    offline = replace(lives, online=frozenset({"s1"}))
    assert broken(replace(GOOD, told=(offline, hard))) == {"sessions missing": 1}


@pytest.mark.parametrize("name", ["the list", "other"])
def test_a_session_that_is_listed_twice(name: str) -> None:
    lists = {**GOOD.lists, name: [*GOOD.lists[name], row("s1")]}
    assert broken(replace(GOOD, lists=lists)) == {"sessions doubled or not alive": 1}


@pytest.mark.parametrize("session", ["s3", "s4", "s5", "s9"])
def test_a_session_that_is_listed_and_does_not_live(session: str) -> None:
    lists = {**GOOD.lists, "other": [*GOOD.lists["other"], row(session)]}
    assert broken(replace(GOOD, lists=lists)) == {"sessions doubled or not alive": 1}


@pytest.mark.parametrize(
    "other",
    [
        row("s1", task="t"),
        row("s1", app="app1"),
        row("s1", life="2"),
        row("s1")._replace(process="x"),
    ],
)
def test_lists_that_differ_in_what_they_say_of_a_session(other: Row) -> None:
    lists = {**GOOD.lists, "other": [other, GOOD.lists["other"][0]]}
    assert broken(replace(GOOD, lists=lists)) == {"lists unlike each other": 1}


def test_what_was_noted_on_the_way_is_told() -> None:
    assert broken(replace(GOOD, noted=("the broker ended",))) == {"other violations": 1}
    assert judge(replace(GOOD, noted=("the broker ended",))).violations == ["the broker ended"]


def test_a_flood_of_violations_is_told_in_short() -> None:
    noted = tuple(str(number) for number in range(SHOWN + 5))
    verdict = judge(replace(GOOD, noted=noted))
    assert verdict.counts["other violations"] == SHOWN + 5
    assert verdict.violations[-1] == "and 5 more like that"
    assert len(verdict.violations) == SHOWN + 1


def test_a_kill_is_unheard_while_its_session_lives() -> None:
    assert unheard(GOOD.accepted, TOLD) == []
    accepted = (*GOOD.accepted, Accepted("c1", "k1", "s1", "bus", 10.0))
    assert unheard(accepted, TOLD) == ["kill c1 was accepted, but its session s1 lives"]


def test_compare_is_what_a_run_waits_for() -> None:
    assert compare(TOLD, GOOD.lists) == ([], [], [])
    missing, twice, unlike = compare(TOLD, {"the list": [row("s1"), row("s1"), row("s5")]})
    assert missing == ["session s2 of app0 lives, but is not in the list"]
    assert twice == [
        "session s1 is 2 times in the list",
        "session s5 is in the list, but does not live",
    ]
    assert unlike == []
