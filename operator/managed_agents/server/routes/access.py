"""Who a request comes from, and whether that caller may act on what it names."""

import re
from dataclasses import dataclass

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.contracts.ids import namespace_of_workspace
from managed_agents.eventlog.records import Session
from managed_agents.server.context import Context, context_of
from managed_agents.server.services.authenticator import Access, Identity
from managed_agents.server.services.callers import Caller
from managed_agents.server.services.errors import ForbiddenError, NotRegisteredError
from managed_agents.server.services.last_looks import LastLook
from managed_agents.server.services.stream_guards import Pass

WORKSPACE_HEADER = "anthropic-workspace-id"

CALLER = web.RequestKey("caller", Caller)
"""Who calls, once it is known."""

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

ACCESS = web.RequestKey("access", Access)
"""What of an object the caller asked for and may do, once that is known."""

NAMESPACE = web.RequestKey("namespace", str)
"""The namespace that the request works in, once it is known; the answer's headers show it."""


def bearer_token(request: web.Request) -> str:
    """Return the credential of a request: `Authorization: Bearer` or `X-Api-Key`, empty when there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("X-Api-Key", "").strip()


async def operator(request: web.Request) -> Identity:
    """Return the operator. Raises: UnauthenticatedError, ForbiddenError for anybody else."""
    identity = await context_of(request).authenticator.internal(bearer_token(request))
    if not identity.is_operator:
        raise ForbiddenError(f"{identity.username} is not the operator")
    return identity


async def harness_pod_uid(request: web.Request) -> str:
    """Return the UID of the Pod that calls. Raises: UnauthenticatedError, NotRegisteredError for a token of no Pod."""
    identity = await context_of(request).authenticator.internal(bearer_token(request))
    if identity.is_operator or identity.pod_uid is None:
        raise NotRegisteredError("the token is not bound to a Pod, so no session can be its own")
    return identity.pod_uid


async def harness(request: web.Request) -> str:
    """Return the session id of the path, for a Pod that is registered for it. Raises: NotRegisteredError."""
    session_id = request.match_info["session_id"]
    await require_registered(context_of(request), session_id, await harness_pod_uid(request))
    return session_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """A Pod that may copy a session's outputs: of its own, or, with a `look`, for the last time."""

    session_id: str
    look: LastLook | None


async def collector(request: web.Request) -> Collector:
    """Return who copies outputs of the session in the path. Raises: NotRegisteredError."""
    session_id, pod_uid = request.match_info["session_id"], await harness_pod_uid(request)
    try:
        await require_registered(context_of(request), session_id, pod_uid)
    except NotRegisteredError:
        # looked for after the log was: a release that the log knows of has been told of by now
        look = context_of(request).leases.last_looks.of(session_id, pod_uid)
        if look is None:
            raise
        return Collector(session_id=session_id, look=look)
    return Collector(session_id=session_id, look=None)


async def operator_or_harness(request: web.Request) -> Identity:
    """Return the operator, or a harness of the session in the path."""
    identity = await context_of(request).authenticator.internal(bearer_token(request))
    if not identity.is_operator:
        await require_registered(context_of(request), request.match_info["session_id"], identity.pod_uid)
    return identity


