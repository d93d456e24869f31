"""Endpoints that servers of the older transport name on their streams."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.mcp_endpoints import HEAD_BYTES_MAX, EndpointRewriter, Endpoints
from support.requirements import requirement

URL = "https://mcp.example.com/sse?tenant=a"
STREAM = b": hi\n\nevent: endpoint\r\ndata: /messages/?session_id=1\r\n\r\nevent: message\r\ndata: {}\r\n\r\n"
PASSED = b": hi\n\nevent: endpoint\r\ndata: /ours\r\n\r\nevent: message\r\ndata: {}\r\n\r\n"


@given(st.lists(st.integers(1, 30)))
def test_the_endpoint_is_replaced_however_the_stream_is_cut(cuts: list[int]) -> None:
    told: list[str] = []

    def opened(uri: str) -> str:
        told.append(uri)
        return "/ours"

    rewriter, rest, passed = EndpointRewriter(opened), STREAM, b""
    for cut in cuts:
        passed += rewriter(rest[:cut])
        rest = rest[cut:]
    assert passed + rewriter(rest) == PASSED
    assert told == ["/messages/?session_id=1"]


@pytest.mark.parametrize("stream", [b"data: {}\n\nevent: endpoint\ndata: /x\n\n", b"x" * (HEAD_BYTES_MAX + 1)])
def test_a_stream_that_names_none_first_passes_as_it_is(stream: bytes) -> None:
    assert EndpointRewriter(lambda _: "/ours")(stream) == stream


@requirement("A23")
@pytest.mark.parametrize(
    "uri",
    [
        *("https://evil.example.com/x", "//evil.example.com/x", "http://mcp.example.com/x"),
        *("https://mcp.example.com:8443/x", "https://u@evil.example.com/", "http://[/", "file:///etc/passwd"),
    ],
)
def test_an_endpoint_on_another_origin_breaks_the_stream(uri: str) -> None:
    words: list[str] = []
    with pytest.raises(UnreachableError):
        Endpoints().open("git", URL, uri, words)
    assert words == []


def test_an_endpoint_holds_for_its_server_and_as_long_as_its_stream() -> None:
    endpoints, words = Endpoints(), list[str]()
    path = endpoints.open("git hub", URL, "/messages/?session_id=a%2Fb", words)
    assert path == f"/v1/mcp?server=git%20hub&endpoint={words[0]}"
    assert endpoints.url_of(words[0], "git hub") == "https://mcp.example.com/messages/?session_id=a%2Fb"
    with pytest.raises(RefusedError):
        endpoints.url_of(words[0], "other")
    endpoints.close(words)
    with pytest.raises(RefusedError):
        endpoints.url_of(words[0], "git hub")
