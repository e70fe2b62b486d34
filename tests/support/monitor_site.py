"""A monitor with a login, as a process, and a visitor who speaks HTTP and websocket to it."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from monitor.users import Cost, User, changing, hashed
from tests.support.processes import Process, eventually, free_port, running

NOWHERE: Final = "tcp://127.0.0.1:1"  # where no broker is
PASSWORDS: Final = {"ann": "correct horse", "vic": "battery staple"}
ROLES: Final = {"ann": "operator", "vic": "viewer"}
CHEAP: Final = Cost(n=2, r=1, p=1)
COOKIE: Final = "panelbus-login"
TEXT: Final = 1  # opcodes of websocket frames
CLOSE: Final = 8


def write_users(path: Path, *names: str) -> Path:
    """These of `PASSWORDS`, and nobody else; one that was there stays as it is."""
    with changing(path) as users:
        for gone in users.keys() - set(names):
            del users[gone]
        for name in names:
            if name not in users:
                users[name] = User(ROLES[name], hashed(PASSWORDS[name], CHEAP))
    return path


class Site:
    """A monitor's process and where it is."""

    def __init__(self, process: Process, port: int, scheme: str, users: Path) -> None:
        self.process, self.port, self.users = process, port, users
        self.host = f"127.0.0.1:{port}"
        self.url = f"{scheme}://{self.host}"
        self.clients: list[httpx.Client] = []  # closed with it


@contextmanager
def serving_site(
    directory: Path, *flags: str, server: str = NOWHERE, scheme: str = "http", login: bool = True
) -> Iterator[Site]:
    """``python -m monitor`` where ann is an operator and vic a viewer."""
    port = free_port()
    users = write_users(directory / "users.json", *PASSWORDS)
    words = ["-m", "monitor", "--server", server, "--port", str(port), "--log-level", "debug"]
    words += ["--users", str(users)] if login else []
    with running([*words, *flags], directory / f"monitor-{port}.log") as process:
        serves = f"monitor on {scheme}://"
        eventually(lambda: serves in process.log() or not process.running, "it serves", 60)
        assert process.running, process.log()
        site = Site(process, port, scheme, users)
        try:
            yield site
        finally:
            for client in site.clients:
                client.close()
        assert process.stop() == 0, process.log()
        assert "Traceback" not in process.log(), process.log()


class Visitor:
    """A browser without a page: cookies, forms and a websocket."""

    def __init__(self, site: Site) -> None:
        self.site = site
        # each from an address of its own, as failed logins are counted by it
        self.address = f"127.9.0.{len(site.clients) + 1}"
        transport = httpx.HTTPTransport(local_address=self.address, verify=False)
        self.http = httpx.Client(base_url=site.url, timeout=60, transport=transport)
        site.clients.append(self.http)

    def form_token(self, path: str = "/login") -> str:
        found = re.search(r"name='_xsrf' value='([^']+)'", self.http.get(path).text)
        assert found is not None
        return found[1]

    def log_in(self, name: str, password: str | None = None, **fields: str) -> httpx.Response:
        form = {
            "_xsrf": self.form_token(),
            "username": name,
            "password": PASSWORDS[name] if password is None else password,
            **fields,
        }
        return self.http.post("/login", data=form)

    def bokeh_token(self) -> str:
        """What the page's websocket proves itself with."""
        page = self.http.get("/")
        assert page.status_code == 200, page.headers
        found = re.search(r'"token":"([^"]+)"', page.text)
        assert found is not None
        return found[1]

    @contextmanager
    def websocket(self, token: str, **headers: str) -> Iterator[WebSocket]:
        """The websocket of a page, or how it was refused."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        given = {"Origin": self.site.url, "Cookie": cookies, **headers}
        found = WebSocket(self.site.port, token, given)
        try:
            yield found
        finally:
            found.close()


class WebSocket:
    """The client's end of one, as far as a handshake and reading go (RFC 6455)."""

    def __init__(self, port: int, token: str, headers: dict[str, str]) -> None:
        given = {
            "Host": f"127.0.0.1:{port}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
            "Sec-WebSocket-Protocol": f"bokeh, {token}",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(f"GET /ws HTTP/1.1\r\n{lines}\r\n".encode())
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def read(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame; (0, b"") at the end."""
        head = self._file.read(2)
        if len(head) < 2:
            return 0, b""
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")
        return head[0] & 0x0F, self._file.read(size)

    def acknowledged(self) -> bool:
        """Whether the server takes the session up: its first word is ACK."""
        opcode, payload = self.read()
        return opcode == TEXT and json.loads(payload)["msgtype"] == "ACK"

    def close_code(self) -> int:
        """Reads until the server closes, and why it did."""
        while True:
            opcode, payload = self.read()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")
            if opcode == 0 and not payload:
                return 0

    def close(self) -> None:
        self._file.close()
        self._socket.close()
