"""The event log on SQLite: one file, one writer, group commit."""

from managed_agents.eventlog.sqlite.backend import SqliteEventLog, open_event_log

__all__ = ["SqliteEventLog", "open_event_log"]
