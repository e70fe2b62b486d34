"""The outbox by itself, mostly; what peers see of it is in test_server.py and test_greed.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import zmq

from broker.outbox import Outbox
from broker.registry.model import Peer
from sessionclient.wire import FROM_BROKER, MAX_FRAME_BYTES, decode
from tests.broker.running import RunningBus


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        yield Outbox(router)


def test_an_answer_that_is_too_long_becomes_an_error(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    payload = outbox.payload({"k": "reply", "r": 5, "result": "x" * MAX_FRAME_BYTES})
    assert payload is not None
    assert decode(payload, FROM_BROKER) == {
        "k": "error",
        "r": 5,
        "code": "bad_request",
        "message": "the answer is too long for one message; ask for less",
    }
    assert outbox.payload({"k": "command", "reason": "x" * MAX_FRAME_BYTES}) is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert "could not be sent" in caplog.messages[0]


def test_a_message_that_can_not_be_encoded_leaves_nothing_behind(outbox: Outbox) -> None:
    assert outbox.payload({"k": "command", "s": ["a", object()]}) is None
    payload = outbox.payload({"k": "ack", "n": 1})
    assert payload is not None
    assert decode(payload, FROM_BROKER) == {"k": "ack", "n": 1}


class Broken:
    """A socket's sending, which fails."""

    def __init__(self, errno: int) -> None:
        self.error = zmq.Again(errno) if errno == zmq.EAGAIN else zmq.ZMQError(errno)
        self.tried = 0

    def __call__(self, _frame: bytes, _flags: int) -> None:
        self.tried += 1
        raise self.error


@pytest.mark.parametrize("errno", [zmq.EAGAIN, zmq.EHOSTUNREACH, zmq.ETERM])
def test_what_can_not_be_sent_stops_nothing_but_a_broken_socket_does(
    monkeypatch: pytest.MonkeyPatch, errno: int
) -> None:
    with RunningBus() as running:
        running.bus.stop()
        running.join()
    state, push = running.registry.state, Broken(errno)
    monkeypatch.setattr(running.bus._outbox, "_push", push)
    state.peers[b"a"] = Peer(b"a", "viewer", "v", 0.0)
    state.send(b"a", "command", reason="x" * MAX_FRAME_BYTES)  # which is skipped
    state.send(b"a", "ack", n=1)
    if errno == zmq.ETERM:
        with pytest.raises(zmq.ZMQError):
            running.bus._send()
    else:
        running.bus._send()
    assert push.tried == 1
    assert (b"a" in state.peers) == (errno != zmq.EHOSTUNREACH)