async def require_registered(context: Context, session_id: str, pod_uid: str | None) -> None:
    """Let pass a Pod that is registered for the session. Raises: NotRegisteredError."""
    pod = None if pod_uid is None else await context.log.harness_pod(pod_uid)
    if pod is None or pod.session_id != session_id:
        raise NotRegisteredError(f"Pod {pod_uid} is not registered for session {session_id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The namespace that a call without an object's id works in, and its caller."""

    namespace: str
    caller: Caller


async def caller(request: web.Request) -> Caller:
    """Return who calls the public API; asked once a request. Raises: UnauthenticatedError, RetryableError."""
    if CALLER not in request:
        callers = context_of(request).callers
        request[CALLER] = await callers.identify(bearer_token(request), request.remote or "")
    return request[CALLER]


async def workspace(request: web.Request, verb: str, resource: str) -> Workspace:
    """Return where a collection call (`list`, `create`) works. Raises: UnauthenticatedError, ForbiddenError."""
    found = await caller(request)
    namespace = _asked_namespace(request) or found.namespace
    if namespace is None:
        raise RejectedError(
            f"{WORKSPACE_HEADER}: this credential belongs to no namespace; name one in this header",
            field=WORKSPACE_HEADER,
        )
    access = Access(verb=verb, namespace=namespace, name=None, resource=resource)
    if not await context_of(request).callers.may(found, access):
        raise ForbiddenError(f"{found.id} may not {verb} {resource}.managedagents.dev in namespace {namespace}")
    request[NAMESPACE] = namespace
    return Workspace(namespace=namespace, caller=found)


async def permitted(request: web.Request, verb: str, resource: str, namespace: str, name: str, shown_id: str) -> Caller:
    """Return the caller of an object call.

    Raises: UnauthenticatedError; NotFoundError where the caller may not even `get` the object, or asked for another
    workspace, as if it never was; ForbiddenError where it may, but may not `verb`.
    """
    found = await caller(request)
    if (_asked_namespace(request) or namespace) != namespace:
        raise NotFoundError(f"{shown_id} not found")
    for asked in dict.fromkeys((verb, "get")):
        access = Access(verb=asked, namespace=namespace, name=name, resource=resource)
        if await context_of(request).callers.may(found, access):
            request[NAMESPACE] = namespace
            if asked == verb:
                request[ACCESS] = access
                return found
            raise ForbiddenError(f"{found.id} may not {verb} {resource}.managedagents.dev/{name}")
    raise NotFoundError(f"{shown_id} not found")


async def stream_pass(request: web.Request) -> Pass:
    """Return with what a stream is opened, of a request that `reader` let in."""
    return Pass(
        credential=bearer_token(request),
        caller=await caller(request),
        peer=request.remote or "",
        access=request[ACCESS],
    )


async def reader(request: web.Request) -> tuple[Session, Caller]:
    """Return the session of the path for a client that may read it. Raises: NotFoundError, also when it may not."""
    return await _session_for(request, "get")


async def sender(request: web.Request) -> tuple[Session, Caller]:
    """Return the session of the path for a client that may send. Raises: ForbiddenError for one that may only read."""
    return await _session_for(request, "update")


async def require_auditor(request: web.Request, session: Session) -> None:
    """Let only who may `get` `sessions/senders` learn who sent what. Raises: ForbiddenError."""
    found = await caller(request)
    access = Access(verb="get", namespace=session.namespace, name=session.name, subresource="senders")
    if not await context_of(request).callers.may(found, access):
        raise ForbiddenError(f"{found.id} may not get sessions.managedagents.dev/senders of {session.name}")


async def _session_for(request: web.Request, verb: str) -> tuple[Session, Caller]:
    await caller(request)
    session_id = request.match_info["session_id"]
    shown = f"session {session_id}"
    try:
        session = await context_of(request).log.session(session_id)
    except NotFoundError:
        await _refuse_pending(request, verb, session_id)
        raise NotFoundError(f"{shown} not found") from None
    return session, await permitted(request, verb, "sessions", session.namespace, session.name, shown)


async def _refuse_pending(request: web.Request, verb: str, session_id: str) -> None:
    """Say of a session that was applied and not accepted yet why it has no events. Raises: as `permitted`, too."""
    pending = context_of(request).public_sessions.pending
    record = pending.get(session_id)
    if record is not None:
        session = record.session
        await permitted(request, verb, "sessions", session.namespace, session.name, f"session {session_id}")
        raise pending.refusal(session_id)


def _asked_namespace(request: web.Request) -> str | None:
    """Return the namespace that the header names, if any.

    Raises: ForbiddenError for a key of another namespace, and for an id that is none.
    """
    asked = request.headers.get(WORKSPACE_HEADER)
    if not asked:
        return None
    namespace = namespace_of_workspace(asked) if "_" in asked else asked
    own = request[CALLER].key_namespace
    if namespace is None or not _NAMESPACE.fullmatch(namespace) or own not in (None, namespace):
        raise ForbiddenError(f"{WORKSPACE_HEADER}: this credential does not belong to workspace {asked[:80]!r}")
    return namespace
