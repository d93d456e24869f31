"""A session's own repositories for its sandbox: git and the REST API of their host, with the token added here.

The sandbox asks `http://git.session.internal/HOST/PATH` and `http://api.session.internal/HOST/…` of its HTTP proxy;
it gets neither the token nor another repository with it (A19, A21).
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web
from multidict import CIMultiDict

from managed_agents.contracts.egress import EgressRules
from managed_agents.contracts.repositories import API_HOST, GIT_HOST
from managed_agents.proxy.egress_hosts import Target
from managed_agents.proxy.egress_rules import Networking, networking_from
from managed_agents.proxy.errors import RefusedError, internal_envelope
from managed_agents.proxy.forward import Judge, UnreachableError, Upstream, forward
from managed_agents.proxy.note import NOTE
from managed_agents.proxy.repositories.addresses import ApiCall, ElsewhereError, GitCall, api_call, git_call
from managed_agents.proxy.repositories.calls import api_headers, git_headers, require_git_answer
from managed_agents.proxy.repositories.dialling import require_api_open, require_open, url_of
from managed_agents.proxy.repositories.grants import FileGrants, Grant, Grants
from managed_agents.proxy.repositories.masking import Masking
from managed_agents.proxy.repositories.missing import MissingTokens
from managed_agents.proxy.repositories.pushes import PushHead, read_head, refusal_of, refused_refs, reports
from managed_agents.proxy.settings import CONNECT_SECONDS
from managed_agents.proxy.watched_file import comes

SILENCE_SECONDS = 600.0
"""Longest pause between two reads from a host: it may count and pack a large repository before it says anything."""

CHUNK_BYTES = 64 * 1024
"""Read at once of a body that goes out."""

DRAINED_BYTES_MAX = 256 * 1024 * 1024
"""So much of a refused push is read and dropped, for git reads the answer only after it has sent all."""

ARRIVAL_SECONDS = 15.0
"""How long a request waits for a token that the session has: the operator writes it when a harness is leased."""

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)


class RepositoryGateway:
    """Handlers of both names. The Environment is that of the last config that came from the server."""

    def __init__(self, client: ClientSession, rules: EgressRules, grants: FileGrants) -> None:
        self._client = client
        self._rules = rules
        self._grants = grants
        self.missing = MissingTokens()
        self._networking = Networking(is_limited=True)
        self._expected: frozenset[str] = frozenset()

    def configure(self, config: Mapping[str, Any]) -> None:
        """Take in a session config: what its Environment lets the session reach, and which tokens there will be."""
        self._networking = networking_from((config.get("environment") or {}).get("config") or {})
        resources = config.get("resources") or ()
        self._expected = frozenset(str(entry["id"]) for entry in resources if entry.get("has_token"))

    def routes(self) -> list[web.RouteDef]:
        """Return what is served: every path, for each has to be judged as it was written."""
        return [web.route("*", "/{path:.*}", self._serve)]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        match request.host.partition(":")[0]:
            case host if host == GIT_HOST:
                return await self._git(request)
            case host if host == API_HOST:
                return await self._api(request)
            case _:
                raise RefusedError(404, "not_found", f"only {GIT_HOST} and {API_HOST} are served here")

    async def _git(self, request: web.Request) -> web.StreamResponse:
        try:
            call = git_call(request.method, request.raw_path, await self._read())
            request[NOTE].repository = str(call.grant.url)
            self.missing.require(call)
            require_open(call.grant.target, self._networking, self._rules)
            return await self._passed_git(request, call)
        except ElsewhereError as elsewhere:  # git goes there by itself, through the egress and without a token
            return web.Response(status=307, headers={"Location": elsewhere.location, "Cache-Control": "no-cache"})
        except RefusedError as refusal:
            return _said(request, refusal)

    async def _passed_git(self, request: web.Request, call: GitCall) -> web.StreamResponse:
        head = await _push_head(request, call)
        if head is not None and (refused := refused_refs(head, call.grant.push_refs or ())):
            return await _refused_push(request, call.grant, head, refused)
        headers = git_headers(request.headers, call)
        body = None if call.is_advertisement else _body(request, b"" if head is None else head.raw)

        def judge(answer: Any) -> Masking:
            require_git_answer(answer, call)
            return Masking(call.grant)

        return await self._forward(request, call.grant.target, call.path, headers, body, judge)

    async def _api(self, request: web.Request) -> web.StreamResponse:
        try:
            call = api_call(request.method, request.raw_path, await self._read())
            request[NOTE].repository = str(call.grant.url)
            self.missing.require(call)
            self._require_api_open(call)
            headers = api_headers(request.headers, call)
            body = _body(request, b"") if request.can_read_body else None
            return await self._forward(request, call.target, call.path, headers, body, lambda _: Masking(call.grant))
        except RefusedError as refusal:
            request[NOTE].error = refusal.kind
            return web.json_response(internal_envelope(refusal), status=refusal.status)

    def _require_api_open(self, call: ApiCall) -> None:
        require_open(call.grant.target, self._networking, self._rules)
        if call.target != call.grant.target:
            require_api_open(call.target, self._rules)

    async def _forward(
        self,
        request: web.Request,
        target: Target,
        path: str,
        headers: CIMultiDict[str],
        body: AsyncIterator[bytes] | None,
        judge: Judge,
    ) -> web.StreamResponse:
        upstream = Upstream(
            method=request.method, url=url_of(target, path), headers=headers, body=body or b"", timeout=_TIMEOUT
        )
        try:
            return await forward(request, self._client, upstream, judge)
        except UnreachableError as problem:
            text = f"{target.host} does not answer: {problem}"
            raise RefusedError(502, "repository_clone_error", text) from None

    async def _read(self) -> Grants:
        """Return the grants, at a session's begin once they are there: its file comes after its config."""
        await comes(lambda: self._expected <= {grant.id for grant in self._read_now()}, seconds=ARRIVAL_SECONDS)
        return self._read_now()

    def _read_now(self) -> Grants:
        try:
            return self._grants.read()
        except (OSError, ValueError) as problem:
            # Our own errors name the field only; those of JSON and of the system hold no content.
            raise RefusedError(503, "repository_clone_error", f"the session's credentials: {problem}") from None


