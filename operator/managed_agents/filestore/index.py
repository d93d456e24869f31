"""The table of files: one connection, for one thread. Bytes are counted once, however many files share them."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import apsw

from managed_agents.contracts.errors import NotFoundError, RetryableError
from managed_agents.filestore.errors import FileVolumeFullError
from managed_agents.filestore.records import File, Listing, Origin

_TABLES = """
CREATE TABLE IF NOT EXISTS contents (
  content TEXT PRIMARY KEY, namespace TEXT NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contents_by_namespace ON contents (namespace, size);
CREATE TABLE IF NOT EXISTS files (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, namespace TEXT NOT NULL, filename TEXT NOT NULL,
  mime_type TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, created_at TEXT NOT NULL, origin TEXT NOT NULL,
  session TEXT, path TEXT, version TEXT, expires_at TEXT, content TEXT);
CREATE INDEX IF NOT EXISTS files_by_namespace ON files (namespace, number);
CREATE INDEX IF NOT EXISTS files_by_session ON files (session, number) WHERE session IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS outputs ON files (session, path) WHERE origin = 'output';
CREATE INDEX IF NOT EXISTS files_by_content ON files (content) WHERE content IS NOT NULL;
CREATE INDEX IF NOT EXISTS files_by_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;
"""
_COLUMNS = (
    "number, id, namespace, filename, mime_type, size, sha256, created_at, origin, session, path, version,"
    " expires_at, content"
)

_PRAGMAS = ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF", "cache_size=-2048")


class Index:
    """What is known of files. Blocking; each call that changes something is one transaction."""

    def __init__(self, path: Path | None) -> None:
        self._connection = apsw.Connection(":memory:" if path is None else str(path))
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection.execute(_TABLES)
        self._used: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        """Of namespaces that were asked for; any change forgets them, so that they need no care."""

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def add(self, file: File) -> tuple[File, Sequence[str]]:
        """Store a file, in place of the one of the same output path.

        Returns it with its number, and the contents that nobody has any more.
        """
        with self._transaction():
            replaced: list[str] = []
            if file.origin == "output":
                replaced = self._removed("session = ? AND path = ? AND origin = 'output'", (file.session, file.path))
            if file.content is not None:
                values = (file.content, file.namespace, file.size_bytes)
                self._connection.execute("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", values)
            columns = _COLUMNS.removeprefix("number, ")
            insert = f"INSERT INTO files ({columns}) VALUES ({_marks(range(13))}) RETURNING number"  # noqa: S608 - no value in it
            number = int(self._connection.execute(insert, _values(file)).get)
            orphans = self._released(replaced)
        return _numbered(file, number), orphans

    def touch(self, file_id: str, version: str | None) -> None:
        """Note that an output has changed its version and not its bytes."""
        with self._transaction():
            self._connection.execute("UPDATE files SET version = ? WHERE id = ?", (version, file_id))

    def get(self, file_id: str) -> File:
        """Return a file. Raises: NotFoundError."""
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM files WHERE id = ?", (file_id,)).fetchone()  # noqa: S608 - no value in it
        if row is None:
            raise NotFoundError(f"file {file_id} not found")
        return _file(row)

    def files(self, listing: Listing) -> Sequence[File]:
        """Return files of a namespace, newest first."""
        clauses, values = ["namespace = ?"], [listing.namespace]
        filters: list[tuple[str, Any]] = [("number < ?", listing.before), ("session = ?", listing.session)]
        for clause, value in filters:
            if value is not None:
                clauses.append(clause)
                values.append(value)
        if listing.ids is not None:
            clauses.append(f"id IN ({_marks(listing.ids)})")
            values.extend(listing.ids)
        where = " AND ".join(clauses)
        query = f"SELECT {_COLUMNS} FROM files WHERE {where} ORDER BY number DESC LIMIT {listing.limit:d}"  # noqa: S608 - marks only
        return [_file(row) for row in self._connection.execute(query, values)]

    def outputs(self, session: str) -> Sequence[File]:
        """Return what a session's tools have left."""
        query = f"SELECT {_COLUMNS} FROM files WHERE session = ? AND origin = 'output' ORDER BY path"  # noqa: S608 - no value in it
        return [_file(row) for row in self._connection.execute(query, (session,))]

    def has_output(self, session: str | None, path: str | None) -> bool:
        """Tell whether a session's tools have left something at that path."""
        query = "SELECT 1 FROM files WHERE session = ? AND path = ? AND origin = 'output'"
        return bool(self._connection.execute(query, (session, path)).fetchall())

    def delete(self, file_id: str) -> Sequence[str]:
        """Remove a file; return the contents that nobody has any more. Raises: NotFoundError."""
        with self._transaction():
            removed = self._removed("id = ?", (file_id,))
            if not self._connection.changes():
                raise NotFoundError(f"file {file_id} not found")
            return self._released(removed)

    def delete_sessions(self, sessions: Sequence[str]) -> Sequence[str]:
        """Remove the files of sessions; return the contents that nobody has any more."""
        with self._transaction():
            removed = [content for session in sessions for content in self._removed("session = ?", (session,))]
            return self._released(removed)

    def expire(self, now: str, forget_before: str) -> Sequence[str]:
        """Let go of the bytes of expired files, and of those that expired before a moment altogether."""
        with self._transaction():
            query = "SELECT content FROM files WHERE expires_at <= ? AND content IS NOT NULL"
            expired = [row[0] for row in self._connection.execute(query, (now,))]
            self._connection.execute("UPDATE files SET content = NULL WHERE expires_at <= ?", (now,))
            self._removed("expires_at <= ?", (forget_before,))
            return self._released(expired)

    def sessions(self, created_before: str) -> Sequence[str]:
        """Return the sessions that have had files since before a moment."""
        query = "SELECT DISTINCT session FROM files WHERE session IS NOT NULL AND created_at < ?"
        return [row[0] for row in self._connection.execute(query, (created_before,))]

    def contents(self) -> frozenset[str]:
        """Return the names of all contents."""
        return frozenset(row[0] for row in self._connection.execute("SELECT content FROM contents"))

    def has_content(self, content: str) -> bool:
        """Tell whether a content is known."""
        return bool(self._connection.execute("SELECT 1 FROM contents WHERE content = ?", (content,)).fetchall())

    def used_bytes(self, namespace: str) -> int:
        """Return what the files of a namespace take."""
        if namespace not in self._used:
            query = "SELECT coalesce(sum(size), 0) FROM contents WHERE namespace = ?"
            self._used[namespace] = int(self._connection.execute(query, (namespace,)).get)
        return self._used[namespace]

    def count(self, namespace: str) -> int:
        """Return how many files a namespace has, expired ones and those of its sessions among them."""
        if namespace not in self._counts:
            query = "SELECT count(*) FROM files WHERE namespace = ?"
            self._counts[namespace] = int(self._connection.execute(query, (namespace,)).get)
        return self._counts[namespace]

    def _removed(self, condition: str, values: Sequence[Any]) -> list[str]:
        """Remove files; return the contents they had."""
        query = f"DELETE FROM files WHERE {condition} RETURNING content"  # noqa: S608 - a condition of this module
        return [str(row[0]) for row in self._connection.execute(query, values).fetchall() if row[0] is not None]

    def _released(self, contents: Sequence[str]) -> Sequence[str]:
        """Forget those contents that no file has any more, and return them."""
        query = "DELETE FROM contents WHERE content = ? AND NOT EXISTS (SELECT 1 FROM files WHERE content = ?)"
        gone: list[str] = []
        for content in dict.fromkeys(contents):
            self._connection.execute(query, (content, content))
            gone += [content] if self._connection.changes() else []
        return gone

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:
                yield
            self._used.clear()
            self._counts.clear()
        except apsw.FullError:
            raise FileVolumeFullError("the volume of the file store is full; enlarge it or delete files") from None
        except apsw.IOError as error:
            raise RetryableError(f"the file store could not be written: {error}") from None


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _values(file: File) -> tuple[Any, ...]:
    return (
        *(file.id, file.namespace, file.filename, file.mime_type, file.size_bytes, file.sha256, file.created_at),
        *(file.origin, file.session, file.path, file.version, file.expires_at, file.content),
    )


def _numbered(file: File, number: int) -> File:
    return _file((number, *_values(file)))


def _file(row: Sequence[Any]) -> File:
    [origin] = [known for known in get_args(Origin) if known == row[8]]
    return File(
        number=row[0],
        id=row[1],
        namespace=row[2],
        filename=row[3],
        mime_type=row[4],
        size_bytes=row[5],
        sha256=row[6],
        created_at=row[7],
        origin=origin,
        session=row[9],
        path=row[10],
        version=row[11],
        expires_at=row[12],
        content=row[13],
    )
