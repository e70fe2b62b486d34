"""Any words after ``panelbus``: an answer or a line that says what is wrong, never a traceback."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionclient.cli import main
from tests.support.processes import BrokerProcess

COMMANDS = ("sessions", "kill", "kill-all", "cleanup")  # the others serve until they are stopped
FLAGS = ("--json", "--yes", "-y", "--full-ids", "--stale", "--not-stale", "--help", "-h", "--", "-")
WORDS = ("s1", "sales", "", " ", "\0", "\n", "ünï", "\N{GRINNING FACE}", "x" * 300, "\u202e", "--x")
NUMBERS = ("0", "-1", "0.5", "nan", "inf", "-inf", "1e400", "9" * 400, "0x10", "1_000", "\u0661")
SERVERS = ("", "x", "http://x", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "ipc://")

words = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.sampled_from(NUMBERS) | st.floats(0.0, 1.0).map(repr)


def option(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.one_of(
        values.map(lambda value: [name, value]), values.map(lambda value: [f"{name}={value}"])
    )


pieces = st.one_of(
    words.map(lambda word: [word]),
    st.sampled_from(FLAGS).map(lambda flag: [flag]),
    st.sampled_from(("--app", "--user", "--status", "--reason")).flatmap(
        lambda n: option(n, words)
    ),
    st.sampled_from(("--wait", "--timeout", "--older-than")).flatmap(lambda n: option(n, numbers)),
    option("--server", st.sampled_from(SERVERS)),
)
lines = st.tuples(st.sampled_from(COMMANDS), st.lists(pieces, max_size=4)).map(
    lambda drawn: [drawn[0], *(word for piece in drawn[1] for word in piece)]
)


@settings(max_examples=150, deadline=None)
@given(line=lines, typed=st.sampled_from(["", "y\n", "n\n", "\0"]))
def test_any_words_are_answered_without_a_traceback(
    broker: BrokerProcess, line: list[str], typed: str
) -> None:
    env: dict[str, Any] = {"PANELBUS_URL": broker.bus, "COLUMNS": "160", "PANELBUS_TIMEOUT": "20"}
    result = CliRunner().invoke(main, line, input=typed, env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), line
    assert result.exit_code in (0, 1, 2), line
    assert "Traceback" not in result.output, line
    assert result.exit_code == 0 or result.output.strip(), line  # it says why
