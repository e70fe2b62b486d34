"""The order in which measures are carried out, and what is left of one that fails."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import pytest
from rich.console import Console

from scripts.measures.figures import QUICK, Figure, Group, Measure, Round, Sample, Setting
from scripts.measures.results import Point, Results
from scripts.measures.run import Failed, Grow, run, showing, steps

SCALE = replace(QUICK, rounds=3, warm_up=1)


class Book:
    """Measures that do nothing but write down what happened to them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seen: list[str] = []
        self.told: list[tuple[str, int]] = []

    def measure(self, name: str, play: Callable[[], float], why: str | None = None) -> Measure:
        @contextmanager
        def start(setting: Setting) -> Iterator[Round]:
            assert setting.directory.is_dir()
            assert not list(setting.directory.iterdir())
            self.seen.append(f"start {name}")

            def one() -> Sample:
                self.seen.append(name)
                return {f"{name}.figure": play()}

            try:
                yield one
            finally:
                self.seen.append(f"end {name}")

        return Measure(name, (Figure(f"{name}.figure", name, "ms"),), start, lambda: why)

    def run(self, *groups: Group, grow: Grow | None = None) -> Results:
        def tell(text: str, done: int) -> None:
            self.told.append((text, done))

        return run(groups, SCALE, self.directory, tell, grow)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def counting() -> Callable[[], float]:
    numbers = iter(range(100))
    return lambda: float(next(numbers))


def test_the_rounds_of_a_group_take_turns_after_one_that_is_not_counted(book: Book) -> None:
    group = Group("both", (book.measure("a", counting()), book.measure("b", counting())))
    results = book.run(group)
    assert book.seen == ["start a", "start b", *["a", "b"] * 4, "end b", "end a"]
    assert results.values == {"a.figure": [1.0, 2.0, 3.0], "b.figure": [1.0, 2.0, 3.0]}
    assert book.told[-1] == ("both: b", 7)
    assert steps([group], SCALE) == 8
    assert results.machine
    assert results.quick


def test_a_group_with_rounds_of_its_own_does_not_warm_up(book: Book) -> None:
    group = Group("slow", (book.measure("a", counting()),), rounds=1)
    assert book.run(group).values == {"a.figure": [0.0]}
    assert steps([group], SCALE) == 1


def test_one_group_is_over_before_the_next_begins(book: Book) -> None:
    groups = [Group(name, (book.measure(name, counting()),), rounds=1) for name in "ab"]
    book.run(*groups)
    assert book.seen == ["start a", "a", "end a", "start b", "b", "end b"]


def test_what_can_t_be_measured_here_is_left_out_with_the_reason(book: Book) -> None:
    measures = book.measure("a", counting(), "it is not installed"), book.measure("b", counting())
    results = book.run(Group("both", measures))
    assert "start a" not in book.seen
    assert results.left_out == {"a": "it is not installed"}
    assert results.values.keys() == {"b.figure"}
    assert steps([Group("both", measures)], SCALE) == 4


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (click.ClickException("the load ended"), "b: the load ended"),
        (RuntimeError("too slow"), "b: RuntimeError: too slow"),
        (BrokenPipeError(32, "Broken pipe"), "b: BrokenPipeError: [Errno 32] Broken pipe"),
    ],
)
def test_a_measure_that_fails_is_named_and_everything_is_ended(
    book: Book, error: Exception, says: str
) -> None:
    def fail() -> float:
        raise error

    group = Group("both", (book.measure("a", counting()), book.measure("b", fail)))
    with pytest.raises(Failed) as raised:
        book.run(group, Group("later", (book.measure("c", counting()),)))
    assert raised.value.format_message() == says
    assert book.seen == ["start a", "start b", "a", "b", "end b", "end a"]


def test_ctrl_c_ends_everything(book: Book) -> None:
    def interrupted() -> float:
        raise KeyboardInterrupt

    group = Group("both", (book.measure("a", counting()), book.measure("b", interrupted)))
    with pytest.raises(KeyboardInterrupt):
        book.run(group)
    assert book.seen[-2:] == ["end b", "end a"]


def test_a_slip_of_ours_is_no_failure_of_a_measure(book: Book) -> None:
    def slip() -> float:
        raise AssertionError("impossible")

    with pytest.raises(AssertionError, match="impossible"):
        book.run(Group("one", (book.measure("a", slip),)))
    assert book.seen[-1] == "end a"


def test_a_round_must_give_what_its_measure_says(book: Book) -> None:
    wrong = replace(book.measure("a", counting()), figures=(Figure("other", "", ""),))
    with pytest.raises(Failed, match=r"a: ValueError: .*\['a.figure', 'other'\]"):
        book.run(Group("one", (wrong,)))
    with pytest.raises(Failed, match="nan"):
        book.run(Group("one", (book.measure("b", lambda: float("nan")),)))


def test_growth_comes_last(book: Book) -> None:
    points = [Point(100, {"broker.memory": 1.0}), Point(1_000, {"broker.memory": 2.0})]

    def grow(setting: Setting, tell: Callable[[str], None]) -> Sequence[Point]:
        assert setting.directory.is_dir()
        tell("1,000 sessions")
        return points

    results = book.run(Group("one", (book.measure("a", counting()),), rounds=1), grow=grow)
    assert results.growth == points
    assert book.told[-1] == ("growth: 1,000 sessions", 1)


def test_growth_that_fails_is_named(book: Book) -> None:
    def grow(_setting: Setting, _tell: Callable[[str], None]) -> Sequence[Point]:
        raise click.ClickException("no memory")

    with pytest.raises(Failed, match="growth: no memory"):
        book.run(grow=grow)


def test_without_a_terminal_each_thing_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with showing(Console(file=io.StringIO()), 4) as tell:
        for done, text in enumerate(["a: b", "a: c", "a: b", "a: c"]):
            tell(text, done)
    assert capsys.readouterr().err == "a: b\na: c\n"


def test_on_a_terminal_there_is_a_bar() -> None:
    out = io.StringIO()
    with showing(Console(file=out, force_terminal=True, width=100), 4) as tell:
        tell("group: [measure]", 3)
    assert "3/4" in out.getvalue()
    assert "group: [measure]" in out.getvalue()
