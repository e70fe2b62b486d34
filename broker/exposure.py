"""What may be reached from other machines, and what it takes. Pure.

On loopback nothing needs setting up. Beyond it anybody who reaches a port could see and end every
session, so each port wants its own lock, or the word that the network itself is one.
"""

from __future__ import annotations

from typing import NamedTuple

from broker import addresses


class Listening(NamedTuple):
    """Where the broker is told to listen, and with what locks."""

    bus: str
    feed: str
    http: str | None  # None: without the gateway
    keys: bool
    tokens: bool
    encrypted: bool  # HTTP has a certificate, or a proxy that has one


def exposed(listening: Listening) -> list[str]:
    """What is wrong with it, each with the commands that mend it."""
    found = []
    for flag, address in (("--bus", listening.bus), ("--feed", listening.feed)):
        if not listening.keys and not addresses.is_local(address):
            found.append(
                f"{flag} {address} is reachable from other machines, where anybody could list and"
                " kill sessions. Listen on 127.0.0.1, or let in known keys only:"
                " panelbus keygen gateway --role operator --keys DIR (and one for each client),"
                " then add --keys DIR; or all of it at once:"
                " python -m broker --secure-quickstart DIR; or add --insecure if the network"
                " itself keeps strangers out"
            )
    http = listening.http
    if http is not None and not listening.tokens and not addresses.is_local(http):
        found.append(
            f"--http {http} is reachable from other machines, where anybody could list and kill"
            " sessions. Listen on 127.0.0.1, or ask for tokens: panelbus token create NAME --role"
            " operator --tokens FILE, then add --tokens FILE; or add --insecure if the network"
            " itself keeps strangers out"
        )
    elif http is not None and not listening.encrypted and not addresses.is_local(http):
        found.append(
            f"--http {http} is reachable from other machines, and tokens would cross the network"
            " readable. Listen on 127.0.0.1, or encrypt it: --tls-cert FILE --tls-key FILE, or"
            " --behind-proxy if a proxy in front of it speaks HTTPS; or add --insecure if nobody"
            " can read along"
        )
    return found
