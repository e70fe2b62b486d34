from __future__ import annotations

import pytest

from tests.support.fake_operator import FakeOperator


@pytest.fixture
def operator() -> FakeOperator:
    return FakeOperator()
