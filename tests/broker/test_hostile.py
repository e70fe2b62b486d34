"""What strangers may throw at a real broker: it counts, answers what it can, and serves on."""

from __future__ import annotations

import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from sessionclient import Operator
from sessionclient.wire import MAX_FRAME_BYTES, TO_BROKER, WireError, decode
from tests.broker.raw import RawPeer
from tests.support.bench import greeting, session
from tests.support.processes import BrokerProcess, eventually, running_broker

pytestmark = pytest.mark.process

PROMPT = 5.0  # seconds an honest request may take meanwhile; its usual time is milliseconds
SEED = 20_240_229
MESSAGES = 2_000
CHUNK = 100  # garbage is answered message for message, so it is read as it is sent


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def operator(broker: BrokerProcess) -> Iterator[Operator]:
    """Whoever asks properly; at the end of each test everything is as it should be."""
    with Operator(broker.bus, timeout=PROMPT) as asking:
        asking.stats()
        yield asking
        session_id = asking.create_session("honest")
        assert asking.request_kill(session_id)["stage"] == "requested"
        asking.delete_session(session_id)
        assert asking.stats()["health"]["status"] == "ok"
        assert broker.running


@pytest.fixture
def peer(broker: BrokerProcess) -> Iterator[RawPeer]:
    with RawPeer(broker.bus) as raw:
        yield raw


def rejected(operator: Operator) -> Counter[str]:
    return Counter(operator.stats()["rejected"])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PROMPT)


def send_raw(port: int, data: bytes) -> None:
    """Send as much as the other end takes, then hang up."""
    with closing(connect(port)) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
        except OSError:
            pass  # it has hung up, or it waits for more: both are its good right


# --- what is not even ZeroMQ ---------------------------------------------------------------------


def test_random_bytes_on_the_bus_and_on_the_feed(broker: BrokerProcess, operator: Operator) -> None:
    rng = random.Random(SEED)
    for port in (broker.bus_port, broker.feed_port):
        for size in (1, 9, 10, 64, 5_000, 200_000):
            send_raw(port, rng.randbytes(size))
            assert operator.get_all_sessions() == []


def test_random_bytes_behind_a_proper_greeting(broker: BrokerProcess, operator: Operator) -> None:
    rng = random.Random(SEED)
    greet = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
    for _ in range(20):
        send_raw(broker.bus_port, greet + rng.randbytes(rng.randrange(500)))
    assert operator.get_all_sessions() == []


def test_a_browser_on_the_bus(broker: BrokerProcess, operator: Operator) -> None:
    request = b"GET /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"
    send_raw(broker.bus_port, request)
    send_raw(broker.bus_port, request.replace(b"GET", b"POST") + b"{" * 10_000)
    send_raw(broker.feed_port, request)
    assert operator.get_all_sessions() == []


def test_connections_that_say_nothing(broker: BrokerProcess, operator: Operator) -> None:
    with ExitStack() as stack:
        for port in (broker.bus_port, broker.feed_port):
            for _ in range(100):
                stack.enter_context(closing(connect(port)))
        silent = [stack.enter_context(RawPeer(broker.bus)) for _ in range(5)]
        for quiet in silent:
            assert quiet.monitor.poll(10_000)  # shaken hands, and not a word
        before = operator.stats()
        session_id = operator.create_session("honest")
        operator.delete_session(session_id)
        assert operator.stats()["peers"] == before["peers"]


# --- sockets of the wrong kind -------------------------------------------------------------------


def test_a_request_socket_is_told_nothing_and_counted(
    broker: BrokerProcess, operator: Operator
) -> None:
    before = rejected(operator)
    with RawPeer(broker.bus, zmq.REQ) as asking:
        asking.say("stats", r=1)  # a REQ puts an empty frame in front
        eventually(
            lambda: rejected(operator) - before == Counter({"extra_frames": 1}), "it is counted"
        )
        assert asking.silent()


@pytest.mark.parametrize("kind", [zmq.PUSH, zmq.PUB, zmq.SUB, zmq.ROUTER, zmq.PAIR])
def test_sockets_that_do_not_fit_get_no_connection(
    broker: BrokerProcess, operator: Operator, kind: int
) -> None:
    before = rejected(operator)
    with RawPeer(broker.bus, kind) as wrong:
        if kind != zmq.ROUTER:  # which fits, but has nobody to send to
            wrong.wait_until_gone()
        assert rejected(operator) == before


def test_a_dealer_on_the_feed_gets_no_connection(broker: BrokerProcess, operator: Operator) -> None:
    with RawPeer(broker.feed) as wrong:
        wrong.wait_until_gone()
        assert operator.get_all_sessions() == []


# --- messages that are none ----------------------------------------------------------------------


