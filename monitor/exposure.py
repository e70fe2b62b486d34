"""Where the monitor may be served, with what login and what encryption. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from sessionclient.address import is_loopback

ADD: Final = "panelbus user add NAME --role operator --users FILE"


class Refused(Exception):
    """It must not be served like this; the message says what to do."""


class Exposure(NamedTuple):
    """How it is to be served."""

    address: str
    login: bool
    tls: bool  # its own certificate
    proxy: bool  # a proxy that has one is in front
    insecure: bool

    @property
    def secure(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.tls or self.proxy


def check(served: Exposure) -> str | None:
    """A warning, or None.

    Raises:
        Refused: anybody could end sessions, or read a password on its way.
    """
    if served.address == "localhost" or is_loopback(served.address):
        return None
    if not served.login:
        if served.insecure:
            return (
                f"{served.address} is reachable from other machines and there is no login: whoever"
                " reaches it can end sessions"
            )
        raise Refused(
            f"--address {served.address} is reachable from other machines, where anybody could end"
            f" sessions. Make a login ({ADD}) and add --users FILE with --tls-cert FILE --tls-key"
            " FILE or --behind-proxy; or add --insecure"
        )
    if not served.secure:
        if served.insecure:
            return (
                f"{served.address} is reachable from other machines without encryption: passwords"
                " and logins can be read on their way"
            )
        raise Refused(
            f"--address {served.address} is reachable from other machines, and passwords would go"
            " there unencrypted. Add --tls-cert FILE --tls-key FILE, or --behind-proxy when a"
            " proxy in front of it speaks HTTPS; or add --insecure"
        )
    return None
