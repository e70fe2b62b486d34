"""What every store promises: the same tests for SQLite and for those that tests run beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from broker.store import (
    ALL_WELL,
    Batch,
    EndedBadly,
    Kept,
    Loaded,
    StatusRow,
    Store,
    Tombstone,
)
from broker.store_purge import PURGE_ROWS
from broker.store_sqlite import SqliteStore
from tests.broker.stores import (
    EVERYTHING,
    DictStore,
    audit_row,
    command,
    ended,
    finished,
    process,
    session,
    task,
)
from tests.simulation.store import SimStore, TwinStore

OpenStore = Callable[[Path], Store]


def _dicts(_path: Path) -> Store:
    return DictStore()


def _simulated(_path: Path) -> Store:
    return SimStore()


@pytest.fixture(
    params=[SqliteStore.open, _dicts, _simulated, TwinStore], ids=["sqlite", "dicts", "sim", "twin"]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    open_store: OpenStore = request.param
    with ExitStack() as stack:
        yield stack.enter_context(closing(open_store(tmp_path / "sessions.db")))


def load(store: Store, tombstones: int = EVERYTHING, commands: int = EVERYTHING) -> Loaded:
    return store.load(max_tombstones=tombstones, max_commands=commands, max_gone=EVERYTHING)


def ids_of_commands(store: Store, limit: int = EVERYTHING) -> list[str]:
    return [row.command_id for row in load(store, commands=limit).commands]


def test_a_new_store_is_empty(store: Store) -> None:
    assert load(store) == Loaded()
    assert store.tasks("s", 10) == []


def test_every_kind_of_row_comes_back_as_it_went_in(store: Store) -> None:
    busy = session(
        "s", 1, status="läuft \N{GRINNING FACE}", current_task="a\0b", task_start=1.25, user_id=None
    )
    plain = session("s2", 7, kill_command="c", kill_error="no", app_name="x" * 255)
    order = command(
        "c",
        app_name="sales",
        targets=("s2", "s", "gone"),
        reason=None,
        key="once",
        digest=bytes(range(32)),
        stage="delivered",
        delivered=2,
        completed=1,
        failed=3,
    )
    done = task(1, outcome="error", error="ValueError: no", started_at=1.125)
    store.commit(Batch([process(pid=1 << 62)], [busy, plain], [done], [order]))
    assert load(store) == Loaded([process(pid=1 << 62)], [busy, plain], [order], [], 7)
    assert store.tasks("s", 10) == [done]


def test_a_process_is_loaded_only_for_its_live_sessions(store: Store) -> None:
    rest = process("r", source="rest", secret_hash=None)
    store.commit(
        Batch(
            [process("p"), process("idle"), rest],
            [session("a", 1), session("b", 2), session("c", 3, process="r"), ended("d", 4)],
        )
    )
    assert sorted(row.instance for row in load(store).processes) == ["p", "r"]
    store.commit(Batch(sessions=[ended("c", 3, process="r")]))
    assert [row.instance for row in load(store).processes] == ["p"]


def test_sessions_come_in_the_order_of_their_registration(store: Store) -> None:
    store.commit(Batch([process()], [session("a", 30), session("b", 4)]))
    store.commit(Batch(sessions=[session("c", 17)]))
    assert [row.seq for row in load(store).sessions] == [4, 17, 30]


def test_a_row_replaces_the_row_of_its_key(store: Store) -> None:
    store.commit(Batch([process()], [session()], [task(1)], [command()]))
    later = Batch(
        [process(host="host2")],
        [session(status="running", current_task="load", task_start=3.0)],
        [task(1, name="renamed")],
        [command(stage="delivered", delivered=1)],
    )
    store.commit(later)
    assert load(store) == Loaded(later.processes, later.sessions, later.commands, [], 1)
    assert store.tasks("s", 10) == later.tasks


def test_the_last_of_two_rows_of_one_key_in_a_batch_counts(store: Store) -> None:
    orders = [command(), finished("c", 11.0)]
    store.commit(Batch([process()], [session(), session(status="running")], [], orders))
    assert [row.status for row in load(store).sessions] == ["running"]
    assert load(store).commands == orders[1:]


def test_the_same_batch_twice_changes_nothing(store: Store) -> None:
    batch = Batch(
        [process()],
        [session("s", 1), ended("e", 2), ended("t", 3, reason="stale")],
        [task(1), task(2)],
        [command(), finished("d", 5.0), command("r", stage="refused")],
        [("p", 33.0)],
        1.0,
    )
    store.commit(batch)
    once = load(store)
    store.commit(batch)
    assert load(store) == once
    assert store.tasks("s", 10) == [task(1), task(2)]


def test_an_empty_batch_is_no_batch_and_changes_nothing(store: Store) -> None:
    store.commit(Batch([process()], [session()]))
    before = load(store)
    assert not Batch()
    store.commit(Batch())
    assert load(store) == before


@pytest.mark.parametrize(
    "batch",
    [
        Batch(processes=[process()]),
        Batch(sessions=[session()]),
        Batch(tasks=[task(1)]),
        Batch(commands=[command()]),
        Batch(heard=[("p", 1.0)]),
        Batch(purge_before=0.0),
    ],
    ids=["processes", "sessions", "tasks", "commands", "heard", "purge"],
)
def test_anything_at_all_makes_a_batch(batch: Batch) -> None:
    assert batch


# --- ends ----------------------------------------------------------------------------------------


def test_what_has_ended_stays_ended_as_it_did(store: Store) -> None:
    store.commit(Batch([process()], [ended(reason="killed", kill_command="c")]))
    store.commit(Batch(sessions=[session(status="running")]))
    store.commit(Batch(sessions=[ended(at=99.0, reason="stale")]))
    loaded = load(store)
    assert loaded.sessions == []
    assert loaded.tombstones == [Tombstone("s", 1, "killed", 20.0, "c", "p")]


def test_an_end_and_a_later_live_row_in_one_batch_is_an_end(store: Store) -> None:
    store.commit(Batch([process()], [ended(), session()]))
    assert load(store).sessions == []


def test_an_end_for_silence_is_taken_back_by_a_live_row(store: Store) -> None:
    store.commit(Batch([process()], [ended(reason="stale", end_error="silent")]))
    assert [row.reason for row in load(store).tombstones] == ["stale"]
    store.commit(Batch(sessions=[session(seq=5)]))
    loaded = load(store)
    assert loaded.sessions == [session(seq=5)]
    assert loaded.tombstones == []
    assert loaded.last_seq == 5


def test_an_end_for_silence_gives_way_to_the_true_end(store: Store) -> None:
    store.commit(Batch([process()], [ended(reason="stale")]))
    store.commit(Batch(sessions=[ended(at=30.0, reason="closed")]))
    store.commit(Batch(sessions=[session()]))
    assert load(store).tombstones == [Tombstone("s", 1, "closed", 30.0, None, "p")]


def test_the_newest_tombstones_are_kept_and_the_newest_comes_last(store: Store) -> None:
    ends = [ended(f"s{number}", number, at=100.0 - number) for number in range(1, 6)]
    store.commit(Batch([process()], ends))
    assert [row.session_id for row in load(store).tombstones] == ["s5", "s4", "s3", "s2", "s1"]
    assert [row.session_id for row in load(store, tombstones=2).tombstones] == ["s2", "s1"]
    assert load(store, tombstones=0).tombstones == []


def test_tombstones_of_one_moment_come_in_the_order_of_registration(store: Store) -> None:
    store.commit(Batch([process()], [ended(f"s{number}", number) for number in (3, 1, 2)]))
    assert [row.seq for row in load(store).tombstones] == [1, 2, 3]
    assert [row.seq for row in load(store, tombstones=2).tombstones] == [2, 3]


def test_the_last_seq_counts_ended_sessions_too(store: Store) -> None:
    store.commit(Batch([process()], [session("a", 3), ended("b", 8)]))
    assert load(store).last_seq == 8
    assert load(store, tombstones=0).last_seq == 8


def test_a_seq_is_never_given_out_again_after_its_session_was_forgotten(store: Store) -> None:
    store.commit(Batch([process()], [session("a", 3), ended("b", 8)]))
    store.commit(Batch(purge_before=1_000.0))
    assert load(store).last_seq == 8


def test_the_secrets_of_processes_without_live_sessions_come_last_heard_last(store: Store) -> None:
    old, new = process("old", heard_at=5.0), process("new", heard_at=6.0, secret_hash=b"n")
    store.commit(Batch([process(), new, old], [session(), ended("s2", 2, process="old")]))
    assert load(store).gone == [("old", b"\x00\xffhash"), ("new", b"n")]
    newest = store.load(max_tombstones=0, max_commands=0, max_gone=1)
    assert newest.gone == [("new", b"n")]


# --- commands ------------------------------------------------------------------------------------


def test_commands_come_oldest_first_whatever_their_state(store: Store) -> None:
    store.commit(
        Batch(commands=[finished("b", 2.0), command("d", 4.0), finished("c", 3.0), command("a", 1)])
    )
    assert ids_of_commands(store) == ["a", "b", "c", "d"]


def test_the_newest_finished_commands_are_kept_and_all_the_unfinished(store: Store) -> None:
    done = [finished(f"f{number}", float(number)) for number in range(5)]
    late = finished("late", -9.0, finished_at=50.0)
    store.commit(Batch(commands=[*done, late, command("u1", 0.5), command("u2", -10.0)]))
    assert ids_of_commands(store, 2) == ["u2", "late", "u1", "f4"]
    assert ids_of_commands(store, 0) == ["u2", "u1"]


@pytest.mark.parametrize("finished_at", [None, 60.0])
def test_a_refused_command_never_comes_back(store: Store, finished_at: float | None) -> None:
    store.commit(Batch(commands=[command("r"), finished("f", 1.0)]))
    store.commit(Batch(commands=[command("r", stage="refused", finished_at=finished_at)]))
    assert ids_of_commands(store) == ["f"]
    assert ids_of_commands(store, 1) == ["f"]


# --- what is written lazily ----------------------------------------------------------------------


def test_heard_moves_nothing_but_when_a_process_was_heard(store: Store) -> None:
    store.commit(Batch([process()], [session()]))
    store.commit(Batch(heard=[("p", 77.5), ("nobody", 78.0)]))
    assert load(store).processes == [process(heard_at=77.5)]
    store.commit(Batch([process(heard_at=80.0)], heard=[("p", 81.0)]))
    assert load(store).processes == [process(heard_at=81.0)]


def test_tasks_are_the_newest_few_oldest_first(store: Store) -> None:
    numbers = [3, 11, 1, 2, 10]
    store.commit(Batch(tasks=[task(number) for number in numbers]))
    store.commit(Batch(tasks=[task(4, "other")]))
    assert [row.task_no for row in store.tasks("s", 10)] == [1, 2, 3, 10, 11]
    assert [row.task_no for row in store.tasks("s", 2)] == [10, 11]
    assert store.tasks("s", 0) == []
    assert store.tasks("other", 1) == [task(4, "other")]
    assert store.tasks("nobody", 1) == []


# --- forgetting ----------------------------------------------------------------------------------


def test_a_purge_forgets_what_ended_before_and_only_that(store: Store) -> None:
    sessions = [
        ended("old", 1, at=10.0),
        ended("edge", 2, at=20.0),
        ended("new", 3, at=30.0),
        session("live", 4, start_time=1.0),
    ]
    orders = [
        finished("done", 8.0),
        finished("later", 25.0),
        command("open", 1.0),
    ]
    tasks = [task(1, row.session_id) for row in sessions]
    store.commit(Batch([process(heard_at=1.0)], sessions, tasks, orders))
    store.commit(Batch(purge_before=20.0))
    loaded = load(store)
    assert [row.session_id for row in loaded.tombstones] == ["edge", "new"]
    assert [row.session_id for row in loaded.sessions] == ["live"]
    assert [row.instance for row in loaded.processes] == ["p"]
    assert [row.command_id for row in loaded.commands] == ["open", "later"]
    kept = [row.session_id for row in sessions if store.tasks(row.session_id, 1)]
    assert kept == ["edge", "new", "live"]


def test_a_purge_in_the_batch_of_an_end_takes_the_old_along(store: Store) -> None:
    store.commit(Batch([process()], [ended("old", 1, at=5.0)]))
    store.commit(Batch(sessions=[ended("new", 2, at=50.0)], purge_before=20.0))
    assert [row.session_id for row in load(store).tombstones] == ["new"]


def test_a_purge_takes_a_bounded_piece_and_the_next_one_the_rest(store: Store) -> None:
    count = PURGE_ROWS + PURGE_ROWS // 2
    store.commit(
        Batch(
            [process()],
            [ended(f"s{number}", number + 1, at=1.0) for number in range(count)],
            [task(1, f"s{number}") for number in range(count)],
            [finished(f"c{number}", 1.0) for number in range(count)],
        )
    )
    assert store.commit(Batch(purge_before=100.0)).more_to_purge
    loaded = load(store)
    assert 0 < len(loaded.tombstones) < count
    assert 0 < len(loaded.commands) < count
    left = {row.session_id for row in loaded.tombstones}
    with_tasks = {name for number in range(count) if store.tasks(name := f"s{number}", 1)}
    assert with_tasks == left
    assert not store.commit(Batch(purge_before=100.0)).more_to_purge
    assert load(store).tombstones == []
    assert load(store).commands == []


def test_each_kind_of_history_tells_that_there_is_more_of_it(store: Store) -> None:
    count = PURGE_ROWS + 1
    for batch in (
        Batch([process()], [ended(f"s{number}", number + 1, at=1.0) for number in range(count)]),
        Batch(commands=[finished(f"c{number}", 1.0) for number in range(count)]),
        Batch([process(f"gone{number}", heard_at=1.0) for number in range(count)]),
    ):
        assert not store.commit(batch).more_to_purge
        assert store.commit(Batch(purge_before=100.0)).more_to_purge
        assert not store.commit(Batch(purge_before=100.0)).more_to_purge
    rows = [audit_row(number, at=1.0) for number in range(1, count + 1)]
    assert not store.commit(Batch(audit=rows)).more_to_purge
    assert store.commit(Batch(purge_audit_before=100.0, purge_before=100.0)).more_to_purge
    assert not store.commit(Batch(purge_audit_before=100.0, purge_before=100.0)).more_to_purge


# --- closing -------------------------------------------------------------------------------------


def test_closing_twice_is_closing(store: Store) -> None:
    store.close()
    store.close()


def test_a_file_opened_again_holds_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(SqliteStore.open(path)) as first:
        first.commit(Batch([process()], [session("a", 1), ended("b", 2)], [task(1)], [command()]))
        before = load(first)
    with closing(SqliteStore.open(path)) as second:
        assert load(second) == before
        assert second.tasks("s", 10) == [task(1)]
        second.commit(Batch(sessions=[ended("a", 1)]))
    with closing(SqliteStore.open(path)) as third:
        assert [row.session_id for row in load(third).tombstones] == ["a", "b"]
        assert load(third).sessions == []


# --- the audit -----------------------------------------------------------------------------------


def test_audit_rows_come_newest_first_a_page_at_a_time(store: Store) -> None:
    entries = [audit_row(n, targets=("s", "ä"), detail="x\0") for n in range(1, 6)]
    store.commit(Batch(audit=entries[:3]))
    store.commit(Batch(audit=entries[3:]))
    assert store.audit(None, 2) == [entries[4], entries[3]]
    assert store.audit(4, 10) == [entries[2], entries[1], entries[0]]
    assert store.audit(1, 10) == []
    assert load(store).last_audit == 5


def test_an_audit_row_that_is_there_stays_as_it_is(store: Store) -> None:
    store.commit(Batch(audit=[audit_row(1)]))
    store.commit(Batch(audit=[audit_row(1, actor="somebody else"), audit_row(2)]))
    assert store.audit(None, 10) == [audit_row(2), audit_row(1)]


def test_old_audit_rows_are_purged_and_their_numbers_not_given_again(store: Store) -> None:
    store.commit(Batch(audit=[audit_row(n, at=float(n)) for n in (10, 11, 12)]))
    store.commit(Batch(purge_audit_before=12.0))
    assert [row.number for row in store.audit(None, 10)] == [12]
    store.commit(Batch(purge_audit_before=99.0))
    assert store.audit(None, 10) == []
    assert load(store).last_audit == 12


# --- what a commit tells -------------------------------------------------------------------------


def test_a_commit_tells_which_ends_it_would_not_undo(store: Store) -> None:
    rows = [ended("a", 1, kill_command="c"), ended("b", 2, reason="stale"), session("c", 3)]
    assert store.commit(Batch([process()], rows)) == ALL_WELL
    again = [session("a", 11), session("b", 12), session("c", 3, status="busy"), session("d", 13)]
    kept = store.commit(Batch(sessions=again))
    assert kept == Kept((Tombstone("a", 1, "closed", 20.0, "c", "p"),))
    assert [row.session_id for row in load(store).sessions] == ["c", "b", "d"]


def test_so_does_one_of_very_many_rows(store: Store) -> None:
    first = [ended("s7", 1), *(session(f"s{n}", n) for n in range(100, 400))]
    assert store.commit(Batch([process()], first)) == ALL_WELL
    again = [session(f"s{n}", n, status="busy") for n in range(100, 399)]
    again[150:150] = [session("s7", 99), session("s100", 100, status="newest")]
    assert store.commit(Batch(sessions=again)).refused == (
        Tombstone("s7", 1, "closed", 20.0, None, "p"),
    )
    found = {row.session_id: row.status for row in load(store).sessions}
    assert found == dict.fromkeys(found, "busy") | {"s100": "newest", "s399": "idle"}
    assert len(found) == 300


def test_a_status_changes_what_it_names_and_nobody_who_has_ended(store: Store) -> None:
    rows = [session("a", 1), session("b", 2), ended("c", 3), ended("d", 4, reason="stale")]
    store.commit(Batch([process()], rows))
    news = [StatusRow(sid, "busy", "load", 12.5, "k", "no") for sid in ("a", "c", "d", "nobody")]
    assert store.commit(Batch(statuses=news)) == ALL_WELL
    changed = session("a", 1, status="busy", current_task="load", task_start=12.5)
    changed = changed._replace(kill_command="k", kill_error="no")
    loaded = load(store)
    assert loaded.sessions == [changed, session("b", 2)]
    assert {stone.session_id: stone.kill_command for stone in loaded.tombstones} == {
        "c": None,
        "d": None,
    }


def test_a_status_comes_after_the_rows_of_its_commit(store: Store) -> None:
    store.commit(Batch([process()], [session("a", 1)]))
    news = [
        StatusRow("a", "busy", None, None, None, None),
        StatusRow("b", "x", "y", 1.0, None, None),
    ]
    store.commit(Batch(sessions=[session("a", 1, status="idle"), session("b", 2)], statuses=news))
    assert [row.status for row in load(store).sessions] == ["busy", "x"]


def test_an_end_told_again_is_no_reopening(store: Store) -> None:
    batch = Batch([process()], [ended("a", 1), session("b", 2)])
    store.commit(batch)
    assert store.commit(batch) == ALL_WELL
    assert store.commit(Batch(sessions=[ended("a", 1, reason="refused")])) == ALL_WELL
    assert load(store).tombstones[0].reason == "closed"


def test_of_ended_sessions_under_a_kill_it_is_known_what_went_wrong(store: Store) -> None:
    rows = [
        ended("well", 1, kill_command="c"),
        ended("late", 2, kill_command="c", end_error="too late"),
        ended("twice", 3, at=30.0, kill_command="d", kill_error="no", end_error="at last"),
        ended("own", 4, end_error="nobody asked"),
        session("lives", 5, kill_command="c", kill_error="no"),
    ]
    store.commit(Batch([process()], rows))
    assert load(store).ended_badly == {
        "late": EndedBadly("c", None, "too late"),
        "twice": EndedBadly("d", "no", "at last"),
    }
    assert list(load(store, commands=1).ended_badly) == ["twice"]


def test_a_store_that_is_well_says_so(store: Store) -> None:
    assert store.check(probe=False) is None
    assert store.check(probe=True) is None
