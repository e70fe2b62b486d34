"""A broker that refuses the monitor: said on the page and in the log, until it is let in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from monitor.dashboard import MonitorDashboard
from monitor.live import Live
from sessionclient import Misuse
from sessionclient.wire import TO_BROKER, decode, encode
from tests.support.processes import eventually

pytestmark = pytest.mark.process

WHY = "the key 'monitor' is for the role 'viewer', not <b>'operator'</b>"


class RefusingBroker:
    """Answers each hello with a refusal."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            if self._socket.poll(50):
                route, frame = self._socket.recv_multipart()
                if decode(frame, TO_BROKER)["k"] == "hello":
                    error = {"k": "error", "code": "forbidden", "message": WHY}
                    self._socket.send_multipart([route, encode(error)])
        self._socket.close()
        self._context.term()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()


@pytest.fixture
def refusing() -> Iterator[RefusingBroker]:
    broker = RefusingBroker()
    yield broker
    broker.close()


def test_a_refusal_is_shown_and_logged_once(
    refusing: RefusingBroker, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live(refusing.address)
    dashboard = MonitorDashboard(live)
    try:
        eventually(lambda: live.operator.trouble, "it is refused")
        eventually(lambda: "refuses us" in caplog.text, "it is logged")
        dashboard.refresh_now()
        assert dashboard.bar.state_text == "Refused by the broker"
        assert f"The broker at {refusing.address} refuses us" in dashboard.blank.object
        assert "not &lt;b&gt;&#x27;operator" in dashboard.blank.object
        assert "--key FILE" in dashboard.blank.object
        assert dashboard.blank.visible
        dashboard.refresh_now()
        (record,) = [r for r in caplog.records if r.name == "panelbus.monitor"]
        assert record.levelno == logging.WARNING
        assert record.getMessage() == (
            f"the broker at {refusing.address} refuses us: forbidden: {WHY}"
        )
    finally:
        dashboard.close()
        live.close()


def test_a_key_that_is_none_is_refused_without_being_shown(tmp_path: Path) -> None:
    key = tmp_path / "monitor.key"
    key.write_text('secret = "not-a-key"\n')
    key.chmod(0o600)
    with pytest.raises(Misuse, match="is no client's key") as refused:
        Live("tcp://127.0.0.1:1", key)
    assert "not-a-key" not in str(refused.value)
