"""Names of destinations, resolved beside everything else: a DNS that hangs costs the tools' requests, and no others.

The C library's resolver blocks and can not be stopped, so each question has a thread of its own. There are few of them,
apart from those of the proxy's own calls, and no question waits longer than its time.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

THREADS_MAX = 16
"""Questions at once. More wait for one to end, within their time."""

SECONDS_MAX = 8.0
"""From a question to its answer: two attempts of the C library's, which waits 5 s for each server by default."""

Lookup = Callable[[str, int], Sequence[str]]
"""Blocks, and returns addresses. Raises: OSError, UnicodeError."""


class Resolver:
    """Asks the DNS. The same question is asked once at a time, however many wait for the answer."""

    def __init__(
        self, lookup: Lookup | None = None, *, threads_max: int = THREADS_MAX, seconds_max: float = SECONDS_MAX
    ) -> None:
        self._lookup = lookup or look_up
        self._seconds_max = seconds_max
        self._room = asyncio.Semaphore(threads_max)
        self._asked: dict[tuple[str, int], asyncio.Future[Sequence[str]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a name. Raises: TimeoutError where the DNS is silent, other OSError, UnicodeError."""
        async with asyncio.timeout(self._seconds_max):
            while (asked := self._asked.get((host, port))) is None:
                await self._room.acquire()
                if (host, port) in self._asked:  # somebody asked while this one waited
                    self._room.release()
                    continue
                self._ask(host, port)
            return await asyncio.shield(asked)

    def _ask(self, host: str, port: int) -> None:
        """Start a thread, which holds its room until it ends, however long that takes."""
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[Sequence[str]] = loop.create_future()
        self._asked[host, port] = asked

        def ended(found: Sequence[str] | None, problem: Exception | None) -> None:
            del self._asked[host, port]
            self._room.release()
            if problem is not None:
                asked.set_exception(problem)
                asked.exception()  # whoever asked may have left
            else:
                asked.set_result(found or ())

        def work() -> None:
            found: Sequence[str] | None = None
            problem: Exception | None = OSError(f"{host} was not looked up")
            try:
                found, problem = self._lookup(host, port), None
            except (OSError, UnicodeError) as error:
                problem = error
            finally:
                with suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(ended, found, problem)

        # A daemon: the process ends without it.
        threading.Thread(target=work, name="egress-dns", daemon=True).start()


def look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a name, IPv4 first; the cluster's search domains are not tried. Raises: OSError."""
    absolute = host if "." not in host else f"{host}."
    found = socket.getaddrinfo(absolute, port, type=socket.SOCK_STREAM)
    ordered = sorted(found, key=lambda item: item[0] != socket.AF_INET)
    return list(dict.fromkeys(str(item[4][0]) for item in ordered))
