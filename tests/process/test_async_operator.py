"""AsyncOperator does what Operator does, awaited, against a real broker."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from sessionclient import AsyncOperator, NotFound, Operator
from tests.process.conftest import StartBroker, Track
from tests.support.processes import eventually

pytestmark = pytest.mark.process

OWN = {"close": "aclose"}  # the one method with another name, as asyncio's own classes have it


def public(kind: type) -> dict[str, list[str]]:
    """Its public methods and properties with the names of their parameters."""
    members = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    return {
        name: list(inspect.signature(member).parameters) if callable(member) else []
        for name, member in members.items()
    }


def test_both_faces_have_the_same_methods() -> None:
    sync = {OWN.get(name, name): parameters for name, parameters in public(Operator).items()}
    assert public(AsyncOperator) == sync


def test_every_request_is_made_and_awaited(start_broker: StartBroker, track: Track) -> None:
    broker = start_broker()
    tracker = track(broker.bus, "sales", "ann")
    eventually(lambda: tracker.online, "the session is registered")

    async def use() -> None:
        async with AsyncOperator(broker.bus) as operator:
            assert operator.address == broker.bus
            (row,) = await operator.get_all_sessions("sales")
            assert row["session_id"] == tracker.session_id
            assert operator.stale_after == 120.0
            assert (await operator.list_sessions(limit=1)).total == 1
            (found,) = await operator.find_sessions(tracker.session_id[:6])
            assert found["session_id"] == tracker.session_id
            assert (await operator.get_session(tracker.session_id))["user_id"] == "ann"
            assert await operator.get_tasks(tracker.session_id) == []
            made = await operator.create_session("web")
            await operator.update_status(made, "running", "load")
            assert await operator.update_heartbeat(made) is False
            await operator.delete_session(made)
            with pytest.raises(NotFound, match="has ended \\(deleted\\)"):
                await operator.get_session(made)
            async with operator.watch() as changes:
                async for change in changes:
                    if change.kind == "snapshot" and not tracker.killed.is_set():
                        killed = await operator.request_kill(tracker.session_id, "enough", wait=20)
                        assert killed["stage"] == "completed"
                    elif change.kind == "snapshot":  # another, which takes the place of all news
                        assert change.rows == []
                        break
                    elif change.kind == "ended":
                        assert change.rows[0]["session_id"] == tracker.session_id
                        break
            command = await operator.get_command(killed["command_id"])
            assert (await operator.get_commands())[0]["command_id"] == command["command_id"]
            assert await operator.request_kill_by_app("nobody") == 0
            assert await operator.cleanup_stale_sessions() == 0
            assert (await operator.stats())["kills"]["completed"] == 1

    asyncio.run(asyncio.wait_for(use(), 60))
