"""What the public API does with sessions, as one value."""

from dataclasses import dataclass

from managed_agents.contracts.clock import Clock
from managed_agents.eventlog.store import EventLog
from managed_agents.filestore.store import FileStore
from managed_agents.server.services.intents import Intents
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.pending_sessions import PendingSessions
from managed_agents.server.services.session_create import SessionCreator
from managed_agents.server.services.session_files import SessionFiles
from managed_agents.server.services.session_references import SessionReferences
from managed_agents.server.services.session_repositories import SessionRepositories
from managed_agents.server.services.session_update import SessionEditor
from managed_agents.server.services.sessions import Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicSessions:
    """Creation, change and files of sessions, and those that are only applied yet."""

    creator: SessionCreator
    editor: SessionEditor
    files: SessionFiles
    repositories: SessionRepositories
    pending: PendingSessions


def public_sessions(
    log: EventLog, objects: Objects, files: FileStore, clock: Clock, intents: Intents, sessions: Sessions
) -> PublicSessions:
    """Wire the parts; what the log holds already is told by `pending.known`."""
    pending = PendingSessions(objects)
    log.listen(pending.on_change)
    references = SessionReferences(objects, objects.versions, files)
    editor = SessionEditor(log=log, objects=objects.sessions, sessions=sessions, pending=pending)
    return PublicSessions(
        creator=SessionCreator(log=log, objects=objects.sessions, references=references, intents=intents, clock=clock),
        editor=editor,
        files=SessionFiles(editor=editor, references=references),
        repositories=SessionRepositories(editor=editor),
        pending=pending,
    )
