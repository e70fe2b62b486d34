"""Guards of the registry: its bounds, roles, the audit, the feed."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_HERE: Final = "broker/registry"
_TESTS: Final = "tests/broker/registry"

GUARDS: Final = (
    # --- bounds -----------------------------------------------------------------------------
    Guard(
        "sessions of a process are bounded",
        "45, I11",
        f"{_HERE}/state.py",
        "        if len(process.sessions) >= limits.max_sessions_per_process:\n",
        "        if False:\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "sessions of a key are bounded",
        "45, I11",
        f"{_HERE}/state.py",
        "        if process.owner is not None and (\n",
        "        if False and (\n",
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "peers are bounded",
        "45, I11",
        f"{_HERE}/apps.py",
        "    if route not in state.peers and len(state.peers) >= state.settings.max_peers:\n",
        "    if False:\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "open commands are bounded",
        "I11",
        f"{_HERE}/commands.py",
        "    if len(state.open_commands) >= state.settings.max_open_commands:\n",
        "    if False:\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "those who wait are bounded",
        "I11",
        f"{_HERE}/waiting.py",
        "        state.waiter_count >= limits.max_waiters\n",
        "        False\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "those who wait on one connection are bounded",
        "I11",
        f"{_HERE}/waiting.py",
        "        or state.waiters_of[waiter.route] >= limits.max_waiters_per_peer\n",
        "",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "rows a failing disk does not take are bounded",
        "34, I11",
        f"{_HERE}/ledger.py",
        "        if len(self.urgent) > self.settings.max_unsaved_ended:\n",
        "        if False:\n",
        f"{_TESTS}/test_corners.py",
    ),
    Guard(
        "an answer fits a frame",
        "I11",
        f"{_HERE}/sizes.py",
        "        if count >= limit or (budget < 0 and count > 0):\n",
        "        if count >= limit:\n",
        "tests/broker/registry/test_sizes.py::test_a_page_of_the_list_fits_with_long_host_names",
    ),
    # --- roles ------------------------------------------------------------------------------
    Guard(
        "a kind is for certain roles",
        "42, I12, security",
        f"{_HERE}/core.py",
        "        if not TO_BROKER[kind].allows(peer.role, by_role):\n",
        "        if False:\n",
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "whoever acts for another may do no more than that one",
        "42, I12, security",
        f"{_HERE}/access.py",
        '    return None if by is None else str(by["role"])\n',
        "    return None\n",
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "a role is that of the key",
        "42, I12, security",
        f"{_HERE}/access.py",
        "    if role not in MAY_BE[credential.role]:\n",
        "    if False:\n",
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "an instance belongs to its key",
        "43, I12, security",
        f"{_HERE}/apps.py",
        "    stolen = asked and process is not None and process.owner not in (None, key)\n",
        "    stolen = False\n",
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "a user reaches its own sessions only",
        "43, I12, security",
        f"{_HERE}/access.py",
        '    return by is not None and by["role"] == "app" and session',
        '    return False and by["role"] == "app" and session',
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "a revoked key is cut off",
        "41, security",
        f"{_HERE}/apps.py",
        '        drop_route(state, peer.route)\n        state.refuse(peer.route, None, "forbidden"',
        '        state.refuse(peer.route, None, "forbidden"',
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "every kill has its row in the audit",
        "I12, security",
        f"{_HERE}/commands.py",
        '    _note(state, command, "requested", now)\n',
        "",
        f"{_TESTS}/test_audit.py",
    ),
    Guard(
        "whoever is refused is in the audit",
        "42, I12, security",
        f"{_HERE}/state.py",
        '        self.ledger.trail.refused(now, who, message["k"], text, actor(peer, message))\n',
        "",
        f"{_TESTS}/test_access.py",
    ),
    Guard(
        "refusals can't flood the audit",
        "41, I11, security",
        f"{_HERE}/audit.py",
        "        if known is not None:\n            known.count += 1\n            return\n",
        "",
        "tests/broker/registry/test_audit.py::test_what_is_refused_again_and_again_is_counted",
    ),
    # --- the feed ---------------------------------------------------------------------------
    Guard(
        "feed numbers have no gap",
        "48, I7",
        f"{_HERE}/effects.py",
        "        self.number += 1\n",
        "        self.number += len(changes)\n",
        "tests/broker/registry/test_operators.py::"
        "test_the_feed_is_numbered_without_a_gap_and_replays_to_the_list",
    ),
    Guard(
        "a beat carries the newest number",
        "49, I7",
        f"{_HERE}/core.py",
        "        message = self.state.feed.beat(now, self.state.observed)\n",
        "        message = Feed(self.state.epoch).beat(now, self.state.observed)\n",
        "tests/broker/registry/test_operators.py::"
        "test_a_beat_repeats_the_newest_number_and_tells_the_health",
    ),
    Guard(
        "a restart begins a new epoch",
        "50, I7",
        f"{_HERE}/core.py",
        "        epoch = new_id()\n",
        '        epoch = "always"\n',
        f"{_TESTS}/test_coming_back.py",
    ),
)
