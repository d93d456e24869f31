"""What goes to the host and what may come back: headers, as pure rules, and the judgement of answers."""

from collections.abc import Mapping

from aiohttp import ClientResponse
from multidict import CIMultiDict

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.repositories.addresses import ApiCall, GitCall

USER_AGENT = "managed-agents"
"""Where the caller names none: GitHub's API asks for one."""

_GIT_REQUEST = frozenset(
    {"accept", "accept-language", "content-encoding", "content-length", "content-type", "git-protocol", "user-agent"}
)
_API_REQUEST = frozenset(
    {
        "accept",
        "content-encoding",
        "content-length",
        "content-type",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "range",
        "user-agent",
        "x-github-api-version",
    }
)
"""No `Accept-Encoding` in either list: a token can be taken out of what comes back only where it is not packed."""


def git_headers(incoming: Mapping[str, str], call: GitCall) -> CIMultiDict[str]:
    """Return the headers of a request to a Git server."""
    headers = CIMultiDict((name, value) for name, value in incoming.items() if name.lower() in _GIT_REQUEST)
    headers["Authorization"] = call.grant.basic
    return headers


def api_headers(incoming: Mapping[str, str], call: ApiCall) -> CIMultiDict[str]:
    """Return the headers of a request to a REST API."""
    headers = CIMultiDict((name, value) for name, value in incoming.items() if name.lower() in _API_REQUEST)
    headers.setdefault("User-Agent", USER_AGENT)
    headers["Authorization"] = f"{call.scheme} {call.grant.secret}"
    return headers


def require_git_answer(answer: ClientResponse, call: GitCall) -> None:
    """Require an answer of the smart protocol. Raises: RefusedError, in words that git shows.

    A refusal's own text does not pass: it may repeat the request. 401 never does: git would ask for a password.
    """
    host, status = call.grant.target.host, answer.status
    kind = "advertisement" if call.is_advertisement else "result"
    if status == 200 and answer.content_type == f"application/x-{call.service}-{kind}":
        return
    match status:
        case 200:
            text = f"{host} does not speak git's smart HTTP protocol at this address"
            raise RefusedError(502, "repository_clone_error", text)
        case 401:
            text = f"{host} does not accept the session's token (401): it is wrong or has expired; give it a new one"
            raise RefusedError(403, "repository_authentication_error", text)
        case 403:
            text = f"{host} forbids this to the session's token (403)"
            raise RefusedError(403, "repository_forbidden_error", text)
        case 404 | 410:
            text = f"{host} knows no such repository, or the session's token may not see it ({status})"
            raise RefusedError(404, "repository_not_found_error", text)
        case _:
            raise RefusedError(502, "repository_clone_error", f"{host} answered with status {status}")


def require_token(call: GitCall | ApiCall) -> None:
    """Require a token before the host is asked. Raises: RefusedError."""
    if call.grant.token is None:
        text = f"the session's token is missing: {call.grant.problem or 'its Secret holds none'}"
        raise RefusedError(403, "repository_authentication_error", text)
