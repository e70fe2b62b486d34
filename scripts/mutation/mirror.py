"""Guards of those who follow the feed."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_SNAPSHOTS: Final = "tests/client/test_mirror_snapshots.py"

GUARDS: Final = (
    # --- the mirror -------------------------------------------------------------------------
    Guard(
        "a gap in the feed is seen",
        "48, I7",
        "sessionclient/mirror.py",
        "        if epoch != self._epoch or number != expected:\n",
        "        if epoch != self._epoch:\n",
        _SNAPSHOTS,
    ),
    Guard(
        "another epoch is seen",
        "50, I7",
        "sessionclient/mirror.py",
        "        if epoch == self._epoch and number < expected:\n"
        "            return  # a repeat\n"
        "        if epoch != self._epoch or number != expected:\n",
        "        if number < expected:\n            return\n        if number != expected:\n",
        _SNAPSHOTS,
    ),
    Guard(
        "a beat tells of a lost last update",
        "49, I7",
        "sessionclient/mirror.py",
        '        expected = self._number + (1 if message["changes"] else 0)\n',
        '        if not message["changes"]:\n            return\n'
        "        expected = self._number + 1\n",
        _SNAPSHOTS,
    ),
    Guard(
        "a feed that falls silent is noticed",
        "32, 49",
        "sessionclient/mirror.py",
        "        elif now - self._heard_feed_at >= self._patience:\n",
        "        elif False:\n",
        _SNAPSHOTS,
    ),
    Guard(
        "many that lost the same update come at random moments",
        "48",
        "sessionclient/mirror.py",
        "        self._resync_at = now + self._rng.uniform(0.0, spread)\n",
        "        self._resync_at = now\n",
        _SNAPSHOTS,
    ),
    Guard(
        "updates during a snapshot are applied on top",
        "47, I7",
        "sessionclient/mirror.py",
        "            self._buffer.append(_Update(epoch, number, changes))\n",
        "            pass\n",
        _SNAPSHOTS,
    ),
    Guard(
        "a gap among them starts anew",
        "47, 48, I7",
        "sessionclient/mirror.py",
        "            if number != self._number + 1:\n"
        "                self._resync(now, RETRY_SPREAD)\n"
        "                return False\n",
        "",
        _SNAPSHOTS,
    ),
    Guard(
        "a page of another epoch starts anew",
        "50, I7",
        "sessionclient/mirror.py",
        '        elif result["epoch"] != self._epoch:\n',
        "        elif False:\n",
        _SNAPSHOTS,
    ),
    Guard(
        "updates kept during a snapshot are bounded",
        "I11",
        "sessionclient/mirror.py",
        "        if self._buffered > MAX_BUFFERED or (",
        "        if (",
        _SNAPSHOTS,
    ),
    Guard(
        "an overdue page is asked for again",
        "48, I14",
        "sessionclient/mirror.py",
        "            if now - self._waiting_since >= PAGE_TIMEOUT:\n",
        "            if False:\n",
        _SNAPSHOTS,
    ),
    Guard(
        "nonsense in the feed starts a new snapshot",
        "38, I13",
        "sessionclient/mirror.py",
        "            except NONSENSE:\n                # not what the protocol",
        "            except ZeroDivisionError:\n                # not what the protocol",
        "tests/client/test_mirror.py::test_what_is_no_change_starts_a_new_snapshot",
    ),
)
