"""The routes: read, decide in `Simulator`, send."""

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
import structlog
from aiohttp import web

from managed_agents.simulator.authorization import check_headers
from managed_agents.simulator.errors import ApiError, envelope_of, invalid_request
from managed_agents.simulator.models import check_model, model_info, model_list
from managed_agents.simulator.records import Record
from managed_agents.simulator.replying import Reply
from managed_agents.simulator.script import parse_script, steps_from
from managed_agents.simulator.script_fields import ScriptError
from managed_agents.simulator.searching import search
from managed_agents.simulator.service import Simulator, parsed

SIMULATOR: Final = web.AppKey("simulator", Simulator)
RECORD: Final = web.RequestKey("record", Record)
WAIT_SECONDS_MAX: Final = 60.0

_log = structlog.get_logger("simulator")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_envelopes(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure leaves as the API's error object, with a `request-id`."""
    try:
        return await handler(request)
    except ApiError as error:
        return _error_response(request, error)
    except web.HTTPRequestEntityTooLarge:
        return _error_response(request, ApiError("request_too_large", "Request exceeds the maximum size"))
    except web.HTTPNotFound:
        return _error_response(request, ApiError("not_found_error", "Not found"))
    except web.HTTPMethodNotAllowed:
        return _error_response(request, ApiError("invalid_request_error", "Method Not Allowed", status=405))
    except Exception:  # noqa: BLE001 - the edge: what breaks is logged here and told as the API tells it
        _log.exception("request_failed", path=request.path)
        return _error_response(request, ApiError("api_error", "Internal server error"))


def _error_response(http: web.Request, error: ApiError) -> web.Response:
    simulator = http.app[SIMULATOR]
    record = http.get(RECORD)
    if record is not None:
        record.status = error.status
        record.error = {"type": error.error_type, "message": error.message}
        simulator.records.finish(record, "error", simulator.clock.monotonic())
        _log_request(record)
    request_id = record.request_id if record else "req_simulated"
    response = _json(envelope_of(error.error_type, error.message, request_id), status=error.status)
    response.headers["request-id"] = request_id
    if error.retry_after_seconds is not None:
        # The header has whole seconds; the SDKs read the finer one first.
        response.headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
        response.headers["retry-after-ms"] = str(round(error.retry_after_seconds * 1000))
    return response


async def create_message(http: web.Request) -> web.StreamResponse:
    """`POST /v1/messages`."""
    simulator = http.app[SIMULATOR]
    record = await _recorded(http)
    check_headers(http.headers, simulator.api_key)
    request, answer, envelope = simulator.answer(record)
    try:
        return await Reply(http, answer, envelope, record, simulator.clock).send(
            simulator.records, stream=request.stream
        )
    finally:
        _log_request(record)


async def count_tokens(http: web.Request) -> web.StreamResponse:
    """`POST /v1/messages/count_tokens`."""
    simulator = http.app[SIMULATOR]
    record = await _recorded(http)
    check_headers(http.headers, simulator.api_key)
    tokens = simulator.count_tokens(record)
    record.status = 200
    simulator.records.finish(record, "complete", simulator.clock.monotonic())
    response = _json({"input_tokens": tokens})
    response.headers["request-id"] = record.request_id
    return response


async def list_models(http: web.Request) -> web.StreamResponse:
    """`GET /v1/models`."""
    check_headers(http.headers, http.app[SIMULATOR].api_key)
    return _json(model_list())


async def get_model(http: web.Request) -> web.StreamResponse:
    """`GET /v1/models/{id}`."""
    check_headers(http.headers, http.app[SIMULATOR].api_key)
    check_model(http.match_info["model"])
    return _json(model_info(http.match_info["model"]))


async def healthz(_: web.Request) -> web.StreamResponse:
    """`GET /healthz`."""
    return _json({"status": "ok"})


async def search_web(http: web.Request) -> web.StreamResponse:
    """`GET /search?q=TEXT&format=json`, as SearXNG answers it where `json` is allowed."""
    if http.query.get("format") != "json":
        return _json({"error": "only the format json is served"}, status=403)
    return _json(search(http.query.get("q", "")))


async def queue_script(http: web.Request) -> web.StreamResponse:
    """`POST /_simulator/scripts`: `{"match": {"contains": TEXT}, "steps": [...] or YAML text}`."""
    body = parsed(await http.read())
    if not isinstance(body, dict) or not set(body) <= {"match", "steps"}:
        raise invalid_request('the body is {"match": {"contains": "..."}, "steps": [...]}; `match` may be left out')
    match = body.get("match") or {}
    if not isinstance(match, dict) or not set(match) <= {"contains"}:
        raise invalid_request('match: the one thing to match by is {"contains": "..."}')
    contains = match.get("contains")
    if contains is not None and not isinstance(contains, str):
        raise invalid_request("match.contains: Input should be a valid string")
    try:
        steps = _steps(body.get("steps"))
    except ScriptError as error:
        raise invalid_request(f"steps: {error}") from error
    queued = http.app[SIMULATOR].scripts.queue(contains, steps)
    return _json({"id": queued.id, "contains": queued.contains, "steps": len(queued.steps)}, status=201)


def _steps(value: Any) -> Any:
    if isinstance(value, str):
        return parse_script(value)
    if not isinstance(value, list):
        raise ScriptError("expected a list of steps, or a YAML text of one")
    return steps_from(value, [f"steps[{index}]" for index in range(len(value))])


async def clear_scripts(http: web.Request) -> web.StreamResponse:
    """`DELETE /_simulator/scripts`."""
    return _json({"deleted": http.app[SIMULATOR].scripts.clear()})


async def list_requests(http: web.Request) -> web.StreamResponse:
    """`GET /_simulator/requests?after=N&wait_seconds=S&finished=true`."""
    simulator = http.app[SIMULATOR]
    after = _query_number(http, "after", 0)
    wait_seconds = min(_query_number(http, "wait_seconds", 0), WAIT_SECONDS_MAX)
    finished_only = http.query.get("finished") == "true"
    found = simulator.records.after(int(after), finished_only=finished_only)
    if not found and wait_seconds > 0:
        found = await simulator.records.wait_after(int(after), wait_seconds, finished_only=finished_only)
    return _json({"data": [record.view() for record in found], "last": simulator.records.last})


async def clear_requests(http: web.Request) -> web.StreamResponse:
    """`DELETE /_simulator/requests`."""
    return _json({"deleted": http.app[SIMULATOR].records.clear()})


def _query_number(http: web.Request, name: str, default: float) -> float:
    value = http.query.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise invalid_request(f"{name}: expected a number of at least 0; found {value!r}")
    return number


async def _recorded(http: web.Request) -> Record:
    record = http.app[SIMULATOR].record(http.path, await http.read())
    http[RECORD] = record
    return record


def _log_request(record: Record) -> None:
    took = None if record.finished_monotonic is None else record.finished_monotonic - record.received_monotonic
    _log.info(
        "request",
        n=record.n,
        status=record.status,
        outcome=record.outcome,
        step=record.step,
        error=record.error["message"] if record.error else None,
        seconds=None if took is None else round(took, 4),
    )


def _json(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
