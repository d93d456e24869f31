"""What handlers leave for the audit line of their request."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web


@dataclass(slots=True, kw_only=True)
class Note:
    """Metadata of one request, filled as it goes; the one value here that changes."""

    bytes_out: int = 0
    provider: str | None = None
    mcp_server: str | None = None
    repository: str | None = None
    error: str | None = None
    broken: bool = False
    """The answer broke off on the other side after it had begun."""
    caller_gone: bool = False

    def fields(self) -> dict[str, object]:
        """Return what is worth a field in the log."""
        given = {
            "provider": self.provider,
            "mcp_server": self.mcp_server,
            "repository": self.repository,
            "error": self.error,
            "broken": self.broken,
        }
        return {"bytes_out": self.bytes_out, **{key: value for key, value in given.items() if value}}


NOTE: Final = web.RequestKey("note", Note)