async def _push_head(request: web.Request, call: GitCall) -> PushHead | None:
    """Return what a push changes, where only some refs may be pushed. Raises: RefusedError."""
    patterns = call.grant.push_refs
    if call.service != "git-receive-pack" or patterns is None:
        return None
    if not patterns:
        raise RefusedError(403, "repository_forbidden_error", "nothing may be pushed to this repository")
    if call.is_advertisement:
        return None
    if request.headers.get("Content-Encoding"):
        text = "the refs that may be pushed are restricted, and this push is packed; send it plain"
        raise RefusedError(403, "repository_forbidden_error", text)
    head = await read_head(request.content)
    if any(word.partition("=")[0] == "push-options" for word in head.capabilities):
        text = "the refs that may be pushed are restricted: push options could change others, so leave them out"
        raise RefusedError(403, "repository_forbidden_error", text)
    return head


async def _refused_push(request: web.Request, grant: Grant, head: PushHead, refused: list[str]) -> web.Response:
    """Answer as a server whose hook refuses, once the pack that nobody wants is through."""
    request[NOTE].error = "repository_forbidden_error"
    patterns = grant.push_refs or ()
    if not reports(head):
        text = f"only {', '.join(patterns)} may be pushed"
        raise RefusedError(403, "repository_forbidden_error", text)
    dropped = 0
    while dropped < DRAINED_BYTES_MAX and (chunk := await request.content.read(CHUNK_BYTES)):
        dropped += len(chunk)
    report = refusal_of(head, refused, patterns)
    return web.Response(body=report, content_type="application/x-git-receive-pack-result")


async def _body(request: web.Request, head: bytes) -> AsyncIterator[bytes]:
    """Yield a body as it comes, what was read of it already first."""
    if head:
        yield head
    while chunk := await request.content.read(CHUNK_BYTES):
        yield chunk


def _said(request: web.Request, refusal: RefusedError) -> web.Response:
    """Refuse in a text that git shows its user, with the session's name of the error in front."""
    kind = refusal.kind if refusal.kind.startswith("repository_") else "repository_clone_error"
    request[NOTE].error = kind
    return web.Response(
        status=refusal.status, text=f"{kind}: {refusal.message}\n", headers={"Cache-Control": "no-cache"}
    )
