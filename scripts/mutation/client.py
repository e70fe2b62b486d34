"""Guards of the client in the app's process: kills, forks, its connection, its buffers."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_LINK: Final = "tests/client/test_link.py"
_REPLICA: Final = "tests/client/test_replica.py"
_KILLS: Final = "tests/client/test_replica_kills.py"
_APP: Final = "tests/process/test_app_process.py"

GUARDS: Final = (
    # --- kills ------------------------------------------------------------------------------
    Guard(
        "callbacks run once however often a kill comes",
        "4, 27, I3",
        "sessionclient/replica.py",
        "        elif session_id in self._killed:\n"
        "            pass  # under way; its end will be told\n",
        "",
        _KILLS,
    ),
    Guard(
        "a kill of what has ended is answered",
        "26, I1",
        "sessionclient/replica.py",
        '            self.link.send(now, "end", s=session_id, reason="gone")\n',
        "            pass\n",
        _KILLS,
    ),
    Guard(
        "a failure is told again after each welcome",
        "31, I14",
        "sessionclient/replica.py",
        "        for session_id in self._failures:"
        "  # no hello states these, and one may have been lost\n"
        "            self._tell_failure(session_id, now)\n",
        "",
        _KILLS,
    ),
    Guard(
        "one end is carried out",
        "27, I3",
        "sessionclient/tracker.py",
        "            if self._ending is not None:\n                return None\n",
        "",
        "tests/process/test_app_process.py::"
        "test_a_process_that_exits_while_a_kill_is_carried_out_runs_what_is_left_of_it",
    ),
    Guard(
        "a callback that hangs is left behind",
        "31",
        "sessionclient/callbacks.py",
        "        if self._running.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):\n",
        "        if self._running.acquire():\n",
        "tests/client/test_callbacks.py::"
        "test_a_callback_that_hangs_is_left_behind_and_the_next_one_runs",
        hangs=True,
    ),
    Guard(
        "a callback that fails is reported and stops no other",
        "27",
        "sessionclient/callbacks.py",
        "        except BaseException as error:\n",
        "        except KeyError as error:\n",
        "tests/client/test_callbacks.py",
    ),
    Guard(
        "one callback does not wait for another session's",
        "27, 31",
        "sessionclient/callbacks.py",
        "            grow = self._open >= self._threads\n",
        "            grow = self._threads == 0\n",
        "tests/client/test_runners.py::test_a_job_does_not_wait_for_one_that_takes_long",
        hangs=True,
    ),
    Guard(
        "a page whose loop is blocked is told as alive",
        "31",
        "sessionclient/tracker.py",
        "        if began.wait(PAGE_END_TIMEOUT) and over.wait("
        "PAGE_END_TIMEOUT + panel_hooks.END_TIME):\n",
        "        if began.wait() and over.wait():\n",
        "tests/client/test_tracker.py",
    ),
    Guard(
        "a browser that is slow to answer is no blocked loop",
        "31",
        "sessionclient/tracker.py",
        "began.wait(PAGE_END_TIMEOUT) and over.wait(PAGE_END_TIMEOUT + panel_hooks.END_TIME)",
        "over.wait(PAGE_END_TIMEOUT)",
        "tests/client/test_tracker.py",
    ),
    Guard(
        "the id of a killed page can't be opened again",
        "I10",
        "sessionclient/tracker.py",
        "        self._state.page_ended(self._page.id, self.kill_reason)\n",
        "",
        "tests/browser/test_page_end.py::test_the_id_of_a_killed_session_can_not_be_opened_again",
    ),
    Guard(
        "a reason is shown as text in the page",
        "46, security",
        "sessionclient/panel_hooks.py",
        "  el.textContent = text;\n",
        "  el.innerHTML = text;\n",
        "tests/browser/test_page_end.py::test_nothing_of_a_killed_session_is_left",
    ),
    # --- a fork -----------------------------------------------------------------------------
    Guard(
        "a forked child begins with nothing of its parent's",
        "30",
        "sessionclient/process.py",
        "    _state = ProcessState()\n\n\ndef _at_exit",
        "\n\ndef _at_exit",
        f"{_APP}::test_a_forked_child_has_its_own_sessions_and_spares_its_parents",
        hangs=True,
    ),
    Guard(
        "an inherited session is its parent's",
        "30",
        "sessionclient/tracker.py",
        "        return self._pid != os.getpid()\n",
        "        return False\n",
        f"{_APP}::test_a_forked_child_has_its_own_sessions_and_spares_its_parents",
        hangs=True,
    ),
    Guard(
        "an operator made before a fork says so",
        "30",
        "sessionclient/connection.py",
        "        if self._io.pid != os.getpid():\n",
        "        if False:\n",
        "tests/client/test_tracker.py",
    ),
    # --- the connection ---------------------------------------------------------------------
    Guard(
        "reconnects are spread",
        "9",
        "sessionclient/link.py",
        "self._rng.uniform(0.0, RECONNECT_JITTER) if self._reconnecting else 0.0\n",
        "0.0\n",
        _LINK,
    ),
    Guard(
        "silence gives a connection up",
        "32",
        "sessionclient/link.py",
        "        if self._unanswered_since is not None"
        " and now - self._unanswered_since >= SILENCE:\n",
        "        if False:\n",
        _LINK,
    ),
    Guard(
        "an unanswered hello is said again",
        "21, I14",
        "sessionclient/link.py",
        "        self._hello_at = now + HELLO_TIMEOUT\n",
        '        self._hello_at = float("inf")\n',
        _LINK,
    ),
    Guard(
        "heartbeats come three times before the broker calls it stale",
        "8, I9",
        "sessionclient/link.py",
        "        self._heartbeat_at = now + min(self.interval, self._pace)\n",
        "        self._heartbeat_at = now + self.interval\n",
        "tests/client/test_link.py::"
        "test_the_link_beats_three_times_within_what_the_broker_calls_stale",
    ),
    Guard(
        "a welcome to another hello is ignored",
        "22, 23",
        "sessionclient/link.py",
        '            if self.state == "greeting" and message["n"] <= self.number:\n',
        "            if True:\n",
        _LINK,
    ),
    Guard(
        "online is what the broker has durably",
        "I2",
        "sessionclient/replica.py",
        "    def disconnected(self, _now: float) -> None:\n        self.confirmed.clear()\n",
        "    def disconnected(self, _now: float) -> None:\n        pass\n",
        _REPLICA,
    ),
    Guard(
        "a hello takes confirmations back",
        "50, I2",
        "sessionclient/replica.py",
        "        self._unconfirmed = dict.fromkeys(self.sessions, last)\n"
        "        self.confirmed.clear()\n",
        "        self._unconfirmed = dict.fromkeys(self.sessions, last)\n",
        _REPLICA,
    ),
    Guard(
        "the socket's monitor is drained in any state",
        "44",
        "sessionclient/io_thread.py",
        "            for event in sockets.events():\n",
        '            for event in sockets.events() if machine.next_deadline() < float("inf")'
        " else []:\n",
        "tests/client/test_io_thread.py",
        hangs=True,
    ),
    Guard(
        "messages wait for a finished connection only (IMMEDIATE)",
        "21, 33",
        "sessionclient/io_thread.py",
        "        self._dealer.set(zmq.IMMEDIATE, 1)\n",
        "",
        "tests/client/test_io_thread.py::"
        "test_what_is_said_without_a_connection_is_not_kept_for_the_next_one",
    ),
    Guard(
        "the client's thread never waits for the broker",
        "33, 34",
        "sessionclient/io_thread.py",
        "                self._dealer.send(encode(effect.message, self._pack), zmq.NOBLOCK)\n",
        "                self._dealer.send(encode(effect.message, self._pack))\n",
        "tests/client/test_io_thread.py::test_what_a_broker_does_not_read_is_bounded_and_holds_up_no_end",
        hangs=True,
    ),
    Guard(
        "the client's queues are bounded",
        "34, I11",
        "sessionclient/io_thread.py",
        "        sock.set(zmq.SNDHWM, queue)\n        sock.set(zmq.RCVHWM, queue)\n",
        "        sock.set(zmq.SNDHWM, 0)\n        sock.set(zmq.RCVHWM, 0)\n",
        "tests/client/test_io_thread.py::test_what_a_broker_does_not_read_is_bounded_and_holds_up_no_end",
    ),
    Guard(
        "no wake-up is lost",
        "I14",
        "sessionclient/io_thread.py",
        "        with suppress(BlockingIOError):  # nothing to swallow\n"
        "            self._wake_in.recv(4096)\n"
        "        self._woken = False\n",
        "        self._woken = False\n"
        "        with suppress(BlockingIOError):\n"
        "            self._wake_in.recv(4096)\n",
        "tests/client/test_io_thread.py::"
        "test_a_wake_up_that_comes_as_the_last_is_swallowed_is_not_the_last_one",
    ),
    Guard(
        "a change is not told before its session",
        "I14",
        "sessionclient/hub.py",
        "        for _ in range(changes):\n",
        "        while self._changes:\n",
        "tests/client/test_hub.py::test_a_change_is_not_told_before_its_session",
    ),
    Guard(
        "what can't be sent holds up no end (LINGER)",
        "33",
        "sessionclient/io_thread.py",
        "        sock.set(zmq.LINGER, 0)\n",
        "        sock.set(zmq.LINGER, -1)\n",
        "tests/client/test_io_thread.py::test_what_a_broker_does_not_read_is_bounded_and_holds_up_no_end",
        hangs=True,
    ),
    Guard(
        "what is no message of the broker's ends nothing",
        "35, I13",
        "sessionclient/io_thread.py",
        "                message = decode(payload, FROM_BROKER)\n"
        "            except WireError as error:\n"
        "                self._count_malformed(error)\n",
        "                message = decode(payload, FROM_BROKER)\n"
        "            except KeyError as error:\n"
        "                self._count_malformed(WireError(str(error), str(error)))\n",
        "tests/client/test_io_thread.py",
    ),
    # --- bounded buffers --------------------------------------------------------------------
    Guard(
        "finished tasks that wait are bounded",
        "34, I11",
        "sessionclient/replica.py",
        "        while len(self.done) > MAX_DONE_WAITING:\n",
        "        while False:\n",
        _REPLICA,
    ),
    Guard(
        "ended sessions that wait are bounded",
        "34, I11",
        "sessionclient/replica.py",
        "        while len(self.ended) > MAX_ENDED_WAITING:\n",
        "        while False:\n",
        _REPLICA,
    ),
    Guard(
        "sessions of a process are bounded at the client",
        "34, I11",
        "sessionclient/replica.py",
        "        if len(self.sessions) >= MAX_SESSIONS_PER_PROCESS:\n            return False\n",
        "",
        "tests/client/test_replica.py::test_a_process_has_room_for_so_many_sessions",
    ),
    Guard(
        "changes of one session are one mark",
        "34, I11",
        "sessionclient/hub.py",
        "        if not source.queued:\n",
        "        if True:\n",
        "tests/client/test_hub.py",
    ),
    Guard(
        "questions that wait are bounded",
        "34, I11",
        "sessionclient/requests.py",
        "        if len(self._pending) >= MAX_PENDING:\n",
        "        if False:\n",
        "tests/client/test_requests.py",
    ),
    Guard(
        "what makes something new is not asked twice",
        "2, 24",
        "sessionclient/requests.py",
        "            if pending.sent and pending.kind in ONCE_ONLY:\n"
        "                self._lose(number)\n"
        "            else:\n",
        "            if True:\n",
        "tests/client/test_requests.py",
    ),
    Guard(
        "a slow reader of a watch costs bounded memory",
        "48, I11",
        "sessionclient/watching.py",
        "            elif len(self._changes) >= MAX_WAITING:\n",
        "            elif False:\n",
        "tests/client/test_watching.py",
    ),
)
