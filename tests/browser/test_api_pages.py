"""/docs in a browser, under a path that a proxy puts before it, and with a token."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, Route, expect

from broker.gateway.openapi import local_assets
from sessionclient.cli import main
from tests.support.processes import eventually, free_port, listening, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(local_assets() is None, reason="fastapi-offline is not installed"),
]
OUTSIDE = "http://panelbus.test/deep/api"  # as the browser knows it


def test_the_api_pages_work_under_a_prefix_with_a_token_and_without_the_internet(
    page: Page, tmp_path: Path
) -> None:
    path, port = tmp_path / "tokens.json", free_port()
    words = ["token", "create", "zoe", "--role", "operator", "--tokens", str(path)]
    secret = CliRunner().invoke(main, words).stdout.strip()
    asked: list[str] = []

    def proxy(route: Route) -> None:
        """Take the prefix away, as nginx does with a slash at the end of proxy_pass."""
        asked.append(route.request.url)
        if not route.request.url.startswith(f"{OUTSIDE}/"):
            route.abort()
            return
        inside = route.request.url.replace(OUTSIDE, f"http://127.0.0.1:{port}")
        route.fulfill(response=route.fetch(url=inside))

    page.route("**/*", proxy)
    flags = ["--http", f"127.0.0.1:{port}", "--tokens", str(path), "--timeout", "0.1"]
    flags += ["--server", f"tcp://127.0.0.1:{free_port()}"]
    with running(["-m", "broker.gateway", *flags], tmp_path / "gateway.log"):
        eventually(lambda: listening(port), "the gateway serves")
        page.goto(f"{OUTSIDE}/docs")
        audit = page.locator("#operations-audit-get_audit_audit_get")
        audit.locator(".opblock-summary-control").click()
        audit.get_by_role("button", name="Try it out").click()
        run = audit.get_by_role("button", name="Execute")
        status = audit.locator(".live-responses-table tbody .response-col_status").first
        run.click()
        expect(status).to_contain_text("401")
        page.get_by_role("button", name="Authorize", exact=True).first.click()
        dialog = page.locator(".dialog-ux")
        dialog.locator("input").fill(secret)
        dialog.get_by_role("button", name="Apply credentials").click()
        dialog.get_by_role("button", name="Close", exact=True).click()
        run.click()
        expect(status).to_contain_text("503")  # past the door; there is no broker
    local = [url for url in asked if not url.startswith("data:")]
    assert [url for url in local if not url.startswith(f"{OUTSIDE}/")] == []
    assert f"{OUTSIDE}/audit?limit=100" in local
    assert secret not in "".join(asked)
