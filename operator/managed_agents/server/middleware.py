"""The edge of each port: request ids, errors to answers, counting. The one place that catches every exception."""

import random
from typing import Any, Literal

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from managed_agents.contracts.errors import ManagedAgentsError, RejectedError
from managed_agents.server.context import context_of
from managed_agents.server.errors import Answer, internal_answer, public_answer, public_body

Port = Literal["public", "internal"]

REQUEST_ID = web.RequestKey("request_id", str)
PREPARED = web.RequestKey("prepared", bool)
"""Set once the headers of the answer are on their way."""

_log = structlog.get_logger(__name__)

_SWITCHED = 101
_ENDLESS = frozenset({"text/event-stream", "application/x-ndjson"})

_PUBLIC_WORDS = {400: "invalid_request_error", 404: "not_found_error", 405: "not_found_error", 413: "request_too_large"}


def json_response(body: Any, status: int = 200) -> web.Response:
    """Render a JSON answer."""
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


def json_bytes(body: bytes) -> web.Response:
    """Render an answer that is JSON already."""
    return web.Response(body=body, content_type="application/json")


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the request's id on every answer, streams included, before its headers leave."""
    response.headers["request-id"] = request_id_of(request)
    request[PREPARED] = True


def request_id_of(request: web.BaseRequest) -> str:
    """Return the request's id, made when it is first asked for."""
    if REQUEST_ID not in request:
        # no secret: asking the kernel for one lets the database thread in, and waits for it
        request[REQUEST_ID] = f"req_{random.getrandbits(96):024x}"
    return request[REQUEST_ID]


def edge(port: Port) -> Middleware:
    """Return the middleware of a port."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id_of(request)
        started = context_of(request).clock.monotonic()
        try:
            response = await handler(request)
        except ManagedAgentsError as error:
            response = _answered(_answer(port, error, request[REQUEST_ID]))
        except web.HTTPException as error:
            response = _answered(_http_answer(port, error, request))
        except (web.RequestPayloadError, HttpProcessingError) as error:
            broken = RejectedError(f"the body cannot be read: {type(error).__name__}")
            response = _answered(_answer(port, broken, request[REQUEST_ID]))
        except UnicodeEncodeError:
            no_text = RejectedError("the path, a parameter or a header holds bytes that are no UTF-8")
            response = _answered(_answer(port, no_text, request[REQUEST_ID]))
        except ConnectionError:
            raise  # the caller went away; aiohttp closes up
        except Exception:  # noqa: BLE001 - the edge of HTTP: one bad request must not end the server
            _log.exception("request_failed", port=port, method=request.method, path=request.path)
            failure = ManagedAgentsError("the server failed to handle this request; its log has the reason")
            response = _answered(_answer(port, failure, request[REQUEST_ID]))
        if response.status >= 400 and PREPARED in request:
            # an answer has begun and cannot become another: cut it, so that nobody takes it for whole
            raise ConnectionResetError("the answer failed after its headers")
        _count(request, port, response, started)
        return response

    return middleware


def refused_before_routing(status: int, message: str, request: web.BaseRequest) -> web.Response:
    """Return the API's error for what is refused before any middleware, as an `Expect` that nobody knows."""
    word = "invalid_request_error" if status < 500 else "api_error"
    return json_response(public_body(word, message, request_id_of(request)), status)


def _answer(port: Port, error: ManagedAgentsError, request_id: str) -> Answer:
    return internal_answer(error) if port == "internal" else public_answer(error, request_id)


def _http_answer(port: Port, error: web.HTTPException, request: web.Request) -> Answer:
    message = _message(error, request)
    if port == "internal":
        word = {404: "not_found", 413: "too_large"}.get(error.status, "invalid_request")
        return Answer(status=error.status, body={"error": {"type": word, "message": message}})
    word = _PUBLIC_WORDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    status = 404 if error.status == 405 else error.status
    return Answer(status=status, body=public_body(word, message, request[REQUEST_ID]))


def _message(error: web.HTTPException, request: web.Request) -> str:
    match error.status:
        case 404 | 405 if request.path.startswith("/v1/"):
            return f"{request.method} {request.path} is not built into this server yet, or does not exist"
        case 404 | 405:
            return f"{request.method} {request.path} does not exist"
        case 413:
            return "the request body is larger than this server accepts (32 MiB)"
        case _:
            return error.reason


def _answered(answer: Answer) -> web.Response:
    response = json_response(answer.body, answer.status)
    if answer.retry_after is not None:
        response.headers["retry-after"] = str(answer.retry_after)
    return response


def _count(request: web.Request, port: Port, response: web.StreamResponse, started: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "unknown"
    method = request.method if resource is not None else "unknown"
    context, status = context_of(request), response.status
    context.metrics.requests.labels(port, method, route, str(status)).inc()
    if status != _SWITCHED and response.content_type not in _ENDLESS:
        context.metrics.request_seconds.labels(port, method, route).observe(context.clock.monotonic() - started)
    if status >= 400:
        _log.info("request_refused", port=port, method=request.method, route=route, status=status)
