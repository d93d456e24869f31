"""Small rules at the proxy's edges: close codes, reasons, error envelopes, the model of a body, the command line."""

import ssl
from unittest.mock import Mock

import pytest
from aiohttp import ClientConnectorCertificateError, ServerDisconnectedError, WSCloseCode, web

from managed_agents.proxy.errors import RefusedError, internal_envelope, model_envelope, refusal_from
from managed_agents.proxy.forward import reason_of
from managed_agents.proxy.model_listener import model_of
from managed_agents.proxy.settings import settings_from
from managed_agents.proxy.wake import passable


@pytest.mark.parametrize(("received", "sent"), [(1000, 1000), (4403, 4403), (None, 1012), (1006, 1012), (1005, 1012)])
def test_only_close_codes_that_may_be_sent_are_sent(received: int | None, sent: int) -> None:
    assert passable(received) == sent
    assert passable(WSCloseCode.GOING_AWAY) == WSCloseCode.GOING_AWAY


def test_reasons_are_the_system_s_words_without_addresses() -> None:
    assert reason_of(ConnectionRefusedError(111, "Connect call failed ('10.0.0.9', 7400)")) == "Connection refused"
    assert reason_of(TimeoutError()) == "timed out"
    assert reason_of(ServerDisconnectedError("secret text")) == "ServerDisconnectedError"
    certificate = ClientConnectorCertificateError(Mock(), ssl.SSLCertVerificationError())
    assert reason_of(certificate) == "its TLS certificate is not trusted"


def test_each_listener_renders_errors_in_its_vocabulary() -> None:
    refusal = refusal_from(web.HTTPNotFound())
    assert internal_envelope(refusal)["error"] == {"type": "not_found", "message": refusal.message}
    error = {"type": "not_found_error", "message": refusal.message}
    assert model_envelope(refusal) == {"type": "error", "error": error}


def test_detail_never_replaces_type_or_message() -> None:
    refusal = RefusedError(409, "stale_epoch", "m", detail={"epoch": 3, "type": "x", "message": "y"})
    assert internal_envelope(refusal) == {"error": {"type": "stale_epoch", "message": "m", "epoch": 3}}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model": ""}', b'{"model": 7}'])
def test_a_body_without_model_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        model_of(body)
    assert (refused.value.status, refused.value.kind) == (400, "invalid_request_error")


def test_the_model_is_read_from_the_body() -> None:
    assert model_of(b'{"messages": [], "model": "m"}') == "m"
    assert model_of('{"model":"ä"}'.encode()) == "ä"


@pytest.mark.parametrize(
    "rest",
    [
        b'"model":"n"',
        b'"model" : "n"',
        rb'"\u006dodel":"n"',
        rb'"mode\u006C":"n"',
        b'"messages":[{"model":"inner"}],"model":"n"',
    ],
)
def test_a_second_model_is_not_overlooked(rest: bytes) -> None:
    assert model_of(b'{"model":"m",' + rest + b"}") == "n"


@pytest.mark.parametrize(
    "rest",
    [b'"messages":[{"content":"a \\"model\\": x"}]', b'"input":{"model":"inner"}', rb'"input":"\u001b[1m \u006d"'],
)
def test_what_is_no_key_of_the_body_is_no_model(rest: bytes) -> None:
    assert model_of(b'{"model":"m",' + rest + b"}") == "m"


def test_a_long_body_that_names_its_model_first_is_not_parsed() -> None:
    assert model_of(b'{"model":"claude-x/1","messages":[' + b"0," * 1000) == "claude-x/1"  # which is no JSON


def test_a_server_url_must_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings_from(["--server-url", "server:8401"])
    assert "--server-url" in capsys.readouterr().err
    assert settings_from(["--server-url", "http://server:8401"]).session_port == 7301
