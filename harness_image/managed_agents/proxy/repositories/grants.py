"""Which repositories the session has a token for: the `repositories` of its credentials file (docs/internal-api.md).

An entry is `{"id", "url", "token"?, "problem"?, "push_refs"?}`; `problem` says why there is no token.
"""

import base64
from dataclasses import dataclass, field

import orjson
from yarl import URL

from managed_agents.proxy.egress_hosts import MalformedHostError, Target, target_from
from managed_agents.proxy.watched_file import WatchedFile

USER = "x-access-token"
"""The user beside a token: GitHub's own word; GitLab and Gitea take any."""

HTTPS_PORT = 443


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One repository. `path` are the pieces of its URL's path, the last without `.git`."""

    id: str
    url: URL
    target: Target
    path: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    """As kept: a token, or `user:token` where the host wants a certain user."""
    problem: str = ""
    push_refs: tuple[str, ...] | None = None
    """Patterns of the refs that may be pushed; None: all, empty: none."""

    @property
    def secret(self) -> str:
        """Return the token itself."""
        return (self.token or "").rpartition(":")[2]

    @property
    def basic(self) -> str:
        """Return the value of `Authorization` for git."""
        token = self.token or ""
        pair = token if ":" in token else f"{USER}:{token}"
        return "Basic " + base64.b64encode(pair.encode()).decode()


Grants = tuple[Grant, ...]


class FileGrants:
    """Reads the mounted file at each question, so that a new token reaches a running session."""

    def __init__(self, file: WatchedFile[Grants]) -> None:
        self._file = file

    def read(self) -> Grants:
        """Return the session's grants, none without a file. Raises: OSError, ValueError without any content."""
        try:
            return self._file.read()
        except FileNotFoundError:
            return ()


def parse_grants(content: bytes) -> Grants:
    """Parse the credentials file. Raises: ValueError naming the field, never a value."""
    document = orjson.loads(content) if content.strip() else {}
    entries = document.get("repositories", []) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("repositories: a list is required")
    return tuple(_grant_from(entry, f"repositories[{index}]") for index, entry in enumerate(entries))


def _grant_from(entry: object, path: str) -> Grant:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: an object is required")
    refs, token = entry.get("push_refs"), entry.get("token")
    if refs is not None and not (isinstance(refs, list) and all(isinstance(ref, str) for ref in refs)):
        raise ValueError(f"{path}.push_refs: a list of texts is required")
    if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
        raise ValueError(f"{path}.token: a text that a header can carry is required")
    url, target = _url_from(entry.get("url"), path)
    pieces = url.path.strip("/").removesuffix(".git").split("/")
    return Grant(
        id=str(entry.get("id")),
        url=url,
        target=target,
        path=tuple(pieces),
        token=token or None,
        problem=str(entry.get("problem") or ""),
        push_refs=None if refs is None else tuple(refs),
    )


def _url_from(text: object, path: str) -> tuple[URL, Target]:
    """Return a repository's URL and where it leads. A token never goes over a plain connection."""
    try:
        url = URL(str(text))
        target = target_from(url.host or "", url.port or HTTPS_PORT)
    except (ValueError, MalformedHostError):
        raise ValueError(f"{path}.url: an https URL is required") from None
    if url.scheme != "https" or url.user or url.query_string or not url.path.strip("/"):
        raise ValueError(f"{path}.url: an https URL of a repository is required")
    return url, target
