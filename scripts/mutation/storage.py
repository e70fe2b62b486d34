"""Guards of the store: whose file it is, what a commit is worth, full and broken disks, copies."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_SQLITE: Final = "tests/broker/test_store_sqlite.py"
_FAULTS: Final = "tests/broker/test_store_faults.py"
_DISK: Final = "tests/broker/test_store_disk.py"
_COPY: Final = "tests/broker/test_store_copy.py"

GUARDS: Final = (
    # --- whose file it is -------------------------------------------------------------------
    Guard(
        "a second broker on the same database is refused",
        "7",
        "broker/file_lock.py",
        "        if not taken:\n",
        "        if False:\n",
        "tests/broker/test_file_lock.py::test_a_second_one_is_refused_and_told_the_first",
    ),
    Guard(
        "an empty file is no database",
        "14",
        "broker/store_opening.py",
        "    if not start:\n",
        "    if False:\n",
        "tests/broker/test_store_sqlite.py::test_an_empty_file_is_refused_and_left_alone",
    ),
    Guard(
        "a file of another kind is refused",
        "14",
        "broker/store_opening.py",
        "    if start != SQLITE_MAGIC:\n",
        "    if False:\n",
        "tests/broker/test_store_sqlite.py::test_a_file_of_another_kind_is_refused_and_left_alone",
    ),
    Guard(
        "another program's database is refused (application_id)",
        "14",
        "broker/store_opening.py",
        "    if application_id != schema.APPLICATION_ID and"
        " (tables or version or application_id):\n",
        "    if False:\n",
        _SQLITE,
    ),
    Guard(
        "a newer schema is refused (user_version)",
        "17",
        "broker/store_opening.py",
        "    if version > schema.VERSION:\n",
        "    if False:\n",
        _SQLITE,
    ),
    Guard(
        "a file that vanished is not made anew",
        "13, 15",
        "broker/store_opening.py",
        '        f"{path.as_uri()}?mode=rw",\n',
        '        f"{path.as_uri()}?mode=rwc",\n',
        f"{_DISK} {_FAULTS}",
    ),
    Guard(
        "a file that was removed or replaced is noticed",
        "15",
        "broker/store_sqlite.py",
        "        if identity(self._path) != self._identity and not self._broken:\n",
        "        if False:\n",
        "tests/broker/test_store_faults.py::"
        "test_a_file_that_was_deleted_is_noticed_by_the_next_commit",
    ),
    Guard(
        "a new database is never met half made",
        "5, 14",
        "broker/store_opening.py",
        "        files.create(new)\n"
        "        files.give_to_owner_of(new, path.parent)\n"
        "        connect(new, busy_timeout).close()\n"
        "        files.place(new, path)\n",
        "        files.create(path)\n"
        "        files.give_to_owner_of(path, path.parent)\n"
        "        connect(path, busy_timeout).close()\n",
        "tests/broker/test_schema.py::test_a_first_start_that_fails_leaves_no_file",
    ),
    Guard(
        "new files are their owner's alone",
        "security",
        "broker/files.py",
        "    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))\n",
        "    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))\n",
        "tests/broker/test_store_disk.py::"
        "test_new_files_are_the_owner_s_alone_and_old_ones_stay_as_they_are",
    ),
    # --- what a commit is worth -------------------------------------------------------------
    Guard(
        "a migration is one transaction",
        "5",
        "broker/schema.py",
        '            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}"\n',
        '            f"{MIGRATIONS[number]} BEGIN IMMEDIATE;"\n',
        "tests/broker/test_schema.py",
    ),
    Guard(
        "a commit is waited for (synchronous=FULL)",
        "1, 2, I2",
        "broker/store_opening.py",
        '    connection.execute("PRAGMA synchronous = FULL")\n',
        '    connection.execute("PRAGMA synchronous = NORMAL")\n',
        "tests/broker/test_store_sqlite.py::test_commits_are_logged_ahead_and_waited_for",
    ),
    Guard(
        "a transaction asks for its lock at once (BEGIN IMMEDIATE)",
        "16",
        "broker/store_sqlite.py",
        '            connection.execute("BEGIN IMMEDIATE")\n            done',
        '            connection.execute("BEGIN")\n            done',
        _FAULTS,
    ),
    Guard(
        "a failed batch leaves nothing of itself",
        "11, 18",
        "broker/store_sqlite.py",
        '                connection.execute("ROLLBACK")\n',
        '                connection.execute("COMMIT")\n',
        "tests/broker/test_store_faults.py::test_a_batch_with_one_bad_row_leaves_nothing_of_itself",
    ),
    Guard(
        "a locked database is waited for, within bounds",
        "16",
        "broker/store_opening.py",
        "        timeout=busy_timeout,\n",
        "        timeout=0.0,\n",
        _FAULTS,
    ),
    Guard(
        "another program's lock is passing",
        "16",
        "broker/store_errors.py",
        "    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):\n",
        "    if False:\n",
        _FAULTS,
    ),
    Guard(
        "an I/O error is answered by opening and writing again",
        "18",
        "broker/store_sqlite.py",
        "                if not is_io_error(error):\n                    raise\n",
        "                raise\n",
        "tests/broker/test_store_faults.py::"
        "test_an_io_error_is_answered_by_opening_and_writing_again",
    ),
    Guard(
        "a disk that keeps failing stops the broker",
        "18",
        "broker/store_sqlite.py",
        "            if self._io_failures >= MAX_IO_FAILURES:\n",
        "            if False:\n",
        "tests/broker/test_store_disk.py::"
        "test_a_disk_that_keeps_failing_stops_the_broker_after_some_tries",
    ),
    Guard(
        "a damaged page stops the broker, naming the backup",
        "13",
        "broker/store_errors.py",
        "    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):\n",
        "    if False:\n",
        _FAULTS,
    ),
    Guard(
        "no row opens an end again",
        "I10",
        "broker/store_writing.py",
        '("session_id",), _KEEP_ENDED)',
        '("session_id",))',
        "tests/broker/test_store.py",
    ),
    Guard(
        "a number of a session is given once",
        "I5, I8",
        "broker/store_sqlite.py",
        "            \" UNION ALL SELECT value FROM counters WHERE name = 'last_seq')\"\n",
        '            ")"\n',
        "tests/broker/test_store.py",
    ),
    Guard(
        "a refused kill never comes back",
        "1, 18",
        "broker/store_sqlite.py",
        "FROM commands WHERE finished_at IS NULL AND stage <> 'refused'",
        "FROM commands WHERE finished_at IS NULL",
        "tests/broker/test_store.py",
    ),
    Guard(
        "the audit can't be changed",
        "I12, security",
        "broker/schema.py",
        "    CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN\n",
        "    CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit WHEN 0 BEGIN\n",
        _SQLITE,
    ),
    Guard(
        "nothing is taken from the audit",
        "I12, security",
        "broker/schema.py",
        "    WHEN OLD.at >= coalesce(",
        "    WHEN 0 AND OLD.at >= coalesce(",
        _SQLITE,
    ),
    Guard(
        "a batch written twice notes nothing twice",
        "18, I12",
        "broker/schema.py",
        "    WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number) BEGIN\n",
        "    WHEN 0 BEGIN\n",
        "tests/broker/test_store.py::test_an_audit_row_that_is_there_stays_as_it_is",
    ),
    # --- full disks -------------------------------------------------------------------------
    Guard(
        "space is held in reserve and given up",
        "11",
        "broker/store_sqlite.py",
        '        if found.cause == "full":\n            self._reserve.give_up()\n',
        '        if found.cause == "full":\n            pass\n',
        _DISK,
    ),
    Guard(
        "a commit that succeeds is no proof of space",
        "11, 12",
        "broker/store_sqlite.py",
        '        if self._trouble is not None and self._trouble.cause != "full":\n',
        "        if self._trouble is not None:\n",
        _DISK,
    ),
    Guard(
        "space that returned is proved by a checkpoint",
        "11, 12",
        "broker/store_sqlite.py",
        '        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()\n',
        "",
        _DISK,
    ),
    Guard(
        "space that returned is proved by new pages",
        "11, 12",
        "broker/store_sqlite.py",
        "        self._transact(self._write_probe)\n",
        "",
        _DISK,
    ),
    Guard(
        "space that returned is noticed without a restart",
        "12, I14",
        "broker/store_sqlite.py",
        "            else:\n                self._trouble = None\n        return self._trouble\n",
        "        return self._trouble\n",
        _DISK,
    ),
    Guard(
        "a broker killed on a full disk starts again",
        "11, 12",
        "broker/store_sqlite.py",
        "                if not Reserve(path, reserve).give_up():\n                    raise\n",
        "                raise\n",
        _DISK,
    ),
    # --- copies -----------------------------------------------------------------------------
    Guard(
        "a copy is of one instant",
        "20",
        "broker/store_copy.py",
        '            source.execute("BEGIN")\n',
        "",
        _COPY,
    ),
    Guard(
        "damage is not copied",
        "13, 20",
        "broker/store_copy.py",
        '    if found != "ok":\n        raise damaged',
        "    if False:\n        raise damaged",
        "tests/broker/test_store_copy.py::test_damage_is_not_copied",
    ),
    Guard(
        "a copy overwrites nothing",
        "20, security",
        "broker/files.py",
        "        os.link(finished, final)\n",
        "        os.replace(finished, final)\n        finished.touch()\n",
        _COPY,
    ),
    Guard(
        "a copy leaves the disk some room",
        "11, 20",
        "broker/store_copy.py",
        "        _must_fit(database, path)\n",
        "",
        "tests/broker/test_store_copy.py::test_a_disk_without_room_is_told_and_not_filled",
    ),
    Guard(
        "a damaged backup is not restored",
        "13",
        "broker/restore.py",
        '    if found != "ok":\n',
        "    if False:\n",
        "tests/broker/test_restore.py::test_a_damaged_backup_is_refused",
    ),
    Guard(
        "the database before is kept by a restore",
        "13",
        "broker/restore.py",
        "        _second_name(database, aside)\n",
        "        pass\n",
        "tests/broker/test_restore.py::"
        "test_the_backup_takes_the_place_and_the_files_before_are_kept",
    ),
)
