"""Where the server is and how this Pod proves itself to it."""

from collections.abc import Mapping

from multidict import CIMultiDict
from yarl import URL

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.headers import server_request_headers
from managed_agents.proxy.watched_file import WatchedFile


def parse_token(content: bytes) -> str:
    """Parse a projected token. Raises: ValueError when the file holds none."""
    token = content.decode("ascii", "replace").strip()
    if not token or not token.isprintable() or not token.isascii():
        raise ValueError("it holds no token")
    return token


class ServerAccess:
    """The server's address and the token, which the kubelet renews in its file."""

    def __init__(self, base: URL, token: WatchedFile[str]) -> None:
        self._base = str(base).rstrip("/")
        self._token = token

    def url_for(self, raw_path: str) -> URL:
        """Return the server's URL of a path with its query, both encoded as they came."""
        return URL(self._base + raw_path, encoded=True)

    def headers_for(self, incoming: Mapping[str, str] | None = None) -> CIMultiDict[str]:
        """Return the headers of a request, for a caller or the proxy. Raises: RefusedError, 503, without token."""
        try:
            return server_request_headers(incoming or {}, token=self._token.read())
        except (OSError, ValueError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else str(problem)
            raise RefusedError(503, "unavailable", f"the Pod's token for the server cannot be read: {reason}") from None
