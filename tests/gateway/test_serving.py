"""Binding, and closing the link: the parts of the process that need no process."""

from __future__ import annotations

import asyncio

import pytest

from broker.gateway.app import create_app
from broker.gateway.serving import CannotListen, bind, url_of
from tests.support.fake_operator import FakeOperator


def test_two_gateways_that_start_at_once_do_not_share_a_port() -> None:
    with bind("127.0.0.1", 0, only_loopback="no") as first:
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(CannotListen, match=f"can't listen on 127.0.0.1:{port}: "):
            bind("127.0.0.1", port, only_loopback="no")


def test_the_port_is_free_at_once_afterwards() -> None:
    with bind("127.0.0.1", 0, only_loopback="no") as first:
        port = first.getsockname()[1]
    with bind("127.0.0.1", port, only_loopback="no") as again:
        assert again.getsockname()[1] == port


def test_the_app_closes_its_link(operator: FakeOperator) -> None:
    app = create_app(operator)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            assert not operator.closed.is_set()

    asyncio.run(run())
    assert operator.closed.is_set()
