"""When the WAL goes into the database: between transactions, with nobody waiting for it, and never on a failed fsync.

SQLite's own checkpoint runs within a commit and ignores its errors: after a failed fsync it would come again, find the
pages written, and let go of the WAL that alone still held them (F4).
"""

import apsw

from managed_agents.eventlog.sqlite.schema import CHECKPOINT_PAGES


class Checkpoints:
    """The checkpoints of a connection. Used on the database thread."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._pages = 0
        connection.set_wal_hook(self._committed)

    def run_if_due(self) -> None:
        """Checkpoint once the WAL is long. Raises: apsw.Error, and then nobody knows what is on the disk."""
        if self._pages >= CHECKPOINT_PAGES:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            self._pages = 0

    def _committed(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK
