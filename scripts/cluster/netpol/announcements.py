"""Addresses of new Pods, told over a socket by the CNI plugin before the Pod's first process starts."""

import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

SOCKET = Path("/run/network-policy/announce.sock")
IN_FORCE_SECONDS = 0.8
"""The plugin waits no longer than this for rules; then the Pod starts anyway."""
UNKNOWN_KEPT_SECONDS = 60.0
"""An announcement may come before the watch shows its Pod, but not by this much."""


class Announcements:
    """What was announced, by Pod uid, and who waits for it to be in force; safe to use from several threads."""

    def __init__(self, changed: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = changed
        self._clock = clock
        self._addresses: dict[str, tuple[str, float]] = {}
        self._progress = threading.Condition()
        self._announced = 0
        self._in_force = 0

    def announce(self, uid: str, address: str) -> bool:
        """Records the address and waits until rules that know it are in force; False when that takes too long."""
        with self._progress:
            self._addresses = {**self._addresses, uid: (address, self._clock())}
            self._announced += 1
            mine = self._announced
        self._changed()
        with self._progress:
            return self._progress.wait_for(lambda: self._in_force >= mine, timeout=IN_FORCE_SECONDS)

    def snapshot(self) -> tuple[int, Mapping[str, str]]:
        """Returns the number of announcements so far and the addresses by uid."""
        with self._progress:
            return self._announced, {uid: address for uid, (address, _) in self._addresses.items()}

    def now_in_force(self, number: int) -> None:
        """Releases whoever waits for the announcements up to ``number``."""
        with self._progress:
            self._in_force = max(self._in_force, number)
            self._progress.notify_all()

    def forget_all_but(self, living: frozenset[str]) -> None:
        """Drops addresses of Pods that are gone; one that is not known yet stays for a while."""
        oldest = self._clock() - UNKNOWN_KEPT_SECONDS
        with self._progress:
            kept = {uid: entry for uid, entry in self._addresses.items() if uid in living or entry[1] > oldest}
            self._addresses = kept


def serve(announcements: Announcements) -> None:
    """Answers the CNI plugin for ever: a line ``UID ADDRESS`` in, a line out once its rules are in force."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            words = self.rfile.readline(200).decode(errors="replace").split()
            if len(words) == 2:
                in_force = announcements.announce(words[0], words[1])
                self.wfile.write(b"in force\n" if in_force else b"late\n")

    SOCKET.unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(SOCKET), Handler) as server:
        server.daemon_threads = True
        server.serve_forever()
