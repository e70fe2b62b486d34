from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import pytest

from broker.gateway.app import Admission
from broker.gateway.token_file import TokenFile, change
from broker.gateway.tokens import Token, digest_of, new_token
from sessionclient.wire import ROLES
from tests.support.fake_operator import FakeOperator


@pytest.fixture
def operator() -> FakeOperator:
    return FakeOperator()


class Issued(NamedTuple):
    """A file with a token of each role, named by it, and an expired one of an operator."""

    path: Path
    secrets: dict[str, str]

    def bearer(self, name: str) -> dict[str, str]:
        """The header that the holder of this token sends."""
        return {"authorization": f"Bearer {self.secrets[name]}"}

    def admission(self) -> Admission:
        return Admission(tokens=TokenFile(self.path))


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    now = time.time()
    secrets = {name: new_token() for name in (*ROLES, "expired")}
    rows = [Token(role, role, digest_of(secrets[role]), now - 60, None) for role in ROLES]
    rows.append(Token("expired", "operator", digest_of(secrets["expired"]), now - 60, now - 1))
    path = tmp_path / "tokens.json"
    change(path, lambda _: tuple(rows), create=True)
    return Issued(path, secrets)
