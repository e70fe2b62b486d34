"""What the facts mean: one finding for each thing looked at, with what to do about it. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Level = Literal["ok", "warn", "fail"]

SHORT_OF_SPACE: Final = 16 << 20  # bytes free below which commits may fail any time
LITTLE_SPACE: Final = 256 << 20
OTHERS: Final = 0o077  # permission bits of group and others
FEW_FILES: Final = 1_024  # a limit of open files that some hundred app processes use up
MEGABYTE: Final = 1 << 20


class Finding(NamedTuple):
    """The result of one check."""

    check: str  # what was looked at, in a word
    level: Level
    text: str
    todo: str = ""  # what to do; empty when there is nothing


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What was seen of the database, without changing anything."""

    path: str
    exists: bool = False
    directory: bool = True  # whether its directory is there
    writable: bool = True  # whether this user may write in that
    holder: str | None = None  # the broker that has it
    problem: str | None = None  # why it is no database of ours, with what to do
    version: int | None = None
    newest: int = 0  # the schema version this code knows
    damage: str | None = None
    unchecked: str | None = None  # why its integrity could not be looked at
    size: int = 0  # bytes
    free: int | None = None  # bytes on its disk
    modes: dict[str, int] = field(default_factory=dict)  # file name -> permission bits


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What the broker said, or why it said nothing."""

    address: str
    local: bool  # whether that is on this host
    error: str | None = None
    version: str = ""
    health: dict[str, Any] = field(default_factory=dict)
    sessions: int = 0
    sealed: bool = False  # it asks for a key, and there is none here that may look


# sealed: what listens there asks for a key, and there is none here that may look
Holder = Literal["nobody", "ours", "stranger", "sealed"]
READERS_KEY: Final = "name a viewer's or operator's key with PANELBUS_KEY"


@dataclass(frozen=True, slots=True)
class PortFacts:
    """Who listens at an address."""

    name: str  # bus, feed, http or monitor
    address: str
    holder: Holder
    option: str  # the flag that chooses it


# --- database ------------------------------------------------------------------------------------


def database(facts: DatabaseFacts) -> list[Finding]:
    found = [_existence(facts), *_space(facts)]
    if facts.exists and facts.problem is None:
        found += [_integrity(facts), *_modes(facts)]
    return found


def _existence(facts: DatabaseFacts) -> Finding:
    path = facts.path
    if not facts.directory:
        text = f"the directory of {path} does not exist"
        return Finding("database", "fail", text, "make it, or choose another place with --db")
    if facts.problem is not None:
        text, _, todo = facts.problem.partition("; ")
        return Finding("database", "fail", text, todo)
    if not facts.exists:
        if facts.writable:
            return Finding("database", "ok", f"{path} does not exist; the broker will make it")
        text = f"{path} does not exist and can't be made by this user"
        return Finding("database", "fail", text, "give the broker's user its directory")
    held = "in use by no broker" if facts.holder is None else f"in use by a broker, {facts.holder}"
    if facts.version is None:
        return Finding("database", "ok", f"{path}, {held}")
    if facts.version < facts.newest:
        text = f"{path} has schema version {facts.version}, this is {facts.newest}; {held}"
        todo = "back it up; the next start brings it forward, and older brokers then refuse it"
        return Finding("database", "warn", text, todo)
    return Finding("database", "ok", f"{path}, schema version {facts.version}, {held}")


def _integrity(facts: DatabaseFacts) -> Finding:
    if facts.damage is not None:
        text = f"{facts.path} is damaged ({facts.damage})"
        todo = f"stop the broker; panelbus restore BACKUP --db {facts.path}"
        return Finding("integrity", "fail", text, todo)
    if facts.unchecked is not None:
        todo = "look again as the broker's user"
        return Finding("integrity", "warn", f"not looked at: {facts.unchecked}", todo)
    return Finding("integrity", "ok", "the database is sound")


def _space(facts: DatabaseFacts) -> list[Finding]:
    if facts.free is None:
        return []
    text = f"{facts.free // MEGABYTE} MB free beside {facts.size // MEGABYTE} MB of database"
    if facts.free < SHORT_OF_SPACE:
        return [Finding("disk", "fail", text, "free some: kills are refused without it")]
    if facts.free < max(LITTLE_SPACE, facts.size):
        return [Finding("disk", "warn", text, "free some before it is used up")]
    return [Finding("disk", "ok", text)]


def _modes(facts: DatabaseFacts) -> list[Finding]:
    open_ones = sorted(name for name, mode in facts.modes.items() if mode & OTHERS)
    if not open_ones:
        return [Finding("modes", "ok", "only their owner can read the database's files")]
    text = f"others can read or write {', '.join(open_ones)}"
    return [Finding("modes", "warn", text, f"chmod 600 {' '.join(open_ones)}")]


# --- broker and ports ----------------------------------------------------------------------------


def broker(facts: BrokerFacts, holder: str | None, own_version: str) -> list[Finding]:
    """``holder``: who has the database looked at."""
    if facts.error is not None:
        return [_unreachable(facts, holder)]
    found = [_health(facts)]
    if facts.version != own_version:
        text = f"the broker has version {facts.version}, this is {own_version}"
        found.append(Finding("version", "warn", text, "upgrade the older one, the broker first"))
    else:
        found.append(Finding("version", "ok", f"broker and client have version {own_version}"))
    if facts.local and holder is None:
        text = "the broker that answers has another database than the one looked at"
        found.append(Finding("database", "warn", text, "name it with --db"))
    return found


def _unreachable(facts: BrokerFacts, holder: str | None) -> Finding:
    text = facts.error or ""
    if facts.sealed:
        text = f"how the broker at {facts.address} is can't be told without a key: {text}"
        return Finding("broker", "warn", text, READERS_KEY)
    if holder is not None:
        text = f"a broker has the database ({holder}), but {text}"
        todo = "give its address with --server; if that is right, it hangs: look at its log"
        return Finding("broker", "fail", text, todo)
    if facts.local:
        return Finding("broker", "warn", f"no broker runs at {facts.address}", "panelbus broker")
    todo = "start it there, or see what is between: address, firewall"
    return Finding("broker", "fail", text, todo)


def _health(facts: BrokerFacts) -> Finding:
    if facts.health.get("status") != "ok":
        cause, why = facts.health.get("cause"), facts.health.get("message")
        text = f"the broker at {facts.address} is degraded ({cause}): {why}"
        return Finding("broker", "fail", text, "docs/OPERATIONS.md, section 9")
    return Finding("broker", "ok", f"it answers at {facts.address}: {facts.sessions} sessions")


def ports(found: list[PortFacts], broker_runs: bool) -> list[Finding]:
    return [_port(port, broker_runs) for port in found]


def _port(port: PortFacts, broker_runs: bool) -> Finding:
    if port.holder == "ours":
        unsure = ", its certificate not verified" if port.address.startswith("https:") else ""
        return Finding(port.name, "ok", f"{port.address} is ours{unsure}")
    if port.holder == "sealed":
        text = f"whether {port.address} is ours can't be told without a key"
        return Finding(port.name, "warn", text, READERS_KEY)
    if port.holder == "stranger":
        text = f"something else listens on {port.address}"
        todo = f"stop it (ss -ltnp tells who it is), or choose another with {port.option}"
        return Finding(port.name, "fail", text, todo)
    if broker_runs and port.name == "feed":
        text = f"the broker runs, but nothing listens on {port.address}"
        return Finding(port.name, "fail", text, "see --feed and the firewall")
    return Finding(port.name, "ok", f"{port.address} is free")


def secrets(open_files: list[str] | None) -> list[Finding]:
    """``open_files``: of the keys, tokens and users that are named; None when none are."""
    if open_files is None:
        return []
    if not open_files:
        return [Finding("secrets", "ok", "only their owner can read keys, tokens and users")]
    text = f"others can read or write {', '.join(open_files)}"
    todo = f"chmod go= {' '.join(map(shlex.quote, open_files))}"
    return [Finding("secrets", "warn", text, todo)]


# --- the host ------------------------------------------------------------------------------------


def open_files(limit: int | None, of_broker: bool) -> list[Finding]:
    """``limit``: of the broker's process, or of this one."""
    if limit is None:
        return []
    whose = "the broker may" if of_broker else "processes started from here may"
    text = f"{whose} have {limit} files open, one for each app process"
    if limit <= FEW_FILES:
        todo = "raise it: ulimit -n, or LimitNOFILE=65536 in the unit"
        return [Finding("files", "warn", text, todo)]
    return [Finding("files", "ok", text)]


def versions(found: dict[str, str]) -> list[Finding]:
    return [Finding("versions", "ok", ", ".join(f"{name} {what}" for name, what in found.items()))]
