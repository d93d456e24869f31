"""The older transport of MCP: a server says on its stream where to post, and the harness never learns where that is.

What it is told instead is a path of the MCP listener with a word that holds for as long as the stream does.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import quote

from yarl import URL

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError

MCP_PATH = "/v1/mcp"
"""`?server=NAME` names one of the session's servers; with `endpoint=WORD`, where its stream says to post."""

HEAD_BYTES_MAX = 8192
"""Where the endpoint is not said within this, it is never said."""

_BLOCK_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class Endpoints:
    """Where the open streams of servers say to post, each under a word of ours."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, str]] = {}

    def open(self, server: str, server_url: str, uri: str, words: list[str]) -> str:
        """Note an endpoint, add its word to `words` and return the path that leads to it.

        Raises: UnreachableError where it lies on another origin than the server: it would carry the credential there.
        """
        try:
            base = URL(server_url)
            wanted = base.join(URL(uri, encoded=True))
            is_ours = wanted.origin() == base.origin()
        except ValueError:
            is_ours = False
        if not is_ours:
            raise UnreachableError("it names an endpoint on another origin than its own")
        word = secrets.token_urlsafe(16)
        self._open[word] = (server, str(wanted))
        words.append(word)
        return f"{MCP_PATH}?server={quote(server, safe='')}&endpoint={word}"

    def close(self, words: Sequence[str]) -> None:
        """Forget the endpoints of a stream that has ended."""
        for word in words:
            self._open.pop(word, None)

    def url_of(self, word: str, server: str) -> str:
        """Return an endpoint's URL. Raises: RefusedError, 404, where no open stream of that server has named it."""
        owner, url = self._open.get(word, ("", ""))
        if not url or owner != server:
            raise RefusedError(404, "mcp_stream_ended", "the stream that named this endpoint has ended")
        return url


class EndpointRewriter:
    """Puts our path in the place of the endpoint that a stream names first; all else passes as it is."""

    def __init__(self, opened: Callable[[str], str]) -> None:
        """`opened` is told what the server says and returns the path to pass on."""
        self._opened = opened
        self._held = b""
        self._is_over = False

    def __call__(self, piece: bytes) -> bytes:
        """Return what to pass on of a piece; the head of the stream is held back until it is whole."""
        if self._is_over:
            return piece
        self._held += piece
        passed = b""
        while not self._is_over and (end := _BLOCK_END.search(self._held)) is not None:
            block, self._held = self._held[: end.end()], self._held[end.end() :]
            passed += self._block(block)
        if self._is_over or len(self._held) > HEAD_BYTES_MAX:
            self._is_over = True
            passed, self._held = passed + self._held, b""
        return passed

    def _block(self, block: bytes) -> bytes:
        lines = [line for line in _LINE_END.split(block) if line]
        if all(line.startswith(b":") for line in lines):
            return block
        self._is_over = True
        fields = dict(_field(line) for line in lines)
        if fields.get("event") != "endpoint":
            return block
        return f"event: endpoint\r\ndata: {self._opened(fields.get('data', ''))}\r\n\r\n".encode()


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("utf-8", "replace").partition(":")
    return name, value.removeprefix(" ")
