"""What can go wrong with an MCP server, told apart by what it means for a call."""

from dataclasses import dataclass


@dataclass(slots=True)
class McpError(Exception):
    """Something is wrong with a server. `message` is for people and for the model."""

    message: str

    def __str__(self) -> str:
        return self.message


class McpNotReachedError(McpError):
    """Nothing of the request reached the server."""


class McpAuthenticationError(McpNotReachedError):
    """The server wants a credential that the session does not have."""


class McpExpiredError(McpNotReachedError):
    """The server has forgotten the session of its own protocol, and so refused the request."""


class McpOldTransportError(McpNotReachedError):
    """The server takes no POST at its URL: it may speak the older transport."""


class McpRefusedError(McpError):
    """The server answered with an error."""


class McpBrokenError(McpError):
    """The answer did not come, or is none: what the request has done is unknown."""
