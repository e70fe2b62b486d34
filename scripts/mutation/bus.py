"""Guards of the bus: its sockets, its loop, its keys."""

from __future__ import annotations

from typing import Final

from scripts.mutation.guard import Guard

_SERVER: Final = "tests/broker/test_server.py"
_SOCKETS: Final = "tests/broker/test_sockets.py"
_KEYS: Final = "tests/broker/test_gatekeeper.py"

GUARDS: Final = (
    # --- the loop ---------------------------------------------------------------------------
    Guard(
        "a message is one frame (the .more check)",
        "37",
        "broker/server.py",
        "        if frame.more or route[0] != 0:",
        "        if route[0] != 0:",
        "tests/broker/test_hostile.py::test_a_request_socket_is_told_nothing_and_counted",
    ),
    Guard(
        "frames that follow are read away",
        "37, 43",
        "broker/server.py",
        "        while more:\n            more = self._recv(NOBLOCK, False).more\n",
        "",
        "tests/broker/test_hostile.py::test_random_bytes_on_the_bus_and_on_the_feed",
    ),
    Guard(
        "a routing id that a client chose is refused",
        "21, 35, 43",
        "broker/server.py",
        "frame.more or route[0] != 0:",
        "frame.more:",
        "tests/broker/test_hostile.py::test_a_routing_id_of_a_clients_own_choice_is_refused",
    ),
    Guard(
        "what is no message ends nothing",
        "35, 38, I13",
        "broker/server.py",
        "        except WireError as error:\n            self._reject(route, error)\n",
        "        except WireError as error:\n            raise\n",
        "tests/broker/test_hostile.py::"
        "test_two_thousand_pieces_of_garbage_are_each_answered_and_counted",
    ),
    Guard(
        "log lines about nonsense are rate-limited",
        "35, 41",
        "broker/server.py",
        "        if now >= self._next_reject_log:\n",
        "        if True:\n",
        "tests/broker/test_server.py::"
        "test_a_flood_of_what_is_no_message_is_answered_in_full_and_logged_once",
    ),
    Guard(
        "sending never waits for a peer (DONTWAIT)",
        "28, I11",
        "broker/outbox.py",
        "        push(route, MORE_NOBLOCK)\n",
        "        push(route, zmq.SNDMORE)\n",
        "tests/broker/test_greed.py::"
        "test_a_kill_of_a_peer_that_reads_nothing_stays_pending_until_it_reads",
        hangs=True,
    ),
    Guard(
        "a peer that is gone is noticed at the send",
        "29",
        "broker/server.py",
        "            self._registry.unreachable(route)\n",
        "            pass\n",
        "tests/broker/test_server.py::"
        "test_a_peer_that_has_gone_is_noticed_when_something_is_sent_to_it",
    ),
    Guard(
        "large answers nobody reads are bounded by bytes",
        "28, I11",
        "broker/outbox.py",
        " and len(payload) >= LARGE and not self.unread.has_room(route):\n",
        " and False:\n",
        "tests/broker/test_greed.py::test_large_answers_that_nobody_reads_are_bounded_and_told",
    ),
    Guard(
        "what can't be published yet is not read",
        "I11",
        "broker/server.py",
        "            if len(changes) >= FEED_BACKLOG:\n",
        "            if False:\n",
        "tests/broker/test_greed.py::"
        "test_changes_that_can_not_be_published_as_fast_as_they_come_are_not_read_so_fast",
    ),
    Guard(
        "costly messages leave a turn to the rest",
        "19, I11",
        "broker/server.py",
        "            if time.monotonic() >= until:\n",
        "            if False:\n",
        "tests/broker/test_greed.py::"
        "test_messages_that_cost_much_leave_a_turn_to_the_rest_of_the_loop",
    ),
    Guard(
        "the loop does not wait for the disk",
        "16, 19",
        "broker/writer.py",
        "        self._queue.put(batch)\n",
        "        outcome = self._commit(batch)\n"
        "        self._busy = False\n"
        "        self._on_done(outcome)\n",
        "tests/broker/test_writer.py",
    ),
    Guard(
        "the loop keeps still for a command's commit once only",
        "16, 19",
        "broker/server.py",
        " or batch is self._kept_still_for:\n",
        ":\n",
        f"{_SERVER}::test_nothing_waits_for_the_disk_but_what_needs_it",
        hangs=True,
    ),
    Guard(
        "a command goes to the disk before the messages behind it are handled",
        "19",
        "broker/server.py",
        "                if gather <= 0:\n",
        "                if False:\n",
        f"{_SERVER}::test_a_command_goes_to_the_disk_before_the_messages_behind_it_are_handled",
    ),
    Guard(
        "questions to the disk are bounded",
        "I11",
        "broker/writer.py",
        "        if self._queue.qsize() >= MAX_READS:\n",
        "        if False:\n",
        "tests/broker/test_writer.py",
        hangs=True,
    ),
    Guard(
        "a database that can't be trusted ends the broker",
        "13, 15",
        "broker/server.py",
        "        if isinstance(trouble, StoreUnusable):\n            self._fail(trouble)\n",
        "",
        "tests/broker/test_server.py::test_an_idle_broker_looks_at_its_store_every_second",
        hangs=True,
    ),
    Guard(
        "an idle broker looks at its disk",
        "12, 15",
        "broker/server.py",
        "                self._checking = self._writer.check(",
        "                self._checking = False and self._writer.check(",
        _SERVER,
    ),
    Guard(
        "what was accepted is committed before the end",
        "6, I2",
        "broker/server.py",
        "            self._finish()\n        finally:\n",
        "            pass\n        finally:\n",
        "tests/broker/test_server.py::test_stopping_waits_for_the_disk",
    ),
    # --- sockets ----------------------------------------------------------------------------
    Guard(
        "the ROUTER tells of a vanished peer (ROUTER_MANDATORY)",
        "28, 29",
        "broker/sockets.py",
        "        self.router.set(zmq.ROUTER_MANDATORY, 1)\n",
        "",
        "tests/broker/test_server.py::"
        "test_a_peer_that_has_gone_is_noticed_when_something_is_sent_to_it",
    ),
    Guard(
        "a peer's queue is bounded (SNDHWM)",
        "28, I11",
        "broker/sockets.py",
        "        self.router.set(zmq.SNDHWM, ROUTER_QUEUE)\n",
        "        self.router.set(zmq.SNDHWM, 0)\n",
        "tests/broker/test_greed.py::"
        "test_a_kill_of_a_peer_that_reads_nothing_stays_pending_until_it_reads",
    ),
    Guard(
        "a subscriber's queue is bounded",
        "I11",
        "broker/sockets.py",
        "        feed.set(zmq.SNDHWM, FEED_QUEUE)\n",
        "        feed.set(zmq.SNDHWM, 0)\n",
        "tests/broker/test_greed.py::"
        "test_a_subscriber_that_does_not_read_has_a_bounded_number_of_messages_waiting",
    ),
    Guard(
        "a frame has a limit",
        "36",
        "broker/sockets.py",
        "        end.set(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)\n",
        "",
        "tests/broker/test_hostile.py::test_a_frame_over_the_limit_costs_its_sender_the_connection",
    ),
    Guard(
        "a connection that says nothing is closed",
        "39",
        "broker/sockets.py",
        "        end.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)\n",
        "        end.set(zmq.HANDSHAKE_IVL, 0)\n",
        _SOCKETS,
    ),
    Guard(
        "a network lost without a FIN is noticed by the broker",
        "32",
        "broker/sockets.py",
        "        end.set(zmq.TCP_KEEPALIVE, 1)\n",
        "",
        _SOCKETS,
    ),
    Guard(
        "a socket file in use is not taken over",
        "7",
        "broker/sockets.py",
        "                _spare_what_is_there(address)\n",
        "",
        "tests/broker/test_sockets.py::test_a_socket_file_replaces_neither_another_nor_a_file",
    ),
    Guard(
        "memory of a peak goes back to the system",
        "37",
        "broker/memory.py",
        "        self._give_back()\n",
        "",
        "tests/broker/test_memory.py",
    ),
    Guard(
        "as many files may be open as the system allows",
        "40",
        "broker/open_files.py",
        "        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))\n",
        "",
        "tests/broker/test_open_files.py",
    ),
    Guard(
        "a near limit of files is told before",
        "40",
        "broker/open_files.py",
        "        if share >= WARN_AT and not self._warned:\n",
        "        if False:\n",
        "tests/broker/test_open_files.py",
    ),
    # --- keys -------------------------------------------------------------------------------
    Guard(
        "an unknown key does not get in (ZAP)",
        "41, security",
        "broker/gatekeeper.py",
        "        return False\n",
        "        return True\n",
        _KEYS,
    ),
    Guard(
        "an app's key does not read the feed",
        "42, security",
        "broker/gatekeeper.py",
        "_Door(self, FEED_ROLES)",
        "_Door(self, None)",
        _KEYS,
    ),
    Guard(
        "a broker that judges nobody any more stops",
        "41, security",
        "broker/server.py",
        "        if not gatekeeper.alive:\n",
        "        if False:\n",
        _KEYS,
    ),
    Guard(
        "strangers' log lines are rate-limited",
        "41, security",
        "broker/server.py",
        "        if self._strangers and now.mono >= self._next_stranger_log:\n",
        "        if self._strangers:\n",
        _KEYS,
    ),
    Guard(
        "the feed is reopened when a reader was revoked",
        "41, security",
        "broker/server.py",
        "            self._sockets.reopen_feed()\n"
        "            self._feed_unbound_since = time.monotonic()\n",
        "            pass\n",
        "tests/process/test_keys.py::test_a_key_is_added_and_revoked_while_the_broker_runs",
    ),
    Guard(
        "a new list of keys counts for handshakes",
        "41, security",
        "broker/server.py",
        "        gatekeeper.allow(access)\n",
        "",
        "tests/process/test_keys.py::test_a_key_is_added_and_revoked_while_the_broker_runs",
    ),
    Guard(
        "a bus beyond loopback asks for keys",
        "security",
        "broker/exposure.py",
        "        if not listening.keys and not addresses.is_local(address):\n",
        "        if False:\n",
        "tests/broker/test_exposure.py",
    ),
    Guard(
        "REST beyond loopback asks for tokens",
        "security",
        "broker/exposure.py",
        "    if http is not None and not listening.tokens and not addresses.is_local(http):\n",
        "    if False:\n",
        "tests/broker/test_exposure.py",
    ),
    Guard(
        "a key file is its owner's alone",
        "security",
        "broker/keyring.py",
        "            place(temporary, path)\n",
        "            temporary.chmod(0o644)\n            place(temporary, path)\n",
        "tests/broker/test_keyring.py",
    ),
    Guard(
        "a key everybody can read is none",
        "security",
        "sessionclient/keys.py",
        '    if "secret" in found and os.name == "posix" and stat.S_IMODE(mode) & stat.S_IROTH:\n',
        "    if False:\n",
        "tests/client/test_keys.py",
    ),
)
