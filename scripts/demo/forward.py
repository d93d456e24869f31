"""Lets the isolated cluster reach one model endpoint, and nothing else.

A listening socket belongs to the network namespace in which it was made. One thread enters the cluster's namespace,
makes the socket and ends; connections accepted from it are carried, byte for byte, to the endpoint outside. TLS stays
between the proxy and the provider.
"""

import contextlib
import ctypes
import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_CHUNK_BYTES = 1 << 16
_BACKLOG = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where connections go: a host and a TCP port of the machine's own network."""

    host: str
    port: int


def listen_in(namespace: Path, port: int) -> socket.socket:
    """Make a listening TCP socket inside a network namespace. Raises: OSError; needs root."""
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        try:
            _set_namespace(namespace)
            made.append(socket.create_server(("", port), backlog=_BACKLOG))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


def forward(listener: socket.socket, target: Endpoint) -> None:
    """Carry every connection of the listener to the target until the listener is closed; returns at once."""
    threading.Thread(target=_accept, args=(listener, target), daemon=True).start()


def _accept(listener: socket.socket, target: Endpoint) -> None:
    while True:
        try:
            inside, _ = listener.accept()
        except OSError:
            return
        try:
            outside = socket.create_connection((target.host, target.port), timeout=10)
            outside.settimeout(None)
        except OSError:
            inside.close()
            continue
        threading.Thread(target=_relay, args=(inside, outside), daemon=True).start()


def _relay(inside: socket.socket, outside: socket.socket) -> None:
    """Carry both ways until both have ended."""
    with inside, outside:
        answers = threading.Thread(target=_carry, args=(outside, inside), daemon=True)
        answers.start()
        _carry(inside, outside)
        answers.join()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):  # the other way may be through with it
                end.shutdown(socket.SHUT_RDWR)


def _set_namespace(namespace: Path) -> None:
    """Move the calling thread. os.setns exists from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with namespace.open("rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
