"""docs/OPERATIONS.md names every setting with its default, and every metric; no other ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import pytest

import broker.__main__
import broker.gateway.__main__
import demos.__main__
import monitor.__main__
from broker.doctor import findings
from broker.doctor.findings import BrokerFacts, DatabaseFacts, PortFacts
from broker.gateway import access, rates, tls, token_file, tokens
from broker.gateway.metrics import exposition
from broker.reserve import RESERVE_BYTES
from broker.store_copy import SPARE_BYTES, SUFFIX
from broker.store_sqlite import MAX_IO_FAILURES
from sessionclient import address, callbacks, keys
from sessionclient.wire import ROLES

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "OPERATIONS.md"
TEXT: Final = DOCUMENT.read_text(encoding="utf-8")
PREFIX: Final = "PANELBUS"
SETTINGS: Final = ("of", "option", "variable", "default", "unit", "meaning")

PARTS: Final[dict[str, click.Command]] = {
    "broker": broker.__main__.main,
    "gateway": broker.gateway.__main__.command,
    "monitor": monitor.__main__.main,
    "demos": demos.__main__.main,
}


CLIENT: Final = "client"
WITHOUT_OPTION: Final = {"gateway": tls.PASSWORD_VARIABLE}  # others could see it among the flags


class Setting(NamedTuple):
    """What the document says of an option, and what the option is."""

    variables: tuple[str, ...]
    default: str


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def _rows(*columns: str) -> list[tuple[str, ...]]:
    """The rows of the one table with these columns."""
    tables = re.findall(r"(?:^\|.*\n)+", TEXT, re.M)
    rows = [[_cells(line) for line in table.splitlines()] for table in tables]
    (wanted,) = [table for table in rows if table[0] == columns]
    assert all(len(row) == len(columns) and all(row) for row in wanted)
    return wanted[2:]


def _words(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def _said(default: Any) -> str:
    """A default as the document writes it."""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, (int, float)) else f"`{default}`"


def _settings(command: click.Command) -> dict[tuple[str, ...], Setting]:
    """Every option but --version, as click has it."""
    found = {}
    for option in command.params:
        assert isinstance(option, click.Option)
        if option.name == "version":
            continue
        given = option.envvar
        if given is None:
            assert command.context_settings["auto_envvar_prefix"] == PREFIX
            given = f"{PREFIX}_{str(option.name).upper()}"
        variables = (given,) if isinstance(given, str) else tuple(given)
        value = option.get_default(click.Context(command))
        if not isinstance(value, (bool, int, float, str, Path)):  # click's own word for none
            value = False if option.is_flag else None
        default = "none" if value is None else _said(value)
        found[(*option.opts, *option.secondary_opts)] = Setting(variables, default)
    return found


@pytest.mark.parametrize("part", PARTS)
def test_every_option_stands_there_with_its_variable_and_default(part: str) -> None:
    documented = {
        _words(option): Setting(_words(variable), default)
        for of, option, variable, default, _, _ in _rows(*SETTINGS)
        if part in of.split(", ")
    }
    settings = _settings(PARTS[part])
    if part in WITHOUT_OPTION:
        settings[()] = Setting((WITHOUT_OPTION[part],), "none")
    assert documented == settings


def test_the_clients_variables_stand_there_with_their_defaults() -> None:
    rows = [row for row in _rows(*SETTINGS) if row[0] == CLIENT]
    assert {variable: default for _, _, variable, default, _, _ in rows} == {
        f"`{address.URL_VARIABLE}`": _said(address.DEFAULT_URL),
        f"`{keys.KEY_VARIABLE}`": "none",
        f"`{callbacks.TIMEOUT_VARIABLE}`": _said(callbacks.DEFAULT_TIMEOUT),
    }


def test_no_setting_is_of_something_else() -> None:
    assert {part for row in _rows(*SETTINGS) for part in row[0].split(", ")} == {*PARTS, CLIENT}


def test_every_variable_that_is_named_exists() -> None:
    settings = [setting for command in PARTS.values() for setting in _settings(command).items()]
    variables = {name for _, setting in settings for name in setting.variables}
    variables |= {address.URL_VARIABLE, callbacks.TIMEOUT_VARIABLE, keys.KEY_VARIABLE}
    variables |= set(WITHOUT_OPTION.values())
    variables.add(f"{PREFIX}_VERSION")  # of which it warns
    assert set(re.findall(rf"{PREFIX}_[A-Z_]+", TEXT)) == variables


def test_the_gateways_limits_stand_there() -> None:
    values = {limit: value for limit, value, _ in _rows("limit", "value", "then")}
    failures = f"{access.FAILURE_RATE:g} a second, {access.FAILURE_BURST:g} at once"
    assert values["requests without a valid token, of an address"] == failures
    assert values["askers remembered"].startswith(f"{rates.MAX_BUCKETS:,};")
    size = f"{token_file.MAX_FILE_BYTES // 10**6} MB"
    assert values["tokens"] == f"{tokens.MAX_TOKENS:,} in a list of at most {size}"
    kept = values["tokens a running gateway remembers as revoked"]
    assert kept == f"{token_file.MAX_REVOKED_KEPT:,}"


def test_roles_of_the_gateway_stand_there() -> None:
    assert [_words(role) for role, _ in _rows("role", "may")] == [
        *((role,) for role in ROLES),
        (),
    ]


def _exposed() -> dict[str, str]:
    """Every metric the gateway can tell, with its kind."""
    histogram = {"count": 1, "sum": 0.5, "buckets": [[1.0, 1]]}
    stats = {
        "health": {"status": "ok"},
        "sessions": [["sales", "idle", 1]],
        **dict.fromkeys(("stale", "processes", "peers", "feed_number", "uptime"), 1),
        **{key: {"x": 1} for key in ("messages", "rejected", "kills", "queues")},
        "kill_latency": histogram,
        "commit": histogram,
    }
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposition(stats).decode(), re.M))


def test_metrics_are_exactly_those_exposed() -> None:
    rows = _rows("metric", "kind", "meaning")
    assert {_words(name)[0]: kind.split()[0] for name, kind, _ in rows} == _exposed()


def test_alerts_use_metrics_that_exist() -> None:
    rules = re.findall(r"^ *expr: (.*)$", TEXT, re.M)
    assert len(rules) >= 3
    for rule in rules:
        used = re.findall(r"panelbus_[a-z_]+", rule)
        assert used
        assert set(used) <= _exposed().keys()


def _snippets(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)
    return found


def test_systemd_units_are_there() -> None:
    units = [snippet for snippet in _snippets("ini") if "[Service]" in snippet]
    started = {re.findall(r"^ExecStart=\S+ -m (\S+)", unit, re.M)[0]: unit for unit in units}
    assert started.keys() == {"broker", "monitor"}
    for unit in units:
        assert re.findall(r"^\[(\w+)\]$", unit, re.M) == ["Unit", "Service", "Install"]
        for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "Restart=on-failure"):
            assert f"\n{line}\n" in unit
    assert "\nStateDirectory=panelbus\n" in started["broker"]
    assert "\nEnvironmentFile=/etc/panelbus.env\n" in started["broker"]


def test_proxy_snippets_reach_the_default_ports() -> None:
    gateway = broker.gateway.__main__.DEFAULT_HTTP
    (port,) = [p.default for p in PARTS["monitor"].params if p.name == "port"]
    (nginx,), (caddy,) = _snippets("nginx"), _snippets("caddyfile")
    assert f"proxy_pass         http://{gateway}/;" in nginx
    assert f"proxy_pass         http://127.0.0.1:{port};" in nginx
    assert "proxy_set_header   Upgrade $http_upgrade;" in nginx
    assert nginx.count("{") == nginx.count("}")
    assert f"reverse_proxy {gateway}\n" in caddy
    assert f"reverse_proxy 127.0.0.1:{port}\n" in caddy


def test_links_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.M)
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            assert (DOCUMENT.parent / target).is_file()


# --- disk and doctor -----------------------------------------------------------------------------


def test_every_check_of_the_doctor_stands_there() -> None:
    down = BrokerFacts("tcp://127.0.0.1:5760", local=True, error="no answer")
    sound = DatabaseFacts("sessions.db", exists=True, free=1 << 40)
    ports = [PortFacts(name, "a", "nobody", "-") for name in ("bus", "feed", "http", "monitor")]
    found = [
        *findings.database(sound),
        *findings.broker(down, None, "1"),
        *findings.broker(replace(down, error=None, version="1"), "pid 1", "1"),
        *findings.ports(ports, broker_runs=False),
        *findings.secrets([]),
        *findings.open_files(65_536, of_broker=True),
        *findings.versions({}),
    ]
    rows = _rows("check", "ok", "warn", "fail")
    told = [name for row in rows for name in _words(row[0])]
    assert sorted(told) == sorted({finding.check for finding in found})


def test_bounds_of_the_disk_are_those_of_the_code() -> None:
    megabyte = findings.MEGABYTE
    assert f"`sessions.db.reserve` is {RESERVE_BYTES // megabyte} MB" in TEXT
    assert f"the reserve's {RESERVE_BYTES // megabyte} MB" in TEXT
    assert f"and {SPARE_BYTES // megabyte} MB more of free space" in TEXT
    assert f"after {MAX_IO_FAILURES} failures in a row" in TEXT
    assert f"less than {findings.SHORT_OF_SPACE // megabyte} MB" in TEXT
    assert f"less than {findings.LITTLE_SPACE // megabyte} MB or" in TEXT
    assert f"{findings.FEW_FILES:,} or less" in TEXT
    assert f"must end in `{SUFFIX}`" in TEXT
