"""Operators who wait for news of a command."""

from __future__ import annotations

from broker.registry.model import Command, Now, Route, Waiter
from broker.registry.state import State


def add_waiter(state: State, command: Command, waiter: Waiter, now: Now) -> None:
    """Answer now if there is news, or later; at the latest when the waiter's time is up."""
    limits = state.settings
    full = (
        state.waiter_count >= limits.max_waiters
        or state.waiters_of[waiter.route] >= limits.max_waiters_per_peer
    )
    if full or waiter.deadline <= now.mono:
        waiter.answer(command)
        return
    command.waiters.append(waiter)
    state.waiter_count += 1
    state.waiters_of[waiter.route] += 1
    state.waiting[command.command_id] = command


def answer_waiters(state: State, now: Now) -> None:
    """Answer everyone whose command has moved or whose time is up."""
    for command in list(state.waiting.values()):
        still = []
        for waiter in command.waiters:
            news = not command.pending or (waiter.seen is not None and command.done > waiter.seen)
            if news or waiter.deadline <= now.mono:
                waiter.answer(command)
                _gone(state, waiter)
            else:
                still.append(waiter)
        _keep(state, command, still)


def forget(state: State, route: Route) -> None:
    """A connection is gone, and whoever waited there waits no longer."""
    if not state.waiters_of[route]:
        del state.waiters_of[route]
        return
    for command in list(state.waiting.values()):
        for waiter in [waiter for waiter in command.waiters if waiter.route == route]:
            _gone(state, waiter)
        _keep(state, command, [waiter for waiter in command.waiters if waiter.route != route])


def _gone(state: State, waiter: Waiter) -> None:
    state.waiter_count -= 1
    state.waiters_of[waiter.route] -= 1
    if not state.waiters_of[waiter.route]:
        del state.waiters_of[waiter.route]


def _keep(state: State, command: Command, waiters: list[Waiter]) -> None:
    command.waiters = waiters
    if not waiters:
        state.waiting.pop(command.command_id, None)


def next_waiter(state: State) -> float | None:
    """The earliest deadline anyone waits for (monotonic)."""
    return min(
        (w.deadline for command in state.waiting.values() for w in command.waiters), default=None
    )
