"""The list of guards fits the code, and a guard taken out of a made-up project is judged right."""

from __future__ import annotations

import ast
import json
import re
import threading
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from rich.console import Console

from scripts import mutate
from scripts.mutation.guard import Guard
from scripts.mutation.guards import GUARDS
from scripts.mutation.trial import Judgement, Mistaken, Ran, Result, judge, mutated, try_out
from tests.support.processes import ROOT, eventually

LONG = 100.0  # seconds, for what ends by itself
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
FAULTS = re.compile(r"(?:[1-9]|[1-4]\d|5[0-4]|I(?:[1-9]|1[0-4])|security|the pool)")

# --- the list ------------------------------------------------------------------------------------


def test_names_are_unique_and_of_use() -> None:
    names = [guard.name for guard in GUARDS]
    assert len(set(names)) == len(names)
    assert all(name == name.strip() and 5 < len(name) < 80 and "|" not in name for name in names)


def test_every_guard_stands_once_in_its_file_and_can_be_taken_out() -> None:
    for guard in GUARDS:
        source = (ROOT / guard.file).read_text(encoding="utf-8")
        assert mutated(guard, source) != source, guard.name


def test_every_guard_has_tests_that_exist() -> None:
    named = {test for guard in GUARDS for test in guard.tests.split()}
    assert all(guard.tests.split() for guard in GUARDS)
    for file in {test.partition("::")[0] for test in named}:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {found.name for found in ast.walk(tree) if isinstance(found, FUNCTIONS)}
        # those of a state machine of Hypothesis have no function of their own
        assert any(name.startswith("test_") for name in there) or "TestCase" in ast.dump(tree)
        wanted = {test.partition("::")[2] for test in named if test.startswith(f"{file}::")}
        assert {name.partition("[")[0] for name in wanted} <= there


def test_every_guard_names_faults_there_are() -> None:
    for guard in GUARDS:
        assert all(FAULTS.fullmatch(fault) for fault in guard.faults.split(", ")), guard.name


def test_every_invariant_has_a_guard() -> None:
    named = {fault for guard in GUARDS for fault in guard.faults.split(", ")}
    assert named >= {f"I{number}" for number in range(1, 15)}


# --- a made-up project ---------------------------------------------------------------------------

BOX = """\
LIMIT = 2


def put(box, thing):
    if len(box) >= LIMIT:
        raise ValueError("full")
    box.append(thing)
"""
TESTS = """\
import subprocess, sys, threading
from pathlib import Path

import pytest

import box


@pytest.fixture
def empty():
    box.put([], 1)
    return []


def test_it_takes_some(empty):
    box.put(empty, 1)
    assert empty == [1]


def test_it_takes_no_more():
    with pytest.raises(ValueError):
        box.put([1, 2], 3)


def test_it_comes_to_its_end():
    if box.LIMIT > 100:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("child.pid.new").write_text(str(child.pid))
        Path("child.pid.new").rename("child.pid")
        threading.Event().wait()
"""
CHECK = '    if len(box) >= LIMIT:\n        raise ValueError("full")\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "box.py").write_text(BOX)
    (tmp_path / "test_box.py").write_text(TESTS)
    return tmp_path


def guard(text: str, without: str, *, hangs: bool = False, name: str = "a limit") -> Guard:
    return Guard(name, "I11", "box.py", text, without, "test_box.py", hangs)


def attempt(guard: Guard, project: Path, timeout: float = LONG) -> Result:
    result = try_out(guard, project, timeout, threading.Event())
    assert (project / "box.py").read_text() == BOX
    return result


def test_a_test_that_fails_has_caught_it(project: Path) -> None:
    result = attempt(guard(CHECK, ""), project)
    assert (result.judgement, result.test) == (
        Judgement.CAUGHT,
        "test_box.py::test_it_takes_no_more",
    )
    assert result.judgement.good


def test_where_all_tests_pass_it_is_missed(project: Path) -> None:
    result = attempt(guard('"full"', '"no room"'), project)
    assert (result.judgement, result.test) == (Judgement.MISSED, None)
    assert not result.judgement.good
    assert "3 passed" in result.output


@pytest.mark.parametrize("without", ["LIMIT = TWO\n", "import nothing_of_this_name\n"])
def test_what_can_not_be_collected_proves_nothing(project: Path, without: str) -> None:
    assert attempt(guard("LIMIT = 2\n", without), project).judgement is Judgement.BROKEN


def test_a_fixture_that_breaks_proves_nothing(project: Path) -> None:
    assert attempt(guard("    box.append(", "    box.push("), project).judgement is (
        Judgement.BROKEN
    )


def test_what_does_not_end_proves_nothing_unless_it_is_meant_to(project: Path) -> None:
    endless, meant = (guard("LIMIT = 2", "LIMIT = 200", hangs=hangs) for hangs in (False, True))
    (project / "test_box.py").write_text(TESTS.replace("def test_it_takes_no_more", "def other"))
    assert attempt(endless, project, 1.0).judgement is Judgement.TIMEOUT
    found = attempt(meant, project, 8.0)
    assert (found.judgement, found.judgement.good) == (Judgement.HUNG, True)
    # nor is what takes that long with its guard, too
    assert attempt(meant, project, 0.05).judgement is Judgement.TIMEOUT


