"""The gateway of a real broker against its own description: no 500, no answer that is not written
down there. Needs schemathesis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from sessionclient import Operator
from tests.gateway.asking import ask
from tests.support.fake_operator import FakeOperator
from tests.support.processes import BrokerProcess, running_broker

schemathesis: Any = pytest.importorskip("schemathesis", reason="pip install schemathesis")
checks: Any = pytest.importorskip("schemathesis.checks")
requests: Any = pytest.importorskip("requests")  # which schemathesis brings
checks.load_all_checks()

EXAMPLES = 25  # for each operation
ANSWER_SECONDS = 30

pytestmark = pytest.mark.process

CHECKS = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    )
]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("broker"), "--gateway") as running:
        yield running
        assert "Traceback" not in running.log()


# the description needs no broker
SCHEMA = schemathesis.openapi.from_dict(ask(FakeOperator(), "GET", "/openapi.json").json())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_a_documented_one(broker: BrokerProcess, name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[name].as_strategy())
    def try_it(case: Any) -> None:
        answer = case.call(base_url=broker.http, timeout=ANSWER_SECONDS, session=session)
        case.validate_response(answer, checks=CHECKS)

    with requests.Session() as session:
        session.trust_env = False
        try_it()
    with Operator(broker.bus, timeout=20) as operator:
        assert operator.stats()["health"]["status"] == "ok"
