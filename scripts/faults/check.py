"""The verdict, from what was written down: pure, so that each rule can be tried by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OVER: Final = frozenset({"completed", "failed"})  # stages a command ends in
SHOWN: Final = 20  # violations of one rule that are told one by one


class Row(NamedTuple):
    """One live session, as any list has it. A life of an app is its sessions' ``user_id``."""

    session_id: str
    app_name: str
    user_id: str | None
    status: str
    current_task: str | None
    process: str


class CommandState(NamedTuple):
    """A command in the database."""

    targets: tuple[str, ...]
    stage: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """A kill that was answered with "accepted"; a repeat under its key is another of these."""

    command_id: str
    key: str
    session: str | None  # None for a kill of a whole app
    via: str  # "bus" or "REST"
    at: float  # when the answer came (monotonic seconds)


@dataclass(frozen=True, slots=True)
class Callback:
    session: str
    killed: bool  # else the session had ended by itself
    at: float  # monotonic seconds


@dataclass(frozen=True, slots=True)
class Told:
    """All that one life of an app has told of itself."""

    app: str
    life: str
    fate: str  # "alive" at the end, "killed" by us, "exited" or "crashed"
    opened: frozenset[str] = frozenset()
    callbacks: tuple[Callback, ...] = ()
    online: frozenset[str] = frozenset()  # at the end: what the broker has, as the client sees it

    @property
    def live(self) -> frozenset[str]:
        """The sessions that should be listed."""
        if self.fate != "alive":
            return frozenset()
        return self.opened - {callback.session for callback in self.callbacks}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything there is to judge."""

    accepted: tuple[Accepted, ...]
    told: tuple[Told, ...]
    lists: Mapping[str, list[Row]]  # by the way it was made
    commands: Mapping[str, CommandState] = field(default_factory=dict)
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # app and life, as stored
    noted: tuple[str, ...] = ()  # what was seen to be wrong while it ran


@dataclass(frozen=True, slots=True)
class Verdict:
    """``counts`` in the order of the table; ``violations`` in words, none when all is well."""

    counts: dict[str, int]
    violations: list[str]
    slowest: float | None  # seconds from "accepted" to the callback, over all kills


def judge(evidence: Evidence) -> Verdict:
    """Hold the records against what is promised."""
    fates = _fates(evidence)
    lost = _lost(evidence, fates)
    doubled = _doubled_callbacks(evidence.told)
    two_kills = _keys_with_two_kills(evidence.accepted)
    missing, twice, unlike = compare(evidence.told, evidence.lists)
    kills = {kill.command_id for kill in evidence.accepted}
    stages = Counter(
        evidence.commands[command].stage for command in kills if command in evidence.commands
    )
    outcome = Counter(fates.values())
    counts = {
        "kills accepted": len(kills),
        "sessions to be killed": len(fates),
        "delivered, callback run": outcome["delivered"],
        "gone before, by themselves": outcome["ended"],
        "gone before, process killed": outcome["gone"],
        "kills completed": stages["completed"],
        "kills failed, target gone": stages["failed"],
        "kills lost": len(lost),
        "kills doubled under one key": len(two_kills),
        "callbacks doubled": len(doubled),
        "sessions missing": len(missing),
        "sessions doubled or not alive": len(twice),
        "lists unlike each other": len(unlike),
        "other violations": len(evidence.noted),
    }
    rules = (lost, two_kills, doubled, missing, twice, unlike, list(evidence.noted))
    violations = [text for rule in rules for text in _shown(rule)]
    return Verdict(counts, violations, _slowest(evidence))


def _shown(rule: list[str]) -> list[str]:
    more = [f"and {len(rule) - SHOWN} more like that"] if len(rule) > SHOWN else []
    return rule[:SHOWN] + more


# --- kills -----------------------------------------------------------------------------------


def _targets(evidence: Evidence) -> dict[str, str]:
    """Every session of an accepted kill, with the command's id."""
    found: dict[str, str] = {}
    for kill in evidence.accepted:
        command = evidence.commands.get(kill.command_id)
        named = () if kill.session is None else (kill.session,)
        for session in (*named, *(() if command is None else command.targets)):
            found.setdefault(session, kill.command_id)
    return found


