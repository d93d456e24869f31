"""The tables of the SQLite backend, and opening them safely.

An event's key is its session's number shifted by 32 bits plus its position: one B-tree, clustered by session, holds
bodies and order, and a slice is one range scan.
"""

import contextlib
import secrets
from pathlib import Path

import apsw

from managed_agents.eventlog.sqlite import warm_sandboxes

SQLITE_VERSION_MIN = (3, 51, 3)
"""Versions before have a WAL corruption race (design §5)."""

PAGE_CACHE_KIB = 4 * 1024
"""Four times as much reads and appends no faster (B5, B6): the kernel keeps the file too."""

CHECKPOINT_PAGES = 2000
"""8 MiB of WAL: a checkpoint costs two more fsyncs, so it comes seldom; the file stays bounded."""

POSITION_BITS = 32

_SCHEMA_VERSION = 1
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE sessions (
  sid INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  uid TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, created_at TEXT NOT NULL,
  epoch INTEGER NOT NULL, released INTEGER NOT NULL, spec BLOB NOT NULL);
CREATE TABLE configs (sid INTEGER PRIMARY KEY, config BLOB NOT NULL);
CREATE TABLE projections (
  sid INTEGER PRIMARY KEY, head INTEGER NOT NULL, version INTEGER NOT NULL,
  projection BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE events (
  key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, epoch INTEGER, processed_at TEXT,
  body BLOB NOT NULL, private BLOB, sum INTEGER NOT NULL);
CREATE TABLE keys (
  sid INTEGER NOT NULL, key TEXT NOT NULL, digest BLOB, first INTEGER, count INTEGER, reason TEXT, message TEXT,
  PRIMARY KEY (sid, key)) WITHOUT ROWID;
CREATE TABLE sandboxes (
  sid INTEGER NOT NULL, pod_name TEXT NOT NULL, namespace TEXT NOT NULL, generation INTEGER NOT NULL,
  state TEXT NOT NULL,
  bind_token TEXT NOT NULL, binding_secret TEXT NOT NULL, pod_uid TEXT, address TEXT, reason TEXT, message TEXT,
  PRIMARY KEY (sid, pod_name)) WITHOUT ROWID;
CREATE TABLE harness_pods (
  pod_uid TEXT PRIMARY KEY, sid INTEGER NOT NULL, namespace TEXT NOT NULL, pod_name TEXT NOT NULL,
  deployment_uid TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX harness_pods_by_session ON harness_pods (sid);
CREATE TABLE deployments (uid TEXT PRIMARY KEY, sid INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX deployments_by_session ON deployments (sid);
CREATE TABLE tombstones (id TEXT PRIMARY KEY, deleted_at TEXT NOT NULL) WITHOUT ROWID;
"""

ADDED_TABLES = (
    """
CREATE TABLE IF NOT EXISTS intents (
  key TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, created_at TEXT NOT NULL, state TEXT NOT NULL,
  body BLOB NOT NULL) WITHOUT ROWID;
""",
    """
CREATE TABLE IF NOT EXISTS session_index (
  sid INTEGER PRIMARY KEY, id TEXT NOT NULL, namespace TEXT NOT NULL, created_at TEXT NOT NULL,
  agent_id TEXT, agent_version INTEGER, status TEXT NOT NULL, updated_at TEXT NOT NULL, archived_at TEXT);
CREATE INDEX IF NOT EXISTS session_index_by_creation ON session_index (namespace, created_at, id);
""",
    """
CREATE TABLE IF NOT EXISTS replies (
  key BLOB PRIMARY KEY, digest BLOB NOT NULL, expires REAL NOT NULL, status INTEGER NOT NULL,
  body BLOB, sid INTEGER, first INTEGER, count INTEGER);
CREATE INDEX IF NOT EXISTS replies_by_expiry ON replies (expires);
""",
    """
CREATE TABLE IF NOT EXISTS turns (
  sid INTEGER NOT NULL, turn INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (sid, turn)) WITHOUT ROWID;
""",
    """
CREATE TABLE IF NOT EXISTS warm_harnesses (
  pod_uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, image TEXT NOT NULL, pod_name TEXT NOT NULL,
  deployment_name TEXT NOT NULL, deployment_uid TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS warm_harnesses_by_deployment ON warm_harnesses (deployment_uid);
CREATE INDEX IF NOT EXISTS harness_pods_by_deployment ON harness_pods (deployment_uid);
""",
    """
CREATE TABLE IF NOT EXISTS leased_harnesses (
  sid INTEGER PRIMARY KEY, deployment_uid TEXT NOT NULL, deployment_name TEXT NOT NULL, pod_uid TEXT NOT NULL,
  pod_name TEXT NOT NULL, epoch INTEGER NOT NULL);
""",
    warm_sandboxes.TABLES,
)
"""Tables that a log of this schema version may lack, made at each open."""

_INDEXES = """
CREATE INDEX IF NOT EXISTS client_events_processed ON events (key >> 32, processed_at) WHERE epoch IS NULL;
"""
"""Made at each open. A stream that resumes asks which client events were processed while it was away: the entries of
one session after a time, however long the log is."""


def require_version(found: str) -> None:
    """Refuse a SQLite that can corrupt its WAL. Raises: RuntimeError."""
    if tuple(int(part) for part in found.split(".")) < SQLITE_VERSION_MIN:
        needed = ".".join(map(str, SQLITE_VERSION_MIN))
        raise RuntimeError(f"SQLite {found} is too old for the event log: {needed} or newer is needed; update apsw")


def open_database(path: Path | None) -> apsw.Connection:
    """Open or create the database; null stands for one in memory.

    The lock is exclusive for as long as the connection lives, so a second server on the same volume fails here.
    Raises: RuntimeError on a SQLite or a schema that this code cannot use, or a log
    in use; apsw.Error on a damaged file.
    """
    require_version(apsw.sqlite_lib_version())
    connection = apsw.Connection(":memory:" if path is None else str(path))
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(connection.close)
        try:
            _configure(connection)
            _migrate(connection)
        except apsw.BusyError as error:
            raise RuntimeError(f"another server has the event log {path} open; only one may") from error
        on_failure.pop_all()
    return connection


def _configure(connection: apsw.Connection) -> None:
    for pragma in (
        "locking_mode=EXCLUSIVE",
        "journal_mode=WAL",
        "synchronous=FULL",
        "cell_size_check=ON",
        "trusted_schema=OFF",
        "wal_autocheckpoint=0",
        f"cache_size=-{PAGE_CACHE_KIB}",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _migrate(connection: apsw.Connection) -> None:
    version = connection.execute("PRAGMA user_version").get
    if version not in (0, _SCHEMA_VERSION):
        raise RuntimeError(
            f"the event log has schema version {version}, this server knows {_SCHEMA_VERSION}; run a newer one"
        )
    with connection:
        if version == 0:
            connection.execute(_TABLES)
            connection.execute("INSERT INTO meta VALUES ('boot', 0), ('secret', ?)", (secrets.token_bytes(32),))
            connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
        for tables in ADDED_TABLES:
            connection.execute(tables)
        connection.execute(_INDEXES)
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'boot'")
