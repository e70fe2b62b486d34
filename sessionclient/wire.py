"""The wire: the one definition of the protocol between clients and the broker.

A message is one ZeroMQ frame holding one msgpack map. Its key ``k`` names the kind; the other keys
are that kind's fields, listed once in the tables below together with their types and bounds. A
field that is absent and one that is nil mean the same. Unknown fields are ignored, so that a
later minor version may add some; unknown kinds are refused.

Everything from outside goes through `decode`, which returns a checked message or raises
`WireError` and nothing else. docs/PROTOCOL.md is the prose to these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import msgpack

from sessionclient.errors import Misuse, PeerFault
from sessionclient.fields import (
    Field,
    Integer,
    Seconds,
    Text,
    anything,
    is_bool,
    is_map,
    is_new_id,
    is_secret,
    list_of,
    map_of,
)

PROTOCOL_VERSION: Final = 1

# Bounds of what may cross the wire. Both sides enforce them.
MAX_FRAME_BYTES: Final = 1 << 20
MAX_TEXT_CHARS: Final = 255  # names: app, user, status, task, host
MAX_LONG_TEXT_CHARS: Final = 2000  # reasons and error texts
MAX_ID_CHARS: Final = 64
MAX_BATCH_ITEMS: Final = 2000  # sessions, ended sessions or tasks in one message
MAX_PAGE_ROWS: Final = 1000  # rows in one answer to "list"
MAX_TARGETS: Final = 10_000  # sessions in one command to one process
MAX_NUMBER: Final = 1 << 62
MAX_WAIT: Final = 3600.0  # seconds an answer may be waited for
MAX_SECONDS: Final = 10.0 * 366 * 86400  # ages and waits beyond ten years are nonsense

ROLES: Final = ("app", "viewer", "operator")
ERROR_CODES: Final = (
    "bad_request",
    "unsupported_version",
    "forbidden",
    "not_found",
    "conflict",
    "key_reused",
    "too_many",
    "unavailable",
)

Message = dict[str, Any]


class WireError(PeerFault):
    """Bytes that are not a message of this protocol. ``cause`` is one word for the metrics.

    ``request`` is the request number when it could still be read, so the error can be answered.
    """

    def __init__(self, cause: str, message: str, request: int | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.request = request


class Kind(NamedTuple):
    """One kind of message: its fields and, for the broker's side, who may send it.

    ``roles`` are those of the connection. A request may be made ``by`` somebody who may do less;
    ``by_roles`` are theirs, the connection's own where none are given.
    """

    fields: tuple[Field, ...]
    roles: tuple[str, ...] = ROLES
    by_roles: tuple[str, ...] | None = None

    def allows(self, role: str, by_role: str | None) -> bool:
        """Whether a connection of ``role`` may send it, for somebody of ``by_role`` if not None."""
        if role not in self.roles:
            return False
        return by_role is None or by_role in (self.by_roles or self.roles)


# --- fields of several kinds ---------------------------------------------------------------

_NAME = Text(MAX_TEXT_CHARS)
_LONG = Text(MAX_LONG_TEXT_CHARS, shortest=0)
_REF = Text(MAX_ID_CHARS)  # a reference is looked up, so its alphabet need not be checked
_COUNT = Integer(0, MAX_NUMBER)
_AGE = Seconds(0.0, MAX_SECONDS)
_SAY_NAME = f"text of 1 to {MAX_TEXT_CHARS} characters"
_SAY_LONG = f"text of at most {MAX_LONG_TEXT_CHARS} characters"
_SAY_REF = f"an id of 1 to {MAX_ID_CHARS} characters"
_SAY_COUNT = "a whole number from 0"
_SAY_AGE = "a number of seconds from 0"


def _name(key: str, required: bool = True) -> Field:
    return Field(key, _NAME, _SAY_NAME, required)


def _long(key: str, required: bool = False) -> Field:
    return Field(key, _LONG, _SAY_LONG, required)


def _ref(key: str, required: bool = True) -> Field:
    return Field(key, _REF, _SAY_REF, required)


def _count(key: str, required: bool = True) -> Field:
    return Field(key, _COUNT, _SAY_COUNT, required)


def _age(key: str, required: bool = True) -> Field:
    return Field(key, _AGE, _SAY_AGE, required)


def _new_id(key: str) -> Field:
    return Field(key, is_new_id, f"an id of 1 to {MAX_ID_CHARS} of A-Z a-z 0-9 _ . : -")


# --- what a client may say ------------------------------------------------------------------

_TASK = (  # a finished task; "no" counts from 1 within its session
    _ref("s"),
    Field("no", Integer(1, MAX_NUMBER), "a whole number from 1"),
    _name("name"),
    _age("age"),  # seconds since it started
    _age("took"),  # seconds it ran
    Field("outcome", ("ok", "error").__contains__, "'ok' or 'error'"),
    _long("error"),
)
_SESSION = (  # the whole present state of a session
    _new_id("s"),
    _name("app"),
    _name("user", required=False),
    _age("age"),  # seconds since it started
    _name("status"),
    _name("task", required=False),
    _age("task_age", required=False),
)
_ENDED = (_ref("s"), _name("reason"), _long("error"))
_DONE = Field(
    "done",
    list_of(map_of(*_TASK), MAX_BATCH_ITEMS),
    f"a list of at most {MAX_BATCH_ITEMS} finished tasks",
    required=False,
)
_STATE = (
    Field(
        "sessions",
        list_of(map_of(*_SESSION), MAX_BATCH_ITEMS),
        f"a list of at most {MAX_BATCH_ITEMS} session states",
    ),
    Field(
        "ended",
        list_of(map_of(*_ENDED), MAX_BATCH_ITEMS),
        f"a list of at most {MAX_BATCH_ITEMS} ended sessions",
    ),
    _DONE,
    Field("last", is_bool, "true or false"),
)
_N = _count("n")
_R = _count("r")
_BY = Field(  # on whose behalf: a gateway's or a monitor's user, who may do less than itself
    "by",
    map_of(_name("name"), Field("role", ROLES.__contains__, "a role")),
    "a map of a name and a role",
    required=False,
)
_S = _ref("s")
_APP = ("app",)
_READ = ("viewer", "operator")
_ACT = ("operator",)
_OWN = ("app", "operator")  # an app's user may do it to the sessions that it made itself
_REASON = _long("reason")
_KEY = _name("key", required=False)
_WAIT = Field("wait", Seconds(0.0, MAX_WAIT), f"seconds from 0 to {MAX_WAIT:g}", required=False)


def _request(
    *fields: Field, roles: tuple[str, ...] = _ACT, by_roles: tuple[str, ...] | None = None
) -> Kind:
    """A kind that is answered under its own number."""
    return Kind((_R, *fields, _BY), roles, by_roles)


TO_BROKER: Final[Mapping[str, Kind]] = {
    "hello": Kind(
        (
            _count("v"),
            Field("role", ROLES.__contains__, "'app', 'viewer' or 'operator'"),
            _new_id("instance"),
            Field("secret", is_secret, "16 to 64 bytes"),
            _name("host"),
            _count("pid"),
            Field("interval", Seconds(0.01, 86400.0), "seconds from 0.01 to 86400"),
            _N,
            *_STATE,
        )
    ),
    "hello_part": Kind((_N, *_STATE), _APP),
    "register": Kind((_N, *_SESSION), _APP),
    "status": Kind(
        (_N, _S, _name("status"), _name("task", required=False), _age("task_age", False), _DONE),
        _APP,
    ),
    "end": Kind((_N, *_ENDED, _DONE), _APP),
    "delivered": Kind((_N, Field("c", _REF, _SAY_REF)), _APP),
    "failed": Kind((_N, _S, _long("error", required=True)), _APP),
    "heartbeat": Kind((_N,)),
    "bye": Kind((_N,)),
    "list": _request(
        _name("app", False),
        _name("user", False),
        _name("status", False),
        Field("stale", is_bool, "true or false", required=False),
        Field("limit", Integer(1, MAX_PAGE_ROWS), f"1 to {MAX_PAGE_ROWS}", required=False),
        _count("after", False),  # the seq of the last row of the page before
        roles=_READ,
    ),
    "get": _request(_S, roles=_READ, by_roles=ROLES),
    "find": _request(_ref("prefix"), roles=_READ),
    "commands": _request(roles=_READ),
    "command_state": _request(_ref("c"), _WAIT, _count("seen", False), roles=_READ),
    "tasks": _request(_S, roles=_READ),
    "stats": _request(roles=_READ),
    "create": _request(_name("app"), _name("user", False), by_roles=_OWN),
    "delete": _request(_S, by_roles=_OWN),
    "touch": _request(_S, by_roles=_OWN),
    "set_status": _request(_S, _name("status"), _name("task", False), by_roles=_OWN),
    "kill": _request(_S, _REASON, _KEY, _WAIT),
    "kill_all": _request(_name("app"), _REASON, _KEY),
    "cleanup": _request(_age("older")),
    "audit": _request(
        Field("limit", Integer(1, MAX_PAGE_ROWS), f"1 to {MAX_PAGE_ROWS}", required=False),
        _count("before", False),  # the number of the last row of the page before
    ),
    "backup": _request(_long("file", required=True)),
}

# --- what the broker may say ----------------------------------------------------------------

FROM_BROKER: Final[Mapping[str, Kind]] = {
    "welcome": Kind(
        (
            _N,
            _count("v"),
            _ref("epoch"),
            _long("feed", required=True),
            _age("stale_after"),
            _name("version"),
        )
    ),
    "say_hello": Kind(()),
    "ack": Kind((_N,)),
    "command": Kind(
        (
            _ref("c"),
            _name("command"),
            Field("s", list_of(_REF, MAX_TARGETS), f"at most {MAX_TARGETS} session ids"),
            _REASON,
        )
    ),
    "refused": Kind((_S, _long("reason", required=True))),
    "reply": Kind((_R, Field("result", anything, "anything", required=False))),
    "error": Kind(
        (
            _count("r", required=False),
            Field("code", ERROR_CODES.__contains__, "an error code"),
            _long("message", required=True),
        )
    ),
}

# --- the feed -------------------------------------------------------------------------------

FEED: Final[Mapping[str, Kind]] = {
    "feed": Kind(
        (
            _ref("epoch"),
            _count("n"),  # number of this message; a beat repeats the newest number
            Field("t", Seconds(0.0, float(MAX_NUMBER)), "seconds"),  # the broker's observed clock
            Field("w", Seconds(0.0, float(MAX_NUMBER)), "seconds"),  # its wall clock
            Field(
                "changes",
                list_of(lambda value: type(value) is list and len(value) > 0, MAX_BATCH_ITEMS),
                f"a list of at most {MAX_BATCH_ITEMS} changes",
            ),
            Field("health", is_map, "a map", required=False),
        )
    )
}

# --- bytes ----------------------------------------------------------------------------------


def encode(message: Message, pack: Callable[[Message], bytes] = msgpack.packb) -> bytes:
    """One message as the bytes of its frame.

    A thread that encodes much gives ``pack`` of a `msgpack.Packer` of its own, which takes half
    the time.

    Raises:
        Misuse: it is longer than `MAX_FRAME_BYTES` or holds what msgpack can't express.
    """
    try:
        payload = pack(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise Misuse(f"a {message.get('k')!r} message can't be encoded: {error}") from error
    if len(payload) > MAX_FRAME_BYTES:
        raise Misuse(
            f"a {message.get('k')!r} message of {len(payload)} bytes is over the limit of"
            f" {MAX_FRAME_BYTES}"
        )
    return payload


_NO_EXTENSIONS: Final = "extension types are not used here"


def _refuse_duplicates(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in a map")
    return result


def _refuse_extension(_code: int, _data: bytes) -> Any:
    """For extensions without data; `max_ext_len` refuses the others, timestamps included, for
    which this is not asked."""
    raise ValueError(_NO_EXTENSIONS)


_UNPACK: Final = partial(
    msgpack.unpackb,
    object_pairs_hook=_refuse_duplicates,
    ext_hook=_refuse_extension,
    strict_map_key=True,
    max_ext_len=0,
)


def _unpack(payload: bytes | memoryview) -> Any:
    if len(payload) > MAX_FRAME_BYTES:
        raise WireError("too_large", f"{len(payload)} bytes are over {MAX_FRAME_BYTES}")
    try:
        return _UNPACK(payload)
    # UnpackException covers truncated and extra data, StackError too deep nesting; ValueError is
    # what msgpack raises for broken formats, bounds and UTF-8 and what our own hooks raise.
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError) as error:
        text = str(error) or type(error).__name__  # too deep nesting has no words of its own
        if "max_ext_len" in text:
            text = _NO_EXTENSIONS
        raise WireError("malformed", f"not a msgpack message: {text}") from error


def decode(payload: bytes | memoryview, kinds: Mapping[str, Kind]) -> Message:
    """The checked message in one frame; ``kinds`` is the table of what this side may receive.

    It holds the fields of its kind and no others, so that nothing unchecked can be read later on.

    Raises:
        WireError: whatever is wrong with the bytes.
    """
    message = _unpack(payload)
    if type(message) is not dict:
        raise WireError("malformed", f"expected a map, got {type(message).__name__}")
    name = message.get("k")
    kind = kinds.get(name) if type(name) is str else None
    if kind is None:
        # what is no text may be nested too deep to be shown
        shown = repr(name[:40]) if type(name) is str else f"of type {type(name).__name__}"
        raise WireError("unknown_kind", f"unknown kind {shown}", _request_of(message))
    if name == "hello":  # before the fields, which another version may have changed
        _check_version(message)
    checked: Message = {"k": name}
    for key, check, must_be, required in kind.fields:
        value = message.get(key)
        if value is None:
            if required:
                raise WireError("bad_field", f"{name}: {key} is missing", _request_of(message))
        elif check(value):
            checked[key] = value
        else:
            text = f"{name}: {key} must be {must_be}"
            raise WireError("bad_field", text, _request_of(message))
    return checked


def _request_of(message: Message) -> int | None:
    """The number to answer a faulty message under, if that can be read."""
    request = message.get("r")
    return request if _COUNT(request) else None


def _check_version(hello: Message) -> None:
    version = hello.get("v")
    if version != PROTOCOL_VERSION and _COUNT(version):
        text = (
            f"this broker speaks protocol version {PROTOCOL_VERSION}, you speak {version};"
            " upgrade the older of the two"
        )
        raise WireError("unsupported_version", text, _request_of(hello))