def _fates(evidence: Evidence) -> dict[str, str]:
    """What became of each session that was to be killed: "delivered", "ended", "gone" or "lost"."""
    lives = {session: told for told in evidence.told for session in told.opened}
    by_name = {(told.app, told.life): told for told in evidence.told}
    ran = {callback.session: callback for told in evidence.told for callback in told.callbacks}
    fates = {}
    for session in _targets(evidence):
        callback = ran.get(session)
        # one that is in no record was opened at the instant its process was killed
        told = lives.get(session) or by_name.get(evidence.owners.get(session, ("", "")))
        if callback is not None:
            fates[session] = "delivered" if callback.killed else "ended"
        else:
            fates[session] = "gone" if told is not None and told.fate == "killed" else "lost"
    return fates


def _lost(evidence: Evidence, fates: Mapping[str, str]) -> list[str]:
    targets = _targets(evidence)
    lost = [
        f"kill {targets[session]} was accepted, but its session {session} never heard of it"
        for session, fate in fates.items()
        if fate == "lost"
    ]
    for command_id in dict.fromkeys(kill.command_id for kill in evidence.accepted):
        command = evidence.commands.get(command_id)
        if command is None:
            lost.append(f"kill {command_id} was accepted, but is not in the database")
        elif command.stage not in OVER:
            lost.append(f"kill {command_id} was accepted, but stays {command.stage!r}")
    return lost


def unheard(accepted: Iterable[Accepted], told: Iterable[Told]) -> list[str]:
    """Sessions that live although their kill was accepted: lost, unless it is still on its way."""
    live = {session for life in told for session in life.live}
    return [
        f"kill {kill.command_id} was accepted, but its session {kill.session} lives"
        for kill in accepted
        if kill.session in live
    ]


def _keys_with_two_kills(accepted: Iterable[Accepted]) -> list[str]:
    by_key: dict[str, set[str]] = {}
    for kill in accepted:
        by_key.setdefault(kill.key, set()).add(kill.command_id)
    return [
        f"key {key} stands for {len(ids)} kills: {', '.join(sorted(ids))}"
        for key, ids in by_key.items()
        if len(ids) > 1
    ]


def _doubled_callbacks(told: Iterable[Told]) -> list[str]:
    times = Counter(callback.session for life in told for callback in life.callbacks)
    return [
        f"the callback of session {session} ran {count} times"
        for session, count in times.items()
        if count > 1
    ]


def _slowest(evidence: Evidence) -> float | None:
    ran = {
        callback.session: callback.at
        for told in evidence.told
        for callback in told.callbacks
        if callback.killed
    }
    waits = [
        ran[kill.session] - kill.at for kill in evidence.accepted if kill.session in ran
    ]  # below zero where the callback was faster than the answer
    return max(waits, default=None)


# --- lists -----------------------------------------------------------------------------------


def compare(
    told: Iterable[Told], lists: Mapping[str, list[Row]]
) -> tuple[list[str], list[str], list[str]]:
    """What the lists lack, what they have too often or should not have, and where they differ."""
    told = tuple(told)
    live = {session: life for life in told for session in life.live}
    missing = [
        f"session {session} of {life.app} lives, but its client does not see it as online"
        for session, life in live.items()
        if session not in life.online
    ]
    twice: list[str] = []
    for name, rows in lists.items():
        listed = Counter(row.session_id for row in rows)
        missing += [
            f"session {session} of {life.app} lives, but is not in {name}"
            for session, life in live.items()
            if session not in listed
        ]
        twice += [f"session {s} is {n} times in {name}" for s, n in listed.items() if n > 1]
        twice += [f"session {s} is in {name}, but does not live" for s in listed if s not in live]
    return missing, twice, _unlike(lists)


def _unlike(lists: Mapping[str, list[Row]]) -> list[str]:
    found: list[str] = []
    names = list(lists)
    for name in names[1:]:
        first, other = ({row.session_id: row for row in lists[n]} for n in (names[0], name))
        found += [
            f"{names[0]} has {first[session]}, but {name} has {other[session]}"
            for session in first.keys() & other.keys()
            if first[session] != other[session]
        ]
    return found
