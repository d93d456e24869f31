"""Which sessions a list wants, and what it gets of each. Free of any backend's habits (design §5)."""

from dataclasses import dataclass
from typing import Literal

from managed_agents.eventlog.records import Config, Session

Comparison = Literal[">", ">=", "<", "<="]
Place = tuple[str, str]
"""Where a session stands in a list: its `created_at` in the API's form, then its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionQuery:
    """Sessions of one namespace, by creation; newest first if `backwards`. `beyond` is exclusive, in reading order."""

    namespace: str
    limit: int
    backwards: bool = False
    beyond: Place | None = None
    created: tuple[tuple[Comparison, str], ...] = ()
    agent_id: str | None = None
    agent_version: int | None = None
    statuses: tuple[str, ...] = ()
    include_archived: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session with its config and its times. `updated_at` is of the last change of config, archive or log."""

    session: Session
    config: Config
    created_at: str
    updated_at: str
    archived_at: str | None

    @property
    def place(self) -> Place:
        """Return where the session stands in a list."""
        return (self.created_at, self.session.id)
