"""Guards of the registry: kills, sessions and whose they are, time."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_HERE: Final = "broker/registry"
_TESTS: Final = "tests/broker/registry"

GUARDS: Final = (
    # --- accepted means committed, and delivered in the end ---------------------------------
    Guard(
        "a kill is answered after its commit",
        "1, 2, I2",
        f"{_HERE}/commands.py",
        "    # appended behind the command's own entry, so it runs after the command is active\n"
        "    state.ledger.after.append((settled, refused))\n",
        "    state.ledger.after.append((settled, refused))\n    accepted(command, state.started)\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "a process is told only of what is durable",
        "I2",
        f"{_HERE}/apps.py",
        "    if not state.ledger.concerns(process):\n",
        "    if True:\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "a kill is pushed again when its process is back",
        "3, 4, 29, I1",
        f"{_HERE}/apps.py",
        "        commands.push_pending(state, process)\n",
        "        pass\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "a kill nobody acknowledged is pushed again",
        "28, 29, I1, I14",
        f"{_HERE}/core.py",
        "                if pushed <= before:\n",
        "                if False:\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "only the client's word is delivery",
        "28, I1",
        f"{_HERE}/commands.py",
        "    process.undelivered[command.command_id] = state.observed\n",
        "    del process.undelivered[command.command_id]\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "open kills are taken up by a restart",
        "1, 2, I1, I8",
        f"{_HERE}/core.py",
        "            restoring.restore(state, command_row, loaded.ended_badly)\n",
        "            pass\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "a kill whose commit failed can't come to life later",
        "1, 18",
        f"{_HERE}/commands.py",
        '    state.ledger.refused(command.row("refused"))\n',
        "",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "rows of a failed commit wait again",
        "11, 16, 18, I2",
        f"{_HERE}/ledger.py",
        "        for row in batch.sessions:\n            if row.session_id in live:\n",
        "        for row in batch.sessions[:0]:\n            if row.session_id in live:\n",
        "tests/broker/registry/test_apps.py::"
        "test_a_failed_commit_withholds_the_acknowledgement_until_a_later_one",
    ),
    Guard(
        "one idempotency key, one kill",
        "2, 51, I4",
        f"{_HERE}/commands.py",
        "    command = state.keys.get(key) if key is not None else None\n",
        "    command = None\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "a key's repeat waits for the same commit",
        "51, I2",
        f"{_HERE}/commands.py",
        "    elif command.committed:\n        accepted(command, now)\n",
        "    elif True:\n        accepted(command, now)\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "another request under the same key is refused",
        "51",
        f"{_HERE}/commands.py",
        "    if command.digest != digest:\n",
        "    if False:\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "an end that races its kill completes it",
        "26, 27, I1",
        f"{_HERE}/commands.py",
        "    for command in session.commands:\n"
        "        target_done(state, command, session, error, now)\n\n\n"
        "def target_failed",
        "\n\ndef target_failed",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "a target that is gone already is no longer waited for",
        "26, I1",
        f"{_HERE}/commands.py",
        "        if session is None:\n            continue\n        command.pending[session_id]",
        "        command.pending[session_id]",
        "tests/broker/registry/test_commands.py::test_an_end_that_races_the_kill_completes_it",
    ),
    Guard(
        "what is new is refused while the disk is full",
        "11",
        f"{_HERE}/state.py",
        '        if health.cause != "full":\n',
        "        if True:\n",
        f"{_TESTS}/test_store_says.py",
    ),
    # --- what has ended stays ended, and whose it is ----------------------------------------
    Guard(
        "what was killed is killed again when it shows up",
        "I10",
        f"{_HERE}/apps.py",
        "        commands.kill_again(state, process, tombstone)\n",
        "        return False\n",
        f"{_TESTS}/test_commands.py",
    ),
    Guard(
        "a session cleaned up while its kill was written is killed when it shows up",
        "I1",
        f"{_HERE}/commands.py",
        "        tombstone = state.tombstones.get(session_id)\n        if tombstone is not None",
        "        tombstone = None\n        if tombstone is not None",
        f"{_TESTS}/test_coming_back.py",
    ),
    Guard(
        "what has ended for good is not let in again",
        "I10",
        f"{_HERE}/apps.py",
        '    elif tombstone.reason != "stale":\n',
        "    elif False:\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "the store's memory of an end goes before ours",
        "I10, I8",
        f"{_HERE}/core.py",
        "            apps.stays_ended(state, tombstone, now)\n",
        "            pass\n",
        f"{_TESTS}/test_store_says.py",
    ),
    Guard(
        "an instance proves itself by its secret",
        "23, 43, I6",
        f"{_HERE}/apps.py",
        "    strange = known is None or not hmac.compare_digest(known, secret_hash)\n",
        "    strange = known is None\n",
        f"{_TESTS}/test_strangers.py",
    ),
    Guard(
        "the secrets of processes that are gone are kept",
        "43, I6",
        f"{_HERE}/state.py",
        "            self.remember_secret(process.instance, process.secret_hash)\n",
        "            pass\n",
        f"{_TESTS}/test_strangers.py",
    ),
    Guard(
        "a connection speaks for one instance in one role",
        "42, 43, I6",
        f"{_HERE}/apps.py",
        "    if _is_another(state.peers.get(route), message):\n",
        "    if False:\n",
        "tests/broker/registry/test_apps.py::test_a_connection_speaks_for_one_instance_in_one_role",
    ),
    Guard(
        "a new connection takes the place of a frozen one",
        "21, 22, I5",
        f"{_HERE}/apps.py",
        "        state.peers.pop(process.route, None)\n    process.route = peer.route\n",
        "        pass\n    process.route = peer.route\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "a late hello of an earlier connection is ignored",
        "22, 23, I6",
        f"{_HERE}/apps.py",
        '    if process.number is not None and message["n"] <= process.number:\n',
        "    if False:\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "a session belongs to one process",
        "43, I5, I6",
        f"{_HERE}/apps.py",
        "    elif session.process is not process:\n",
        "    elif False:\n",
        "tests/broker/registry/test_apps.py::test_another_process_cannot_claim_or_end_a_session",
    ),
    Guard(
        "an ended session belongs to its process, too",
        "43, I6",
        f"{_HERE}/apps.py",
        "    if tombstone.process != process.instance:\n        state.stats",
        "    if False:\n        state.stats",
        f"{_TESTS}/test_strangers.py",
    ),
    Guard(
        "a repeat is ignored",
        "4, 24, I3",
        f"{_HERE}/apps.py",
        "    if number < expected:\n        return\n",
        "    if number < expected:\n        number = expected\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "a gap is answered with say hello",
        "25, I14",
        f"{_HERE}/apps.py",
        "    if number > expected:\n",
        "    if False:\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "whoever is not greeted is asked to say hello",
        "25",
        f"{_HERE}/core.py",
        '            state.send(route, "say_hello")\n',
        "            pass\n",
        f"{_TESTS}/test_apps.py",
    ),
    # --- time -------------------------------------------------------------------------------
    Guard(
        "a broker that slept does not call its clients silent",
        "8, I9",
        f"{_HERE}/state.py",
        "        step = min(now.mono - self.last_mono, self.clock_step)\n",
        "        step = now.mono - self.last_mono\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "a kill is not on the disk before the sessions it is about",
        "3, I1",
        f"{_HERE}/ledger.py",
        "chain(islice(self.urgent, limit), targets)",
        "islice(self.urgent, limit)",
        f"{_TESTS}/test_ledger.py",
    ),
    Guard(
        "a command is finished after the ends of its targets",
        "3, I1",
        f"{_HERE}/commands.py",
        "    if len(ends) <= state.settings.rows_per_flush:\n",
        "    if True:\n",
        f"{_TESTS}/test_ledger.py",
    ),
    Guard(
        "durable is what is on the disk as a whole",
        "I2",
        f"{_HERE}/ledger.py",
        " and p.instance not in self.urgent_of\n",
        "\n",
        f"{_TESTS}/test_ledger.py",
    ),
    Guard(
        "also when finished tasks went before",
        "I2",
        f"{_HERE}/ledger.py",
        "            if process.instance in self.urgent_of:\n",
        "            if False:\n",
        f"{_TESTS}/test_ledger.py",
    ),
    Guard(
        "a failed piece refuses whoever had a part in it",
        "16",
        f"{_HERE}/ledger.py",
        "self.behind[: flight.behind]",
        "self.behind[:0]",
        f"{_TESTS}/test_ledger.py",
    ),
    Guard(
        "after a restart everybody has the whole time again",
        "9, I9",
        f"{_HERE}/core.py",
        "                heard=0.0,\n",
        "                heard=row.heard_at - now.wall,\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "no timeout follows the wall clock",
        "10, I9",
        f"{_HERE}/state.py",
        "        if now.mono == self.last_mono:  # as for the messages that came together\n"
        "            return\n"
        "        step = min(now.mono - self.last_mono, self.clock_step)\n"
        "        if step > 0:\n"
        "            self.observed += step\n"
        "        self.last_mono = now.mono\n",
        "        step = min(now.wall - self.last_mono, self.clock_step)\n"
        "        if step > 0 and self.last_mono:\n"
        "            self.observed += step\n"
        "        self.last_mono = now.wall\n",
        f"{_TESTS}/test_apps.py",
    ),
    Guard(
        "whoever speaks is not silent, gaps or not",
        "I9",
        f"{_HERE}/apps.py",
        "        state.heard(process, now)  # it is not silent, whatever was lost\n",
        "",
        f"{_TESTS}/test_coming_back.py",
    ),
    Guard(
        "a session that was only silent may come back",
        "8, I14",
        f"{_HERE}/apps.py",
        "    else:\n        return False\n    return True\n\n\ndef stays_ended",
        "    return True\n\n\ndef stays_ended",
        f"{_TESTS}/test_apps.py",
    ),
)
