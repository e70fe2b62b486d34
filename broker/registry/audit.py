"""The audit: who did what to which sessions, why, and what became of it. Rows are only added.

The row of a kill is in the same transaction as the kill itself, so neither is there without the
other. What somebody was refused is noted at once, and its repeats as one number a minute: whoever
is refused may try for ever.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from broker.registry.model import Now
from broker.registry.sizes import weigh
from broker.store import AuditRow

REPEAT_INTERVAL: Final = 60.0  # seconds over which the same refusal is counted, not noted
MAX_REPEATS: Final = 1_000  # different refusals counted at a time
MAX_STRANGERS: Final = 20  # the same of those nobody knows, who may come from anywhere
MAX_UNSAVED: Final = 100_000  # rows a failing store has not taken yet; the oldest go first
MAX_TARGETS_SHOWN: Final = 100  # ids in one row as it is listed; the store has all of them
OTHERS: Final = "(others)"  # whoever is refused beyond these


@dataclass(slots=True)
class _Repeats:
    until: float  # monotonic
    actor: str
    detail: str
    count: int = 0


@dataclass(slots=True)
class Trail:
    """The rows that wait for the store, and the numbers they get."""

    last: int = 0  # number of the newest row
    rows: deque[AuditRow] = field(default_factory=deque)
    dropped: int = 0
    _repeats: dict[tuple[str, str], _Repeats] = field(default_factory=dict)
    _strangers: dict[tuple[str, str], _Repeats] = field(default_factory=dict)

    def note(
        self,
        now: Now,
        actor: str,
        action: str,
        outcome: str,
        *,
        app_name: str | None = None,
        targets: tuple[str, ...] = (),
        reason: str | None = None,
        command_id: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Add a row."""
        self.last += 1
        row = AuditRow(
            self.last,
            now.wall,
            actor,
            action,
            outcome,
            app_name,
            targets,
            reason,
            command_id,
            detail,
        )
        self.rows.append(row)
        self._bound()

    def refused(self, now: Now, who: str, action: str, detail: str, actor: str = "") -> None:
        """Somebody who is known asked for what is not theirs.

        Args:
            who: by whom repeats are counted: a name that can't be chosen at will.
            actor: who it was in full; ``who`` where it is left out.
        """
        self._refused(self._repeats, MAX_REPEATS, now, who, action, detail, actor or who)

    def stranger(self, now: Now, who: str, detail: str) -> None:
        """Somebody whom nobody knows tried to get in. Such rows are few, whoever comes."""
        self._refused(self._strangers, MAX_STRANGERS, now, who, "connect", detail, who)

    def _refused(
        self,
        table: dict[tuple[str, str], _Repeats],
        limit: int,
        now: Now,
        who: str,
        action: str,
        detail: str,
        actor: str,
    ) -> None:
        known = table.get((who, action))
        if known is None and len(table) >= limit:
            who, actor, detail = OTHERS, OTHERS, "others were refused, too"
            known = table.get((who, action))
        if known is not None:
            known.count += 1
            return
        table[who, action] = _Repeats(now.mono + REPEAT_INTERVAL, actor, detail)
        self.note(now, actor, action, "refused", detail=detail)

    def tick(self, now: Now) -> None:
        """Note how often what was refused a while ago has been tried since."""
        for table in (self._repeats, self._strangers):
            for key in [key for key, repeats in table.items() if repeats.until <= now.mono]:
                repeats = table.pop(key)
                if repeats.count:
                    detail = f"{repeats.count} times more: {repeats.detail}"
                    self.note(now, repeats.actor, key[1], "refused", detail=detail)

    def take(self) -> list[AuditRow]:
        """All rows that wait, for the next transaction."""
        rows, self.rows = list(self.rows), deque()
        return rows

    def put_back(self, rows: list[AuditRow]) -> None:
        """The transaction failed."""
        self.rows.extendleft(reversed(rows))
        self._bound()

    def _bound(self) -> None:
        while len(self.rows) > MAX_UNSAVED:
            self.rows.popleft()
            self.dropped += 1


def weight(row: AuditRow) -> int:
    """Upper bound (bytes) of its map on the wire."""
    shown = row.targets[:MAX_TARGETS_SHOWN]
    return weigh(row.actor, row.app_name, row.reason, row.detail, *shown)


def wire(row: AuditRow) -> dict[str, Any]:
    """The audit map of docs/PROTOCOL.md."""
    fields = row._asdict()
    fields["targets"] = list(row.targets[:MAX_TARGETS_SHOWN])
    fields["total"] = len(row.targets)
    return fields
