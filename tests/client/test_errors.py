"""The families of errors, and which of them a refusal of the broker becomes."""

from __future__ import annotations

import pytest

from sessionclient.errors import (
    Conflict,
    Forbidden,
    KeyReused,
    LinkDown,
    Misuse,
    NotFound,
    PanelbusError,
    PeerFault,
    Refused,
    RequestTimeout,
    Unavailable,
    refusal,
)
from sessionclient.wire import ERROR_CODES

OWN_CLASS = {
    "not_found": NotFound,
    "conflict": Conflict,
    "key_reused": KeyReused,
    "forbidden": Forbidden,
    "unavailable": Unavailable,
}


@pytest.mark.parametrize("code", [*ERROR_CODES, "a code of a later version"])
def test_a_refusal_keeps_its_code_and_message_whatever_its_class(code: str) -> None:
    error = refusal(code, "no, since ...")
    assert type(error) is OWN_CLASS.get(code, Refused)
    assert (error.code, str(error), error.args) == (code, "no, since ...", ("no, since ...",))


def test_a_refusal_made_without_a_code_has_its_class_s() -> None:
    made = [kind("no") for kind in (Refused, *OWN_CLASS.values())]
    assert [error.code for error in made] == ["bad_request", *OWN_CLASS]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (Misuse, ValueError),
        (LinkDown, ConnectionError),
        (RequestTimeout, TimeoutError),
        (NotFound, LookupError),
    ],
)
def test_errors_are_caught_as_the_builtin_people_expect(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="why"):
        raise kind("why")


def test_the_families_do_not_overlap() -> None:
    families = (Misuse, PeerFault, LinkDown, Refused)
    for kind in (Misuse, PeerFault, LinkDown, RequestTimeout, Refused, *OWN_CLASS.values()):
        assert issubclass(kind, PanelbusError)
        assert sum(issubclass(kind, family) for family in families) == 1
    assert issubclass(RequestTimeout, LinkDown)
