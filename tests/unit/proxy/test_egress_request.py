"""A tool's first bytes and what of them goes on."""

import pytest

from managed_agents.proxy.egress_hosts import MalformedHostError, Target
from managed_agents.proxy.egress_request import EgressRequest, MalformedRequestError, parse_request


def test_connect_opens_a_tunnel() -> None:
    raw = b"CONNECT Example.COM:443 HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    assert parse_request(raw) == EgressRequest(target=Target(host="example.com", port=443), is_tunnel=True)


def test_an_absolute_request_goes_on_in_origin_form_with_its_own_host_and_no_proxy_headers() -> None:
    raw = (
        b"POST http://Example.com:8080/a?b=c#d HTTP/1.1\r\nHost: inner.example\r\nProxy-Connection: keep-alive\r\n"
        b"Connection: keep-alive\r\nproxy-authorization: Basic eA==\r\nUpgrade: h2c\r\nX-A: b\r\n"
        b"Content-Length: 5\r\n\r\n"
    )
    request = parse_request(raw)
    assert (request.target, request.is_tunnel, request.body) == (Target(host="example.com", port=8080), False, 5)
    assert request.head == (
        b"POST /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nX-A: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    )


def test_a_path_may_be_absent_and_a_body_chunked() -> None:
    request = parse_request(b"GET http://example.com?q HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert request.head.startswith(b"GET /?q HTTP/1.1\r\nHost: example.com\r\n")
    assert request.body == "chunked"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET https://example.com/ HTTP/1.1\r\n\r\n",
        b"GET ftp://example.com/ HTTP/1.1\r\n\r\n",
        b"GET http://example.com/ HTTP/2\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"CONNECT example.com HTTP/1.1\r\n\r\n",
        b"CONNECT \xff\xfe:443 HTTP/1.1\r\n\r\n",
        b"GET http://a@example.com/ HTTP/1.1\r\n\r\n",
        b"GET http://example.com/ HTTP/1.1\r\nX-A: b\nHost: evil\r\n\r\n",
        b"GET http://example.com/ HTTP/1.1\r\nX-A : b\r\n\r\n",
        b"POST http://example.com/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST http://example.com/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST http://example.com/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST http://example.com/ HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises((MalformedRequestError, MalformedHostError)):
        parse_request(raw)
