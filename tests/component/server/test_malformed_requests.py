"""Whatever arrives at the public port: the API's error with a request id, never a 500, and nothing half done."""

import json
import zlib
from typing import Any

from support.raw_http import exchange
from support.server import USER_TOKEN, TestServer, message

AUTHORISED = f"Authorization: Bearer {USER_TOKEN}\r\n".encode()


async def raw(server: TestServer, content: bytes) -> tuple[int, dict[str, str], Any]:
    """Send bytes and return status, headers and JSON body of the answer."""
    answer = await exchange(server.public_url, content)
    return answer.status, answer.headers, answer.body


def require_envelope(answer: tuple[int, dict[str, str], Any], status: int, word: str = "invalid_request_error") -> str:
    """Check the API's error; return its message."""
    found, headers, body = answer
    assert (found, body["type"], body["error"]["type"]) == (status, "error", word), body
    assert headers["content-type"].startswith("application/json")
    assert headers["request-id"] == body["request_id"]
    return str(body["error"]["message"])


def post(session: str, body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    head = f"POST /v1/sessions/{session}/events HTTP/1.1\r\nHost: x\r\n".encode() + AUTHORISED + lines
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


NO_HTTP = [
    (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", 400),
    (b"GET /v1/sessions HTTP/9.9\r\n\r\n", 400),
    (b"BREW /v1/agents HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /v1/agents HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
    (b"GET /v1/agents HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    (b"GET /v1/agents?q=" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET /v1/agents HTTP/1.1\r\nHost: x\r\n" + b"X-A: 1\r\n" * 500 + b"\r\n", 431),
    (b"GET /v1/agents HTTP/1.1\r\nHost: x\r\nExpect: gifts\r\n\r\n", 417),
    (b"POST /v1/agents HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /v1/agents HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
]


async def test_what_is_no_http_is_answered_in_the_apis_form(server: TestServer) -> None:
    for content, status in NO_HTTP:
        require_envelope(await raw(server, content), status)


NO_BODIES = [
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b'{"events": [\xff]}', "no JSON"),
    (b'{"events": "\\ud800"}', "no JSON"),
    (b'{"events": 1e999}', "no JSON"),
    (b"[" * 5000, "no JSON"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'{"events": ' + b"[" * 240 + b"]" * 240 + b"}", "levels deep"),
    (b'{"events": 123456789012345678901234567890}', "events"),
    (b'{"events": [], "\\u0000": 1}', "unknown field"),
]


async def test_a_body_that_is_none_is_refused(server: TestServer) -> None:
    session = await server.create()
    for body, says in NO_BODIES:
        assert says in require_envelope(await raw(server, post(session, body)), 400)
        assert (await server.operator("GET", f"/sessions/{session}"))[1]["head"] == 0


FORMS = ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]


async def test_a_form_is_refused_where_json_is_due(server: TestServer) -> None:
    session = await server.create()
    for content_type in FORMS:
        answer = await raw(server, post(session, b'{"events": []}', f"Content-Type: {content_type}".encode()))
        assert "content-type" in require_envelope(answer, 400)


NAMES_OF_JSON = [b"", b"Content-Type: text/plain", b"Content-Type: ;;;"]


async def test_json_is_json_whatever_the_header_calls_it(server: TestServer) -> None:
    session = await server.create()
    for content_type in NAMES_OF_JSON:
        body = json.dumps({"events": [message("hello")]}).encode()
        lines = [content_type] if content_type else []
        assert (await raw(server, post(session, body, *lines)))[0] == 200


ODD_HEADERS = [
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate",
    b"x-stainless-retry-count: \xff",
    b"Idempotency-Key: \xff\xfe",
    b"anthropic-workspace-id: \xff",
]


async def test_headers_that_make_no_sense_are_no_failure_of_ours(server: TestServer) -> None:
    session = await server.create()
    for header in ODD_HEADERS:
        status, _, answer = await raw(server, post(session, b'{"events": []}', header))
        assert 400 <= status < 500, answer
        assert answer["type"] == "error"


async def test_a_compressed_body_counts_as_what_it_unpacks_to(server: TestServer) -> None:
    session = await server.create()
    packed = zlib.compress(b" " * (64 * 1024 * 1024))
    answer = await raw(server, post(session, packed, b"Content-Encoding: deflate"))
    require_envelope(answer, 413, "request_too_large")


async def test_broken_chunks_are_refused(server: TestServer) -> None:
    session = await server.create()
    head = f"POST /v1/sessions/{session}/events HTTP/1.1\r\nHost: x\r\n".encode() + AUTHORISED
    answer = await raw(server, head + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n")
    require_envelope(answer, 400)


NO_TEXTS = [b"\xff\xfe", b"sk-ma-\xc3\xa4"]


async def test_a_credential_that_is_no_text_is_401(server: TestServer) -> None:
    for token in NO_TEXTS:
        for line in (b"Authorization: Bearer " + token, b"X-Api-Key: " + token):
            content = b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"
            require_envelope(await raw(server, content), 401, "authentication_error")


ODD_PATHS = ["/v1/sessions/%ff%00/events", "/v1/sessions/..%2f..%2f/events", "/v1/%ff", "//v1"]


async def test_odd_paths_are_404(server: TestServer) -> None:
    for path in ODD_PATHS:
        content = f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode() + AUTHORISED + b"\r\n"
        require_envelope(await raw(server, content), 404, "not_found_error")


WRONG_METHODS = ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


async def test_a_wrong_method_is_404_in_the_apis_form(server: TestServer) -> None:
    session = await server.create()
    for method in WRONG_METHODS:
        content = f"{method} /v1/sessions/{session}/events HTTP/1.1\r\nHost: x\r\n".encode() + AUTHORISED + b"\r\n"
        require_envelope(await raw(server, content), 404, "not_found_error")


async def test_unknown_betas_and_versions_are_ignored(server: TestServer) -> None:
    session = await server.create()
    headers = {"anthropic-beta": "nothing-2030-01-01, else", "anthropic-version": "1999-01-01"}
    path = f"/sessions/{session}/events?beta=true"
    assert (await server.user("GET", path, headers=headers))[0] == 200


NUMBERS = ["0" * 8 + "1" * 4, "9" * 5000]
"""One with zeros before it, one that Python refuses to read."""


async def test_a_number_of_many_digits_is_refused_everywhere(server: TestServer) -> None:
    session = await server.create()
    lists = ["files", "agents", "sessions", "models", *(f"sessions/{session}/{name}" for name in LISTS_OF_A_SESSION)]
    for path in lists:
        for number in NUMBERS:
            content = (
                f"GET /v1/{path}?limit={number} HTTP/1.1\r\nHost: x\r\nanthropic-workspace-id: team-a\r\n".encode()
            )
            assert "limit" in require_envelope(await raw(server, content + AUTHORISED + b"\r\n"), 400), path


LISTS_OF_A_SESSION = ["events", "resources", "threads"]


async def test_a_retry_count_of_many_digits_is_one(server: TestServer) -> None:
    session = await server.create()
    body = json.dumps({"events": [message("hello")]}).encode()
    answer = await raw(server, post(session, body, b"x-stainless-retry-count: " + b"9" * 5000))
    assert answer[0] == 200
