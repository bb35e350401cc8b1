"""A connection between the sweeps of two ranks."""

import json
import socket
from typing import Any

SECONDS_TO_SEND = 30  # until the other side takes what is sent


class Line:
    """A socket that carries one JSON value a line: no pickle, which could run code."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._rest = b""
        self.is_open = True
        connection.settimeout(SECONDS_TO_SEND)
        _keep_alive(connection)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, value: object) -> None:
        """Send a value; one that the other side no longer takes is dropped."""
        try:
            self._socket.sendall(json.dumps(value).encode() + b"\n")
        except OSError:
            self.is_open = False

    def receive(self) -> list[Any]:
        """The values that have come. Waits for bytes; `is_open` is False once no more can come."""
        try:
            content = self._socket.recv(2**16)
        except OSError:
            content = b""
        self.is_open = self.is_open and bool(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self._socket.close()


def _keep_alive(connection: socket.socket) -> None:
    """Let the system notice within 30 seconds that the other machine can no longer be reached."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = "TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE"  # as macOS calls it
    for name, value in ((idle, 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 30_000)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
