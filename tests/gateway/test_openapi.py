"""The API's own description: complete, with examples, and served without a CDN."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from typing import Any

import pytest

from broker.gateway import models, openapi
from tests.gateway.asking import ask
from tests.support.fake_operator import FakeOperator

GUARDED = {"401", "403", "429"}  # what every route answers that wants a token
ROUTES = {
    ("get", "/sessions"): GUARDED | {"200", "422", "503"},
    ("post", "/sessions"): GUARDED | {"201", "400", "413", "415", "422", "503"},
    ("delete", "/sessions/stale"): GUARDED | {"200", "422", "503"},
    ("get", "/sessions/{session_id}"): GUARDED | {"200", "404", "422", "503"},
    ("delete", "/sessions/{session_id}"): GUARDED | {"200", "404", "409", "422", "503"},
    ("post", "/sessions/{session_id}/heartbeat"): GUARDED
    | {"200", "404", "409", "413", "422", "503"},
    ("put", "/sessions/{session_id}/status"): GUARDED
    | {"200", "400", "404", "409", "413", "415", "422", "503"},
    ("post", "/sessions/{session_id}/kill"): GUARDED
    | {"202", "400", "404", "409", "413", "415", "422", "503"},
    ("post", "/apps/{app_name}/kill-all"): GUARDED | {"202", "400", "413", "415", "422", "503"},
    ("get", "/commands/{command_id}"): GUARDED | {"200", "404", "422", "503"},
    ("get", "/audit"): GUARDED | {"200", "422", "503"},
    ("get", "/healthz"): {"200", "403"},
    ("get", "/readyz"): {"200", "403", "429", "503"},
    ("get", "/metrics"): GUARDED | {"200"},
}
OPEN = {"/healthz", "/readyz"}


@pytest.fixture
def document(operator: FakeOperator) -> dict[str, Any]:
    response = ask(operator, "GET", "/openapi.json")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def test_every_route_and_every_answer(document: dict[str, Any]) -> None:
    assert {
        (method, path): set(operation["responses"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    } == ROUTES


def test_what_needs_a_token_says_so(document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["security"] == ([] if path in OPEN else [{"bearer": []}])
    kill = document["paths"]["/sessions/{session_id}/kill"]["post"]
    assert kill["description"].endswith("\n\nRoles: operator.")
    create = document["paths"]["/sessions"]["post"]
    assert create["description"].endswith("\n\nRoles: app, operator.")


def test_failures_are_problems(document: dict[str, Any]) -> None:
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["description"]
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    assert response["content"] == {
                        "application/problem+json": {
                            "schema": {"$ref": "#/components/schemas/Problem"}
                        }
                    }


def test_every_schema_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {
        "SessionCreate",
        "SessionStatus",
        "HeartbeatResponse",
        "Session",
        "SessionList",
        "SessionCreated",
        "CleanupResponse",
        "KillAllResponse",
        "KillRequest",
        "KillResponse",
        "StatusResponse",
        "Problem",
        "Command",
    } <= set(schemas)
    assert [name for name, schema in schemas.items() if not schema.get("examples")] == []


def test_examples_fit_their_models() -> None:
    for name in dir(models):
        model = getattr(models, name)
        config = getattr(model, "model_config", {}).get("json_schema_extra")
        if config:
            for example in config["examples"]:
                assert set(example) <= set(model.model_fields)
                model.model_validate_json(json.dumps(example))


def test_requests_go_where_the_document_was_found(document: dict[str, Any]) -> None:
    assert [server["url"] for server in document["servers"]] == ["."]


def test_docs_with_local_files(operator: FakeOperator) -> None:
    if openapi.local_assets() is None:
        assert find_spec("fastapi_offline") is None, "installed, but its files were not found"
        pytest.skip("fastapi-offline is not installed")
    page = ask(operator, "GET", "/docs")
    assert page.status_code == 200
    assert "http" not in page.text
    # relative to /docs, so that they hold under any path that a proxy puts before it
    files = re.findall(r'(?:src|href)="([^":]+)"', page.text)
    assert sorted(files) == ["docs/swagger-ui-bundle.js", "docs/swagger-ui.css"]
    assert "url: 'openapi.json'" in page.text
    kinds = {".js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
    for file in files:
        response = ask(operator, "GET", f"/{file}")
        assert response.status_code == 200
        assert response.headers["content-type"] == kinds[file[-3:]]
        assert len(response.content) > 100_000
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_docs_without_local_files(operator: FakeOperator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "local_assets", lambda: None)
    page = ask(operator, "GET", "/docs")
    assert page.status_code == 200
    assert 'src="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui-bundle.js"' in page.text
    assert "script-src https://cdn.jsdelivr.net" in page.headers["content-security-policy"]
    assert ask(operator, "GET", "/docs/swagger-ui.css").status_code == 404