def garbage(rng: random.Random) -> bytes:
    """Anything from noise to what is almost a message."""
    kind = rng.choice(list(TO_BROKER))
    choice = rng.randrange(5)
    if choice == 0:
        return rng.randbytes(rng.randrange(300))
    if choice == 1:
        return bytes(msgpack.packb(value(rng, 4)))
    message: dict[Any, Any] = {"k": kind, "r": rng.randrange(1 << 40)}
    if choice == 2:
        message["k"] = value(rng, 2)
    names = [field.name for field in TO_BROKER[kind].fields if field.name != "r"]
    for name in names or ["r"]:
        message[name] = value(rng, 3)
    packed = bytearray(msgpack.packb(message))
    if choice == 4:
        packed[rng.randrange(len(packed))] ^= 1 << rng.randrange(8)
    return bytes(packed)


def value(rng: random.Random, depth: int) -> Any:
    """Anything msgpack can say."""
    choice = rng.randrange(8 if depth else 6)
    if choice == 0:
        return rng.choice([None, True, False, float("nan"), float("inf"), -1.5, ""])
    if choice == 1:
        return rng.choice([-1, 0, 1 << 63, (1 << 64) - 1, -(1 << 63)])
    if choice == 2:
        return rng.randbytes(rng.randrange(80))
    if choice == 3:
        return "\N{GRINNING FACE}\0\u202e"[rng.randrange(3)] * rng.randrange(3_000)
    if choice == 4:
        return msgpack.Timestamp(rng.randrange(1 << 32))
    if choice == 5:
        return msgpack.ExtType(rng.randrange(128), rng.randbytes(20))
    items = [value(rng, depth - 1) for _ in range(rng.randrange(6))]
    if choice == 6:
        return items
    return {rng.choice(["k", "r", "n", b"x"]): item for item in items}


def verdict(payload: bytes) -> WireError | None:
    """Why the protocol refuses these bytes."""
    try:
        decode(payload, TO_BROKER)
    except WireError as error:
        return error
    return None


