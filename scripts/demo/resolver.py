"""Answers DNS queries for one host name with one address; the cluster's DNS forwards that name's queries here.

CoreDNS could answer by itself, with its plugins `template` or `hosts`; the self-built one holds neither.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator

_HEADER = struct.Struct(">HHHHHH")
_QUESTION_TAIL = struct.Struct(">HH")
_A_RECORD = struct.Struct(">HHHIH")
_NAME_OF_THE_QUESTION = 0xC000 | _HEADER.size
"""A pointer to the name of the only question, instead of the name once more."""

_A, _IN = 1, 1
_TTL_SECONDS = 30
_KNOWN, _NO_SUCH_NAME = 0x8580, 0x8583
"""A response, authoritative, recursion desired and available; the last digit is the code."""


@contextlib.contextmanager
def resolving(host: str, address: str) -> Iterator[int]:
    """Answer queries for `host` at a UDP port of `address`, which is yielded, until the block ends."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, link = self.request
            if (answer := answer_to(query, host, address)) is not None:
                link.sendto(answer, self.client_address)

    with socketserver.UDPServer((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def answer_to(query: bytes, host: str, address: str) -> bytes | None:
    """Return the response to a query: the address for an A of the host, nothing else for it, no other name.

    None for what is not a query with one question.
    """
    try:
        number, flags, questions, *_ = _HEADER.unpack_from(query)
        name, end = _name_at(query, _HEADER.size)
        kind, family = _QUESTION_TAIL.unpack_from(query, end)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    if flags & 0x8000 or questions != 1:
        return None
    question = query[_HEADER.size : end + _QUESTION_TAIL.size]
    if name.lower() != host.lower():
        return _HEADER.pack(number, _NO_SUCH_NAME, 1, 0, 0, 0) + question
    if (kind, family) != (_A, _IN):
        return _HEADER.pack(number, _KNOWN, 1, 0, 0, 0) + question
    packed = socket.inet_aton(address)
    record = _A_RECORD.pack(_NAME_OF_THE_QUESTION, _A, _IN, _TTL_SECONDS, len(packed)) + packed
    return _HEADER.pack(number, _KNOWN, 1, 1, 0, 0) + question + record


def _name_at(message: bytes, offset: int) -> tuple[str, int]:
    """Read a name that is written out; return it with the offset after it."""
    labels = []
    while (length := message[offset]) != 0:
        if length > 63 or offset + 1 + length >= len(message):
            raise IndexError("a label runs over the end")
        labels.append(message[offset + 1 : offset + 1 + length].decode("ascii"))
        offset += 1 + length
    return ".".join(labels), offset + 1
