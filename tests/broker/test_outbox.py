"""The outbox by itself; what peers see of it is in test_server.py and test_greed.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import zmq

from broker.outbox import Outbox
from sessionclient.wire import FROM_BROKER, MAX_FRAME_BYTES, decode


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
