"""Thousands of bare connections from a process of their own: ``python -m tests.support.crowd``.

They say nothing at all, or greet as ZeroMQ does and then are idle (answering its pings). Prints one
JSON object a line for what happens: ``open`` with how many there are, then ``left`` with how many
the other end has not closed, whenever that has changed. Ends by itself when its time is over.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Final

import click

from broker.open_files import raise_limit

OWN_FILES: Final = 50
BURST: Final = 500  # connections that may wait to be accepted
GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + bytes(32)
_READY: Final = b"\x05READY\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
READY: Final = b"\x04" + bytes([len(_READY)]) + _READY
PONG: Final = b"\x04\x05\x04PONG"


def tell(event: str, count: int) -> None:
    print(json.dumps({"event": event, "count": count}), flush=True)


def affordable(count: int) -> int:
    """So many as this machine's limit of open files lets one process have."""
    limit = raise_limit()
    if limit is not None and limit < count + OWN_FILES:
        print(f"ONLY {limit - OWN_FILES} of {count}: raise ulimit -n", file=sys.stderr, flush=True)
        return limit - OWN_FILES
    return count


def connect(port: int, greet: bool) -> socket.socket | None:
    """None when the other end takes no more."""
    sock = socket.socket()
    sock.settimeout(5.0)
    try:
        sock.connect(("127.0.0.1", port))
        if greet:
            sock.sendall(GREETING + READY)
    except OSError:
        sock.close()
        return None
    return sock


def heard(sock: socket.socket) -> bool:
    """Whether the other end has accepted the connection: it greets at once."""
    try:
        return bool(sock.recv(1))
    except OSError:
        return False


def closed(sock: socket.socket) -> bool:
    """Read what there is, answer pings; whether that was the end."""
    try:
        data = sock.recv(4096)
        if b"\x04PING" in data:
            sock.send(PONG)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return not data


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--count", type=int, default=10_000)
@click.option("--greet/--silent", default=True)
@click.option("--seconds", default=120.0, help="When it ends, at the latest.")
def main(port: int, count: int, greet: bool, seconds: float) -> None:
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for number in range(affordable(count)):
            sock = connect(port, greet)
            # now and then wait for the other end, or its kernel's queue would overflow
            if sock is None or (number % BURST == BURST - 1 and not heard(sock)):
                break
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        left = len(selector.get_map())
        tell("open", left)
        while left and time.monotonic() < end:
            for key, _ in selector.select(0.1):
                peer = key.fileobj
                if isinstance(peer, socket.socket) and closed(peer):
                    selector.unregister(peer)
                    peer.close()
            if len(selector.get_map()) != left:
                left = len(selector.get_map())
                tell("left", left)


if __name__ == "__main__":
    main()
