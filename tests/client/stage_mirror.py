"""A mirror, and a broker's answers to it."""

from __future__ import annotations

from typing import Any, Final

from sessionclient.mirror import Ask, Change, Mirror
from sessionclient.wire import FEED, decode, encode
from tests.client.rows import WALL
from tests.client.stage import FixedRandom

LIVE: Final = Change("state", [{"state": "live"}])
RESYNCING: Final = Change("state", [{"state": "resyncing"}])
DOWN: Final = Change("state", [{"state": "down"}])


class MirrorStage:
    """A mirror that is not connected; the broker's clocks agree with ours at 100 s."""

    def __init__(self, fraction: float = 0.5) -> None:
        self.rng = FixedRandom(fraction)
        self.mirror = Mirror(self.rng)

    @classmethod
    def live(
        cls, *rows: dict[str, Any], commands: list[dict[str, Any]] | None = None
    ) -> MirrorStage:
        """A mirror that has taken its snapshot at 100 s as of message 5."""
        stage = cls()
        stage.welcomed(100.0)
        stage.answer_all(100.0, *rows, commands=commands)
        stage.changes()
        assert stage.mirror.state == "live"
        return stage

    def welcomed(self, now: float, epoch: str = "e1") -> None:
        self.mirror.welcomed(epoch, 120.0, now)

    def fed(self, now: float, number: int, *changes: list[Any], **more: Any) -> None:
        """A message of the feed, which must be one."""
        message = {
            "k": "feed",
            "epoch": "e1",
            "n": number,
            "t": now,
            "w": WALL + now,
            "changes": list(changes),
            **more,
        }
        self.mirror.fed(decode(encode(message), FEED), now)

    def ask(self) -> Ask:
        """The one request that waits to be sent."""
        asks, changes = self.mirror.take()
        self.mirror.changes = changes  # not looked at yet
        (ask,) = asks
        return ask

    def changes(self) -> list[Change]:
        """What changed since the last look; nothing may wait to be asked."""
        asks, changes = self.mirror.take()
        assert asks == []
        return changes

    def answer(self, ask: Ask, now: float, *rows: dict[str, Any], **more: Any) -> None:
        """A page of the list, the last one unless ``next`` is given."""
        fields = {"epoch": "e1", "n": 5, "t": now, "w": WALL + now, "next": None, **more}
        self.mirror.page(ask, {**fields, "rows": list(rows)}, now)

    def answer_commands(
        self, ask: Ask, now: float, newest_first: list[dict[str, Any]] | None = None, **more: Any
    ) -> None:
        self.mirror.commands_page(ask, {"epoch": "e1", "commands": newest_first or [], **more}, now)

    def answer_all(
        self,
        now: float,
        *rows: dict[str, Any],
        commands: list[dict[str, Any]] | None = None,
        **more: Any,
    ) -> None:
        """The whole snapshot in one page."""
        self.answer(self.ask(), now, *rows, **more)
        self.answer_commands(self.ask(), now, commands)

    def ids(self) -> list[str]:
        """The sessions, in their order."""
        return [entry["session_id"] for entry in self.mirror.sessions(100.0)]

    def feed_as_it_is(self, now: float, *changes: list[Any]) -> None:
        """The next message, with values no codec would let through."""
        number = self.mirror._number + 1
        clocks = {"t": now, "w": WALL + now}
        message = {"k": "feed", "epoch": "e1", "n": number, "changes": list(changes), **clocks}
        self.mirror.fed(message, now)
