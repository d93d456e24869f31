"""What a request of the sandbox means, from its raw target: a call on a granted repository, or nothing. Pure (A21).

What goes on is built anew from the grant, so no spelling of the caller's reaches the host.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from managed_agents.contracts.repositories import GITHUB
from managed_agents.proxy.egress_hosts import MalformedHostError, Target, authority_from, shown, target_from
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.repositories.grants import HTTPS_PORT, Grant, Grants

Service = Literal["git-upload-pack", "git-receive-pack"]

GITHUB_API = Target(host="api.github.com", port=HTTPS_PORT)
API_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})

_SERVICES: dict[str, Service] = {"git-upload-pack": "git-upload-pack", "git-receive-pack": "git-receive-pack"}
_PRINTABLE = re.compile(r"[!-~]*\Z")
_NOT_IN_A_PIECE = re.compile(r"[%\\;\x00-\x1f\x7f]")
"""A second decoding, a Windows path, a server's path parameters and lines of a log."""
_REPOS_ROOTS = (("api", "v1", "repos"), ("api", "v3", "repos"))
"""Of Gitea and Forgejo; of GitHub Enterprise Server."""
_PROJECTS_ROOT = ("api", "v4", "projects")
"""Of GitLab, which takes a project's path as one piece."""
_TALK = ("issues", "merge_requests", "pulls")
_TALK_PARTS = frozenset(
    {
        "assignees",
        "comments",
        "discussions",
        "events",
        "labels",
        "notes",
        "reactions",
        "replies",
        "requested_reviewers",
        "reviews",
    }
)


class ElsewhereError(Exception):
    """Not a repository of the session's, and yet sent here: `insteadOf` replaces what addresses begin with.

    So `https://HOST/team/app-docs` comes here where `team/app` is granted. `location` is where it was meant to go.
    """

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCall:
    """A request of the smart HTTP protocol. `path` is the raw path and query for the host."""

    grant: Grant
    service: Service
    is_advertisement: bool
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """A request to the REST API of the repository's host, at `target`."""

    grant: Grant
    target: Target
    path: str
    scheme: Literal["Bearer", "token"]


def git_call(method: str, raw: str, grants: Grants) -> GitCall:
    """Read what git asks for. Raises: RefusedError; ElsewhereError for a repository to be read without a token."""
    path, _, query = raw.partition("?")
    authority, pieces = _pieces(path)
    if any("/" in piece for piece in pieces):
        raise _malformed("an encoded slash")
    match method, pieces, query:
        case "GET", [*named, "info", "refs"], _ if query.removeprefix("service=") in _SERVICES and "=" in query:
            service, is_advertisement = _SERVICES[query.removeprefix("service=")], True
        case "POST", [*named, last], "" if last in _SERVICES:
            service, is_advertisement = _SERVICES[last], False
        case _:
            text = "only git's smart HTTP protocol is served: clone, fetch and push of a repository"
            raise RefusedError(403, "repository_forbidden_error", text)
    if is_advertisement and service == "git-upload-pack":
        _require_meant(authority, named, grants)
    grant = _granted(authority, named, grants)
    base = quote(grant.url.path.rstrip("/"), safe="/~")
    tail = f"/info/refs?service={service}" if is_advertisement else f"/{service}"
    return GitCall(grant=grant, service=service, is_advertisement=is_advertisement, path=base + tail)


def api_call(method: str, raw: str, grants: Grants) -> ApiCall:
    """Read what is asked of a REST API. Raises: RefusedError."""
    path, mark, query = raw.partition("?")
    authority, pieces = _pieces(path.removesuffix("/"))
    if not _PRINTABLE.match(query):
        raise _malformed("characters that no URL has")
    if method not in API_METHODS:
        raise RefusedError(405, "method_not_allowed", f"{shown(method)} is not served")
    for grant in grants:
        if grant.target == authority and (found := _api_path(grant, pieces)) is not None:
            root, rest = found
            _require_talk(grant, method, rest)
            target = GITHUB_API if grant.target.host == GITHUB else grant.target
            tail = "".join("/" + quote(piece, safe="~:@,+=") for piece in rest)
            scheme: Literal["Bearer", "token"] = "token" if root.startswith("/api/v1/") else "Bearer"
            return ApiCall(grant=grant, target=target, path=f"{root}{tail}{mark}{query}", scheme=scheme)
    raise _not_granted(authority, pieces)