def test_ended_early_it_leaves_the_file_as_it_was_and_no_process(project: Path) -> None:
    (project / "test_box.py").write_text(TESTS.replace("def test_it_takes_no_more", "def other"))
    stopping, results = threading.Event(), []

    def run() -> None:
        endless = guard("LIMIT = 2", "LIMIT = 200")
        results.append(try_out(endless, project, LONG, stopping))

    thread = threading.Thread(target=run)
    thread.start()
    eventually((project / "child.pid").exists, "the test waits", LONG)
    child = psutil.Process(int((project / "child.pid").read_text()))
    stopping.set()
    thread.join(LONG)
    assert [result.judgement for result in results] == [Judgement.TIMEOUT]
    assert (project / "box.py").read_text() == BOX
    eventually(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
        "what the test started has ended",
    )


def test_what_was_compiled_without_a_guard_is_not_taken_for_the_next(project: Path) -> None:
    for without, expected in (("LIMIT = 9", Judgement.CAUGHT), ("LIMIT = 2 ", Judgement.MISSED)):
        assert attempt(guard("LIMIT = 2", without), project).judgement is expected
    assert attempt(guard("LIMIT = 2", "LIMIT = 1"), project).judgement is Judgement.MISSED
    assert attempt(guard("LIMIT = 2", "LIMIT = 8"), project).judgement is Judgement.CAUGHT


@pytest.mark.parametrize(
    ("text", "without", "why"),
    [
        ("LIMIT = 3", "", "its text stands 0 times in box.py, not once"),
        ("LIMIT", "MOST", "its text stands 2 times in box.py, not once"),
        (CHECK, "    if True:\n", "without it box.py is no Python"),
    ],
)
def test_a_guard_that_does_not_fit_is_told(text: str, without: str, why: str) -> None:
    with pytest.raises(Mistaken, match=why):
        mutated(guard(text, without), BOX)


def test_only_a_failing_test_has_noticed() -> None:
    failed, broken = ("a::b",), ("a::c",)
    assert judge(Ran(1, failed, (), ""), hangs=False) is Judgement.CAUGHT
    assert judge(Ran(1, failed, failed, ""), hangs=False) is Judgement.CAUGHT  # its end as well
    assert judge(Ran(1, (), broken, ""), hangs=True) is Judgement.BROKEN
    assert judge(Ran(2, (), broken, ""), hangs=True) is Judgement.BROKEN
    assert judge(Ran(-11, (), (), ""), hangs=True) is Judgement.BROKEN
    assert judge(Ran(0, (), (), ""), hangs=True) is Judgement.MISSED


# --- the run -------------------------------------------------------------------------------------


def test_a_run_tries_all_and_keeps_their_order(project: Path) -> None:
    caught = guard(CHECK, "", name="a limit")
    missed = guard('"full"', '"no room"', name="a word")
    results = mutate.run([missed, caught], 2, LONG, Console(quiet=True), project)
    assert [(found.guard.name, found.judgement) for found in results] == [
        ("a word", Judgement.MISSED),
        ("a limit", Judgement.CAUGHT),
    ]
    table = mutate.markdown(results).splitlines()
    assert table[0] == "| guard | faults | file | caught by | seconds |"
    assert table[2].startswith("| a word | I11 | `box.py` | `not caught` | ")
    assert table[3].startswith(
        "| a limit | I11 | `box.py` | `test_box.py::test_it_takes_no_more` | "
    )
    assert (project / "box.py").read_text() == BOX  # only copies are touched
    assert not (project / "report.xml").exists()


def test_tests_that_fail_as_they_are_prove_nothing(project: Path) -> None:
    (project / "box.py").write_text(BOX.replace("LIMIT = 2", "LIMIT = 3"))
    missed = guard('"full"', '"no room"')
    with pytest.raises(Mistaken, match=r"with all guards in place: .*takes_no_more"):
        mutate.run([missed], 1, LONG, Console(quiet=True), project)


def results(*judgements: Judgement) -> list[Result]:
    return [
        Result(guard("a", "b", name=f"guard {number}"), judgement, "a.py::b[/c]", 1.0, "")
        for number, judgement in enumerate(judgements)
    ]


@pytest.mark.parametrize(
    ("judgement", "status"), [(Judgement.CAUGHT, 0), (Judgement.HUNG, 0), (Judgement.MISSED, 1)]
)
def test_the_status_tells_whether_all_were_caught(
    judgement: Judgement, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutate, "run", lambda *_: results(Judgement.CAUGHT, judgement))
    file, table = tmp_path / "out.json", tmp_path / "out.md"
    done = CliRunner().invoke(mutate.main, ["--json", str(file), "--markdown", str(table)])
    assert done.exit_code == status
    assert ("not noticed: guard 1" in done.output) == (status == 1)
    assert [row["judgement"] for row in json.loads(file.read_text())] == [
        "caught",
        judgement.name.lower(),
    ]
    assert len(table.read_text().splitlines()) == 4


def test_wrong_usage_and_a_list() -> None:
    done = CliRunner().invoke(mutate.main, ["--only", "nothing of this name"])
    assert (done.exit_code, "no guard has 'nothing of this name'" in done.output) == (2, True)
    done = CliRunner().invoke(mutate.main, ["--only", "router_mandatory", "--list"])
    assert (done.exit_code, len(done.output.splitlines())) == (0, 1)


def test_ctrl_c_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mutate, "run", interrupted)
    assert CliRunner().invoke(mutate.main, []).exit_code == 130
