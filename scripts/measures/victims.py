"""An app of many processes that is killed as a whole."""

from __future__ import annotations

import sys
import time
from itertools import count
from typing import Any

import zmq

from scripts.measures import stage
from scripts.measures.fleet import Fleet


class Victims(Fleet):
    """A fleet of one app that waits to be killed, and does what it is told."""

    def __init__(self, bus: str, processes: int, sessions: int, prefix: str, app: str) -> None:
        super().__init__(bus, processes, sessions, prefix, app)
        self._commands: list[str] = []

    def await_commands(self) -> float:
        """Until each process was told to end all its sessions; when the last was (monotonic)."""
        poller = zmq.Poller()
        by_socket = {peer.socket: peer for peer in self.peers}
        missing = {peer.socket: len(peer.sessions) for peer in self.peers}
        commands: dict[Any, str] = {}
        for socket in missing:
            poller.register(socket, zmq.POLLIN)
        while missing:
            found = poller.poll(int(stage.TIMEOUT * 1000))
            if not found:
                raise RuntimeError(f"{len(missing)} processes were not told to end their sessions")
            for socket, _ in found:
                message = by_socket[socket].receive_kind("command")
                commands[socket] = message["c"]
                missing[socket] -= len(message["s"])
                if missing[socket] <= 0:
                    del missing[socket]
                    poller.unregister(socket)
        last = time.monotonic()
        self._commands = [commands[peer.socket] for peer in self.peers]
        return last

    def obey(self) -> float:
        """End all sessions and leave; when the last end was on the broker's disk (monotonic)."""
        for peer, command in zip(self.peers, self._commands, strict=True):
            peer.say("delivered", c=command)
            for session in peer.sessions:
                peer.say("end", s=session, reason="killed")
            peer.say("bye")
        for peer in self.peers:
            peer.await_ack()
        last = time.monotonic()
        self.close()
        return last


def be_the_victims(bus: str, processes: int, sessions: int, app: str) -> None:
    """Serve orders: greet anew, await the commands, and obey them; the last two are answered with
    when that was done."""
    prefixes = (f"v{number}x" for number in count())
    victims: Victims | None = None

    def answer(order: dict[str, Any]) -> dict[str, Any]:
        nonlocal victims
        if order["do"] == "greet":
            victims = Victims(bus, processes, sessions, next(prefixes), app)
            return {}
        if victims is None:
            raise RuntimeError("nobody has greeted")
        return {"at": victims.await_commands() if order["do"] == "await" else victims.obey()}

    stage.serve(answer)


if __name__ == "__main__":
    be_the_victims(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
