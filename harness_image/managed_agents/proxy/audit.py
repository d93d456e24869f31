"""One log line a request, of metadata only, and the edge where failures become answers."""

import time
from collections.abc import Awaitable, Callable

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from managed_agents.proxy.errors import RefusedError, refusal_from
from managed_agents.proxy.note import NOTE, Note

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Envelope = Callable[[RefusedError], dict[str, object]]

PATH_CHARACTERS_MAX = 200
"""A path in the log is cut here."""

CLIENT_GONE = 499
"""Logged as the status when the caller left before its answer was complete."""


def configure_logging() -> None:
    """Write JSON lines to stdout."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(),
        cache_logger_on_first_use=True,
    )


def audited(listener: str, envelope: Envelope) -> Middleware:
    """Return the outermost middleware of a listener: it renders refusals and logs method, path, status, time, bytes.

    Neither headers, bodies, query nor an unexpected failure's text are logged: each may hold a secret.
    """
    log = structlog.get_logger(listener=listener)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        note = request[NOTE] = Note()
        status = CLIENT_GONE  # unless the handler lives to give an answer
        try:
            response = await _answer(request, handler, envelope, note)
            if isinstance(response, web.Response):
                note.bytes_out = response.content_length or 0
            if not note.caller_gone:
                status = response.status
            return response
        finally:
            log.info(
                "request",
                method=request.method,
                path=request.rel_url.raw_path[:PATH_CHARACTERS_MAX],
                status=status,
                ms=round((time.perf_counter() - started) * 1000, 2),
                bytes_in=request.content_length or 0,
                **note.fields(),
            )

    return middleware


async def _answer(request: web.Request, handler: Handler, envelope: Envelope, note: Note) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as refusal:
        note.error = refusal.kind
        return _render(refusal, envelope)
    except web.HTTPException as problem:
        note.error = "refused"
        return _render(refusal_from(problem), envelope)
    except ConnectionError:
        note.caller_gone = True
        return web.Response(status=CLIENT_GONE)
    except Exception as problem:  # noqa: BLE001 - the edge: a failure becomes an answer and a log line
        note.error = _origin_of(problem)
        return _render(RefusedError(500, "internal", "the proxy failed; its log names the place"), envelope)


def _render(refusal: RefusedError, envelope: Envelope) -> web.Response:
    body = orjson.dumps(envelope(refusal))
    return web.Response(status=refusal.status, body=body, content_type="application/json")


def _origin_of(problem: BaseException) -> str:
    """Name an unexpected failure by its type and the place it came from."""
    trace = problem.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(problem).__name__} at {place}"