def test_two_thousand_pieces_of_garbage_are_each_answered_and_counted(
    operator: Operator, peer: RawPeer
) -> None:
    rng = random.Random(SEED)
    before = rejected(operator)
    expected: Counter[str] = Counter()
    readable = 0
    for _ in range(MESSAGES // CHUNK):
        chunk = [garbage(rng) for _ in range(CHUNK)]
        for payload in chunk:
            peer.send(payload)
        for payload in chunk:
            error, answer = verdict(payload), peer.answer()
            if error is None:
                assert answer["k"] == "say_hello"
                continue
            expected[error.cause] += 1
            readable += error.request is not None
            assert (answer["k"], answer["code"]) == ("error", "bad_request")
            assert answer.get("r") == error.request
            assert answer["message"] == str(error)[:500]
        assert operator.get_all_sessions() == []
    assert rejected(operator) - before == expected
    assert min(expected[cause] for cause in ("malformed", "unknown_kind", "bad_field")) > 100
    assert readable > 100


def test_a_routing_id_of_a_clients_own_choice_is_refused(
    broker: BrokerProcess, operator: Operator
) -> None:
    before = rejected(operator)
    with RawPeer(broker.bus, routing_id=b"operator") as peer:
        peer.say("hello", **greeting(role="operator"))
        answer = peer.answer()
        assert (answer["k"], answer["code"]) == ("error", "bad_request")
        assert "let the broker give this connection its routing id" in answer["message"]
        peer.send(b"several", b"frames")
        assert peer.answer() == answer
    assert rejected(operator) - before == Counter({"chosen_routing_id": 2})


def test_a_message_of_several_frames_is_refused_and_shifts_nothing(
    operator: Operator, peer: RawPeer
) -> None:
    before = rejected(operator)
    frames = [(b"", b""), (b"a",) * 500, (b"", msgpack.packb({"k": "stats", "r": 1})), (b"", b"x")]
    for parts in frames:
        peer.send(*parts)
    for _ in frames:
        answer = peer.answer()
        assert (answer["k"], answer["code"], answer.get("r")) == ("error", "bad_request", None)
        assert answer["message"] == "one frame a message"
    assert rejected(operator) - before == Counter({"extra_frames": len(frames)})
    peer.greet("after-the-frames")
    peer.tell("bye")


@pytest.mark.parametrize(
    ("message", "request_number", "cause"),
    [
        ({"k": "dance", "r": 5}, 5, "unknown_kind"),
        ({"k": "welcome", "r": 6}, 6, "unknown_kind"),
        ({"k": 7, "r": 7}, 7, "unknown_kind"),
        ({"r": 8}, 8, "unknown_kind"),
        ({"k": "dance", "r": -1}, None, "unknown_kind"),
        ({"k": "dance", "r": True}, None, "unknown_kind"),
        ({"k": "kill", "r": 9}, 9, "bad_field"),
        ({"k": "kill", "r": 10, "s": "x" * 65}, 10, "bad_field"),
        (["kill", 11], None, "malformed"),
        (None, None, "malformed"),
    ],
)
def test_what_is_no_message_is_answered_under_its_number_if_it_has_one(
    operator: Operator, peer: RawPeer, message: Any, request_number: int | None, cause: str
) -> None:
    before = rejected(operator)
    peer.send(msgpack.packb(message))
    answer = peer.answer()
    assert (answer["k"], answer["code"]) == ("error", "bad_request")
    assert answer.get("r") == request_number
    assert rejected(operator) - before == Counter({cause: 1})


@pytest.mark.parametrize("version", [0, 2, 1 << 62])
def test_another_version_of_the_protocol_is_refused(
    operator: Operator, peer: RawPeer, version: int
) -> None:
    peers = operator.stats()["peers"]
    peer.say("hello", **{**greeting(), "v": version})
    answer = peer.answer()
    assert (answer["k"], answer["code"]) == ("error", "unsupported_version")
    assert "this broker speaks protocol version 1" in answer["message"]
    assert operator.stats()["peers"] == peers


def test_what_comes_before_a_greeting_is_not_done(operator: Operator, peer: RawPeer) -> None:
    session_id = operator.create_session("target")
    peer.say("kill", r=1, s=session_id)
    assert peer.answer() == {"k": "say_hello"}
    peer.say("cleanup", r=2, older=0.0)
    assert peer.answer() == {"k": "say_hello"}
    assert operator.get_session(session_id)["kill_requested"] is False
    operator.delete_session(session_id)


def test_a_frame_over_the_limit_costs_its_sender_the_connection(
    operator: Operator, peer: RawPeer
) -> None:
    before = rejected(operator)
    peer.send(b"\xc1" * MAX_FRAME_BYTES)  # the longest there may be
    assert peer.answer()["code"] == "bad_request"
    assert rejected(operator) - before == Counter({"malformed": 1})
    peer.send(b"\xc1" * (MAX_FRAME_BYTES + 1))
    peer.wait_until_gone()
    assert operator.get_all_sessions() == []
    assert rejected(operator) - before == Counter({"malformed": 1})


@pytest.mark.parametrize(
    "depth",
    [100, 900, 1_000, 1_023, 2_000],
)
@pytest.mark.parametrize("level", [b"\x91", b"\x81\xa1a"], ids=["lists", "maps"])
def test_deep_nesting_is_refused(tmp_path: Path, level: bytes, depth: int) -> None:
    with running_broker(tmp_path) as own, RawPeer(own.bus) as peer:
        peer.send(b"\x82\xa1r\x05\xa1k" + level * depth + b"\x01")
        eventually(lambda: not (peer.silent() and own.running), "it answers, or ends")
        assert own.running, own.log()
        assert peer.answer()["code"] == "bad_request"


def test_the_longest_texts_there_may_be_are_published(tmp_path: Path) -> None:
    wide = "\N{GRINNING FACE}" * 255
    entries = [session(f"s{n}", app=wide, status=wide[:19]) for n in range(600)]
    with running_broker(tmp_path) as own, RawPeer(own.bus) as peer, Operator(own.bus) as asking:
        peer.say("hello", **greeting(sessions=entries) | {"host": wide})
        assert peer.answer()["k"] == "welcome"
        peer.tell("heartbeat")
        eventually(lambda: not (peer.silent() and own.running), "it answers, or ends")
        with asking.watch() as watch:
            seen: set[str] = set()
            while own.running and not seen:
                change = watch.get(timeout=0.1)
                if change is not None and change.kind == "snapshot":
                    seen = {row["session_id"] for row in change.rows}
        assert own.running, own.log()


# --- proper messages, improper intent ------------------------------------------------------------


def test_an_app_may_not_ask_and_a_viewer_may_not_act(operator: Operator, peer: RawPeer) -> None:
    before = rejected(operator)
    peer.greet("curious", session("mine"))
    peer.say("list", r=1)
    peer.say("kill", r=2, s="mine")
    codes = [peer.answer() for _ in range(3)]  # one of the three says that "mine" is stored
    assert [m["r"] for m in codes if m.get("code") == "forbidden"] == [1, 2]
    assert rejected(operator) - before == Counter({"forbidden": 2})
    peer.tell("bye")
    eventually(lambda: operator.get_all_sessions() == [], "its session has ended")


def test_a_stranger_can_not_speak_for_another_process(
    broker: BrokerProcess, operator: Operator, peer: RawPeer
) -> None:
    peer.greet("owner", session("owned"))
    with RawPeer(broker.bus) as stranger:
        fields = {**greeting(instance="owner", n=99), "secret": os.urandom(32)}
        stranger.say("hello", **fields)
        assert stranger.answer()["code"] == "forbidden"
        stranger.greet("thief")
        stranger.tell("end", s="owned", reason="stolen")
        stranger.tell("register", **session("owned"))
        answers = [stranger.answer() for _ in range(2)]
        assert {"k": "refused", "s": "owned", "reason": "it belongs to another process"} in answers
    assert operator.get_session("owned")["process"] == "owner"
    peer.tell("bye")
    eventually(lambda: operator.get_all_sessions() == [], "the owner ends it")
