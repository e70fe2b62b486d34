"""The demos' server with pages that start their run by themselves, for tests without a browser.

``python -m tests.demos.pool_server BUS PORT APP``
"""

from __future__ import annotations

import sys

import panel as pn

from demos import app_pool
from demos.__main__ import serve
from sessionclient import SessionClient


def main(bus: str, port: str, app_name: str) -> None:
    def page() -> app_pool.PoolApp:
        app = app_pool.PoolApp(SessionClient.get_tracker(app_name, server_url=bus))
        app.start()
        return app

    serving = pn.serve(
        {"app_pool": page},
        port=int(port),
        address="127.0.0.1",
        websocket_origin="*",
        show=False,
        start=False,
        verbose=False,
        check_unused_sessions_milliseconds=100,
        unused_session_lifetime_milliseconds=1_000,
    )
    serve(serving, f"http://127.0.0.1:{port}")


if __name__ == "__main__":
    main(*sys.argv[1:])
