"""Tokens: their form, the list of them, and whose a request is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.gateway.tokens import (
    MALFORMED,
    MAX_TOKENS,
    MISSING,
    WRONG,
    BadTokens,
    Denial,
    Identity,
    Token,
    added,
    check,
    digest_of,
    dump,
    holds_token,
    new_token,
    parse,
    redacted,
    removed,
)

NOW = 1_767_323_045.0
# fixed, because they are part of the names of tests
ANN, BOB = f"pbt_{'aB3_-' * 8}xyz", f"pbt_{'7' * 43}"
TOKENS = (
    Token("ann", "operator", digest_of(ANN), NOW - 60, None),
    Token("bob", "viewer", digest_of(BOB), NOW - 60, NOW + 60),
)


def bearer(token: str) -> list[bytes]:
    return [b"Bearer " + token.encode()]


def test_a_token_is_256_bits_in_43_characters_and_no_two_are_alike() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(holds_token(token) and len(token) == 47 for token in tokens)


def test_a_valid_token_tells_who_asks() -> None:
    assert check(TOKENS, bearer(ANN), NOW) == Identity("token ann", "operator")
    assert check(TOKENS, bearer(BOB), NOW) == Identity("token bob", "viewer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_has_no_case(scheme: str) -> None:
    sent = [f"{scheme} {ANN}".encode()]
    assert check(TOKENS, sent, NOW) == Identity("token ann", "operator")


def test_blanks_around_it_do_not_matter() -> None:
    assert isinstance(check(TOKENS, [f"Bearer   {ANN}  ".encode()], NOW), Identity)


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [b""],
        [b"Basic YW5uOmFubg=="],
        [b"Digest x"],
        [ANN.encode()],
        [b"Bearer" + ANN.encode()],
        [b"Token " + ANN.encode()],
        [b"Bearer\t" + ANN.encode()],
        bearer(ANN) * 2,
        [*bearer(ANN), b"Basic YW5uOmFubg=="],
        bearer(ANN) + bearer(BOB),
    ],
)
def test_without_exactly_one_it_is_missing(sent: list[bytes]) -> None:
    assert check(TOKENS, sent, NOW) == MISSING


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"x",
        ANN[:-1].encode(),
        ANN.encode() + b"A",
        ANN.encode() + b"\n",
        ANN.upper().encode(),
        ANN.encode() + b" " + ANN.encode(),
        ANN.encode() + b"," + ANN.encode(),
        b"pbt_" + "\u0661".encode() * 43,
        b"pbt_" + b"\xe9" * 43,
        b"\xff\xfe\x00",
        b"pbt_" + b"A" * 10_000_000,
        b'"' + ANN.encode() + b'"',
    ],
)
def test_what_has_not_the_form_is_malformed(sent: bytes) -> None:
    assert check(TOKENS, [b"Bearer " + sent], NOW) == MALFORMED


def test_wrong_revoked_expired_and_malformed_read_alike() -> None:
    wrong = check(TOKENS, bearer(new_token()), NOW)
    revoked = check(removed(TOKENS, "ann"), bearer(ANN), NOW)
    expired = check(TOKENS, bearer(BOB), NOW + 60)
    malformed = check(TOKENS, bearer("x"), NOW)
    assert wrong == revoked == WRONG
    assert isinstance(expired, Denial)
    assert {denial.detail for denial in (WRONG, expired, MALFORMED)} == {WRONG.detail}
    assert malformed == MALFORMED
    assert expired.cause == "the token 'bob', which has expired"


def test_an_expired_token_was_valid_until_then() -> None:
    assert isinstance(check(TOKENS, bearer(BOB), NOW + 59.9), Identity)


@given(st.lists(st.binary(max_size=100), max_size=3))
def test_no_header_raises_or_lets_in(sent: list[bytes]) -> None:
    assert isinstance(check(TOKENS, sent, NOW), Denial)
    assert isinstance(check(TOKENS, [b"Bearer " + value for value in sent], NOW), Denial)


def test_redacted() -> None:
    assert redacted(f"/a/{ANN}/{BOB}?x") == "/a/pbt_.../pbt_...?x"
    assert redacted("/sessions/pbt_short") == "/sessions/pbt_short"


# --- the list ---------------------------------------------------------------------------------


def test_a_list_is_read_as_it_was_written() -> None:
    assert parse(dump(TOKENS)) == TOKENS
    assert parse(dump(())) == ()


def test_the_file_holds_no_token() -> None:
    content = dump(TOKENS).decode()
    assert ANN not in content
    assert ANN.removeprefix("pbt_") not in content
    assert digest_of(ANN).hex() in content


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "é", "a/b", "a\n", "x" * 65, "\ud800"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(BadTokens, match="is not a token's name; give 1 to 64 of"):
        added(TOKENS, Token(name, "app", b"", NOW, None))


def test_a_name_is_there_once() -> None:
    with pytest.raises(BadTokens, match="there is a token 'ann' already; revoke it, or"):
        added(TOKENS, Token("ann", "app", b"", NOW, None))
    with pytest.raises(BadTokens, match="there is no token 'eve'"):
        removed(TOKENS, "eve")


def test_a_list_has_an_end() -> None:
    full = tuple(Token(f"t{n}", "app", bytes([n % 256]) * 32, NOW, None) for n in range(MAX_TOKENS))
    with pytest.raises(BadTokens, match="there are 1,000 tokens already; revoke some"):
        added(full, TOKENS[0])


def document(**changes: Any) -> dict[str, Any]:
    """A list of one token, changed."""
    content: dict[str, Any] = json.loads(dump(TOKENS[:1]))
    content["tokens"][0].update(changes)
    return content


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a list of tokens"),
        (b"{}", "is not a list of tokens"),
        (b'{"version": 2, "tokens": []}', "has version 2, this gateway knows 1; upgrade"),
        (b'{"tokens": []}', "has version None"),
        (b'{"version": 1, "tokens": [1]}', "is damaged at token 1: it must have"),
        (document(role="root"), "the role must be one of app, viewer, operator"),
        (document(role=["app"]), "all but expires must be text"),
        (document(sha256="00"), "sha256 must be 64 digits"),
        (document(sha256="\u0661" * 64), "sha256 must be 64 digits"),
        (document(name="a b"), "is not a token's name"),
        (document(created="yesterday"), "is damaged at token 1: Invalid isoformat"),
        (document(created="2026-01-02T03:04:05"), "says no time zone"),
        (document(expires=5), "a time must be text"),
        (document(only_app="sales"), "and nothing else"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_whole(content: Any, why: str) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(BadTokens) as caught:
        parse(raw)
    assert why in str(caught.value)


def test_two_tokens_under_one_name_are_refused() -> None:
    content = document()
    content["tokens"].append({**content["tokens"][0], "sha256": "0" * 64})
    with pytest.raises(BadTokens, match="it has the same name twice"):
        parse(json.dumps(content).encode())


def test_a_list_that_is_too_long_is_refused() -> None:
    content = document()
    content["tokens"] *= MAX_TOKENS + 1
    with pytest.raises(BadTokens, match="has more than 1,000 tokens; revoke some"):
        parse(json.dumps(content).encode())


def test_one_token_under_two_names_is_refused() -> None:
    content = document()
    content["tokens"].append({**content["tokens"][0], "name": "eve", "role": "app"})
    with pytest.raises(BadTokens, match="it has the same token twice"):
        parse(json.dumps(content).encode())
