"""When the gateway may be reached by other machines, and what to do until it may. Pure."""

from __future__ import annotations

import shlex
from typing import Final

PROGRAM: Final = "python -m broker.gateway"
_TOKENS: Final = "tokens.json"


def objection(
    http: str, *, tokens: str | None, tls: bool, behind_proxy: bool, insecure: bool
) -> str | None:
    """Why a gateway with these settings must stay on loopback; None: it need not.

    Args:
        http: HOST:PORT, for the commands.
        tokens: The file of tokens, if it asks for them.
        tls: Whether it has a certificate.
        behind_proxy: Whether a proxy before it speaks TLS with everybody else.
        insecure: Whether all of that does not matter.
    """
    if insecure or (tokens is not None and (tls or behind_proxy)):
        return None
    if tokens is None:
        why = "anybody who reaches it could end sessions. Ask for tokens"
        first = [f"panelbus token create NAME --role operator --tokens {_TOKENS}"]
    else:
        why = "tokens would cross the network readable. Encrypt it"
        first = []
    start = f"{PROGRAM} --http {shlex.quote(http)} --tokens {shlex.quote(tokens or _TOKENS)}"
    rest = "--behind-proxy" if behind_proxy else "--tls-cert cert.pem --tls-key key.pem"
    lines = [*first, f"{start} {rest}"]
    if not behind_proxy:
        lines.append(f"{start} --behind-proxy   # if a proxy in front of it speaks TLS")
    others = "or listen on 127.0.0.1, or give --insecure if the network is trusted"
    return "\n  ".join([f"{why}, {others}:", *lines])
