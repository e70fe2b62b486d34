"""When other machines may reach the gateway."""

from __future__ import annotations

from itertools import product

import pytest

from broker.gateway.exposure import objection

HTTP = "0.0.0.0:8000"


@pytest.mark.parametrize(
    ("tokens", "tls", "behind_proxy", "insecure"),
    list(product([None, "t.json"], [False, True], [False, True], [False, True])),
)
def test_only_tokens_under_tls_or_insistence(
    tokens: str | None, tls: bool, behind_proxy: bool, insecure: bool
) -> None:
    why = objection(HTTP, tokens=tokens, tls=tls, behind_proxy=behind_proxy, insecure=insecure)
    assert (why is None) == (insecure or (tokens is not None and (tls or behind_proxy)))


def refusal(tokens: str | None, *, tls: bool = False, behind_proxy: bool = False) -> list[str]:
    why = objection(HTTP, tokens=tokens, tls=tls, behind_proxy=behind_proxy, insecure=False)
    assert why is not None
    return why.splitlines()


def test_without_tokens_they_come_first() -> None:
    first, *commands = refusal(None)
    assert first.startswith("anybody who reaches it could end sessions. Ask for tokens, or")
    start = "  python -m broker.gateway --http 0.0.0.0:8000 --tokens tokens.json"
    assert commands == [
        "  panelbus token create NAME --role operator --tokens tokens.json",
        f"{start} --tls-cert cert.pem --tls-key key.pem",
        f"{start} --behind-proxy   # if a proxy in front of it speaks TLS",
    ]


def test_tokens_are_not_sent_readable() -> None:
    first, *commands = refusal("a b.json")
    assert first.startswith("tokens would cross the network readable. Encrypt it, or listen on")
    start = "  python -m broker.gateway --http 0.0.0.0:8000 --tokens 'a b.json'"
    assert commands == [
        f"{start} --tls-cert cert.pem --tls-key key.pem",
        f"{start} --behind-proxy   # if a proxy in front of it speaks TLS",
    ]


def test_what_is_decided_already_is_kept() -> None:
    assert refusal(None, behind_proxy=True)[1:] == [
        "  panelbus token create NAME --role operator --tokens tokens.json",
        "  python -m broker.gateway --http 0.0.0.0:8000 --tokens tokens.json --behind-proxy",
    ]
