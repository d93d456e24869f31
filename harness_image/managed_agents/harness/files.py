"""Fetching the files that messages name, each once for a worker's life, before the model is asked about them."""

from typing import Protocol

from managed_agents.harness.history.conversation import Conversation
from managed_agents.harness.history.files import Content


class FileSource(Protocol):
    """Where files of a session are read."""

    async def get_file(self, session: str, file_id: str) -> Content:
        """Return a file's content, or a problem where there is none. Raises: ConnectionError."""
        ...


class Files:
    """The files of one session."""

    def __init__(self, source: FileSource, session: str) -> None:
        self._source, self._session = source, session

    async def fetch(self, conversation: Conversation) -> None:
        """Put the files that a conversation names into it. Raises: ConnectionError when they cannot be reached now."""
        for file_id in sorted(conversation.missing_files()):
            conversation.files[file_id] = await self._source.get_file(self._session, file_id)