def _api_path(grant: Grant, pieces: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the repository's own path in its host's API and what lies below it; None for another one's."""
    own, size = [part.casefold() for part in grant.path], len(grant.path)
    is_github = grant.target.host == GITHUB
    roots = (("repos",),) if is_github else _REPOS_ROOTS if size == 2 else ()
    for root in roots:
        end = len(root) + size
        if tuple(pieces[: len(root)]) == root and [piece.casefold() for piece in pieces[len(root) : end]] == own:
            return "/" + "/".join([*root, *map(_quoted, grant.path)]), list(pieces[end:])
    if (
        not is_github
        and tuple(pieces[:3]) == _PROJECTS_ROOT
        and [one.casefold() for one in pieces[3:4]] == ["/".join(own)]
    ):
        return "/" + "/".join([*_PROJECTS_ROOT, _quoted("/".join(grant.path))]), list(pieces[4:])
    return None


def _require_talk(grant: Grant, method: str, rest: Sequence[str]) -> None:
    """Where only some refs may be pushed, what else moves refs is closed too. Raises: RefusedError."""
    if grant.push_refs is None or method == "GET":
        return
    if rest and rest[0] in _TALK and all(piece in _TALK_PARTS or piece.isdecimal() for piece in rest[1:]):
        return
    text = "the refs that may be pushed are restricted: the API writes pull requests, issues and comments only"
    raise RefusedError(403, "repository_forbidden_error", text)


def _require_meant(authority: Target, named: Sequence[str], grants: Grants) -> None:
    """Raises: ElsewhereError where a grant's address is only how the one that is asked for begins."""
    wanted = "/".join(named).removesuffix(".git").casefold()
    own = ["/".join(grant.path).casefold() for grant in grants if grant.target == authority]
    if wanted not in own and any(wanted.startswith(path) for path in own):
        host = authority.host if authority.port == HTTPS_PORT else f"{authority.host}:{authority.port}"
        path = "/".join(map(_quoted, named))
        raise ElsewhereError(f"https://{host}/{path}/info/refs?service=git-upload-pack")


def _granted(authority: Target, named: Sequence[str], grants: Grants) -> Grant:
    """Return the grant of a path. Letters of either case are one name: what goes on is the grant's own spelling."""
    plain = [*named[:-1], *(piece.removesuffix(".git") for piece in named[-1:])]
    same = [
        grant
        for grant in grants
        if grant.target == authority and [one.casefold() for one in grant.path] == [one.casefold() for one in plain]
    ]
    if not same:
        raise _not_granted(authority, named)
    return next((grant for grant in same if list(grant.path) == plain), same[0])


def _pieces(path: str) -> tuple[Target, list[str]]:
    """Split a raw path into the host that it begins with and its decoded pieces. Raises: RefusedError."""
    if not _PRINTABLE.match(path) or not path.startswith("/"):
        raise _malformed("characters that no URL has")
    authority, *pieces = path[1:].split("/")
    decoded = [_decoded(piece) for piece in pieces]
    try:
        return target_from(*authority_from(unquote(authority), HTTPS_PORT)), decoded
    except MalformedHostError as problem:
        raise _malformed(f"no host ({problem})") from None


def _decoded(piece: str) -> str:
    try:
        text = unquote(piece, errors="strict")
    except UnicodeDecodeError:
        raise _malformed("bytes that are not UTF-8") from None
    if _NOT_IN_A_PIECE.search(text):
        raise _malformed("characters that no repository's path has")
    if any(part in {"", ".", ".."} for part in text.split("/")):
        raise _malformed("an empty part, '.' or '..'")
    return text


def _quoted(text: str) -> str:
    return quote(text, safe="~")


def _malformed(what: str) -> RefusedError:
    return RefusedError(400, "repository_forbidden_error", f"the path has {what}")


def _not_granted(authority: Target, pieces: Sequence[str]) -> RefusedError:
    text = (
        f"the session has no token for {authority.host}/{shown('/'.join(pieces))}; this address serves its own "
        "repositories only"
    )
    return RefusedError(403, "repository_forbidden_error", text)
