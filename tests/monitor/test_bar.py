"""The figures above the table, as texts."""

from __future__ import annotations

from monitor.bar import shown
from monitor.board import Figures


def test_figures_are_shown_with_what_they_are() -> None:
    assert shown(Figures(12_345, 1_000, 0, 2_000, "sales", 6_789)) == [
        ("live", "12,345", "live sessions", ""),
        ("running", "1,000", "running tasks", ""),
        ("stale", "0", "stale", ""),
        ("kills", "2,000", "kills in the last hour", ""),
        ("busiest", "sales", "busiest app, 6,789 sessions", ""),
    ]


def test_an_empty_board_is_all_noughts_and_a_dash() -> None:
    assert [value for _, value, *_ in shown(Figures(0, 0, 0, 0, None, 0))] == [
        "0",
        "0",
        "0",
        "0",
        "\N{EN DASH}",
    ]


def test_stale_sessions_are_a_warning() -> None:
    tones = {key: tone for key, _, _, tone in shown(Figures(9, 0, 1, 3, "sales", 9))}
    assert tones == {"live": "", "running": "", "stale": "warn", "kills": "", "busiest": ""}


def test_names_are_handed_over_as_they_are() -> None:
    app = "<b>\N{PILE OF POO} \u202e\u05de\u05db</b>"
    assert shown(Figures(2, 0, 0, 0, app, 2))[-1][1] == app
