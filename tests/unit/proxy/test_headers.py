"""Which headers pass the proxy (A19)."""

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from managed_agents.proxy.headers import model_request_headers, response_headers, server_request_headers
from support.requirements import requirement

_TOKEN = st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEF-", min_size=1, max_size=24)
_HEADERS = st.lists(st.tuples(_TOKEN, st.just("canary")), max_size=20).map(CIMultiDict)
_SECRET_NAMES = st.sampled_from(
    ["Authorization", "AUTHORIZATION", "x-api-key", "X-Api-Key", "Cookie", "Proxy-Authorization", "X-Forwarded-For"]
)


def test_a_model_request_keeps_what_the_api_reads_and_gains_the_key() -> None:
    incoming = CIMultiDict(
        {
            "Host": "127.0.0.1:7303",
            "Authorization": "Bearer canary",
            "X-Api-Key": "canary",
            "Cookie": "canary",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "anthropic-beta": "a,b",
            "X-Stainless-Lang": "python",
            "Connection": "keep-alive",
        }
    )
    assert dict(model_request_headers(incoming, api_key="real")) == {
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "anthropic-beta": "a,b",
        "X-Stainless-Lang": "python",
        "anthropic-version": "2023-06-01",
        "x-api-key": "real",
    }


def test_a_version_that_the_caller_names_stays() -> None:
    headers = model_request_headers(CIMultiDict({"Anthropic-Version": "2024-01-01"}), api_key="k")
    assert headers.getall("anthropic-version") == ["2024-01-01"]


@requirement("A19")
@given(_HEADERS, st.lists(_SECRET_NAMES))
def test_no_identity_of_a_caller_ever_passes(headers: CIMultiDict[str], secrets: list[str]) -> None:
    for name in secrets:
        headers.add(name, "canary")
    model = model_request_headers(headers, api_key="real")
    server = server_request_headers(headers, token="real")
    assert model.getall("x-api-key") == ["real"]
    assert server.getall("authorization") == ["Bearer real"]
    assert not {"authorization", "cookie", "proxy-authorization", "x-forwarded-for"} & {key.lower() for key in model}
    assert not {"x-api-key", "cookie", "proxy-authorization", "x-forwarded-for"} & {key.lower() for key in server}


def test_an_answer_keeps_retry_after_and_request_id_and_loses_the_connection_s_own() -> None:
    upstream = CIMultiDict(
        {
            "retry-after": "7",
            "request-id": "req_1",
            "Content-Encoding": "gzip",
            "Transfer-Encoding": "chunked",
            "Connection": "close, X-Hop",
            "X-Hop": "1",
            "Set-Cookie": "a=b",
        }
    )
    assert dict(response_headers(upstream)) == {
        "retry-after": "7",
        "request-id": "req_1",
        "Content-Encoding": "gzip",
    }
