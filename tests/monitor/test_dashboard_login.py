"""A page acts for who is logged in: the broker refuses a viewer, whatever the page does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from monitor.dashboard import MonitorDashboard
from monitor.live import Live
from monitor.logins import Logins, OAuthAccounts, PageLogin
from sessionclient import Forbidden, SessionClient
from tests.support.processes import BrokerProcess, eventually, running_broker

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    with running_broker(tmp_path_factory.mktemp("roles")) as found:
        yield found


@pytest.fixture
def live(broker: BrokerProcess) -> Iterator[Live]:
    following = Live(broker.bus)
    yield following
    following.close()


@pytest.fixture
def tracker(broker: BrokerProcess, live: Live) -> Iterator[SessionClient]:
    with_it = SessionClient("guarded", "eve", broker.bus, heartbeat_interval=1.0)
    live.start()
    eventually(lambda: live.read(lambda board: with_it.session_id in board.sessions), "it is known")
    yield with_it
    with_it.stop()


@pytest.fixture
def logins() -> Logins:
    return Logins(OAuthAccounts(frozenset({"ann"}), frozenset({"*"})), 3600)


def page_of(live: Live, logins: Logins, name: str) -> tuple[MonitorDashboard, PageLogin]:
    login = logins.find(logins.begin(name))
    assert login is not None
    page = PageLogin(logins, login)
    return MonitorDashboard(live, login=page), page


def test_a_viewer_is_refused_by_the_broker(
    live: Live, logins: Logins, tracker: SessionClient
) -> None:
    dashboard, _ = page_of(live, logins, "vic")
    assert not dashboard.may_end
    for kill in (
        lambda: dashboard.request_kill(tracker.session_id),
        lambda: dashboard.request_kill_all("guarded"),
    ):
        with pytest.raises(Forbidden, match="viewer"):
            kill()
    (shown,) = [s for s in dashboard.load_sessions_data() if s["app_name"] == "guarded"]
    assert shown["kill_requested"] is False
    dashboard.refresh_now()
    assert dashboard.end_app.disabled
    assert not tracker.killed.is_set()
    dashboard.close()


def test_an_operator_is_not_until_the_login_ends(
    live: Live, logins: Logins, tracker: SessionClient
) -> None:
    dashboard, page = page_of(live, logins, "ann")
    assert dashboard.may_end
    dashboard.refresh_now()
    assert not dashboard.end_app.disabled
    assert dashboard.request_kill(tracker.session_id)["stage"] == "requested"
    eventually(tracker.killed.is_set, "it ends")
    logins.end(page.login)
    assert not dashboard.may_end
    with pytest.raises(Forbidden, match="log in again"):
        dashboard.request_kill_all("guarded")
    assert page.tell_end is not None
    page.tell_end()
    assert dashboard.bar.ended
    dashboard.close()


def test_elsewhere_nobody_logs_in(live: Live, tracker: SessionClient) -> None:
    dashboard = MonitorDashboard(live)
    assert (dashboard.may_end, dashboard.bar.user) == (True, "")
    assert dashboard.request_kill_all("guarded") == 1
    eventually(tracker.killed.is_set, "it ends")
    dashboard.close()
