"""What is shown of another's answer to a probe: no piece of a secret, in whatever spelling it comes back."""

import base64
from urllib.parse import quote

import pytest

from managed_agents.proxy.oauth.captured import BODY_BYTES_MAX, HttpAnswer, captured, scrubbed
from managed_agents.proxy.oauth.probing import Failed, Finding, Refresh
from managed_agents.proxy.oauth.token_request import NotRenewed, answer_from
from support.requirements import requirement

TOKEN = "sécret/%&+token-0123456789"


@requirement("mcp-oauth-probed", "A30")
@pytest.mark.parametrize(
    "spelled",
    [
        TOKEN,
        quote(TOKEN, safe=""),
        TOKEN.encode().hex(),
        base64.b64encode(f"x{TOKEN}".encode()).decode(),
        base64.urlsafe_b64encode(f"xy{TOKEN}\r\n".encode()).decode(),
        TOKEN[:14],
        TOKEN[6:],
    ],
)
def test_a_token_that_comes_back_is_hidden(spelled: str) -> None:
    body = f'{{"error": "you sent {spelled}, which I do not know"}}'.encode()
    shown = scrubbed(body, [TOKEN])
    assert len(shown) == len(body)
    assert shown.startswith(b'{"error": "you sent ')
    sent = spelled.encode()
    assert not any(sent[at : at + 12] in shown for at in range(len(sent) - 11))


def test_an_answer_is_bounded_and_its_type_is_one_of_a_list() -> None:
    shown = captured(401, "Text/Plain; x=secret", b"x" * (BODY_BYTES_MAX + 1), ["s"], is_cut=False)
    assert (shown.content_type, len(shown.body), shown.body_truncated) == ("text/plain", BODY_BYTES_MAX, True)
    assert captured(401, "secret/secret", b"no", [], is_cut=False) == HttpAnswer(
        status_code=401, content_type="application/octet-stream", body="no", body_truncated=False
    )


def test_of_a_token_endpoint_only_the_code_is_shown() -> None:
    body = b'{"error": "invalid_grant", "error_description": "refresh-canary is spent"}'
    found = answer_from(400, body, "login.example", "application/json")
    assert isinstance(found, NotRenewed)
    assert found.answer == HttpAnswer(
        status_code=400, content_type="application/json", body='{"error":"invalid_grant"}', body_truncated=True
    )


def _failed(status: int) -> Failed:
    return Failed(method="initialize", answer=captured(status, "", b"", [], is_cut=False))


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (Finding(), "valid"),
        (Finding(refresh=Refresh(status="succeeded")), "valid"),
        (Finding(failed=Failed(method="initialize")), "unknown"),
        (Finding(failed=_failed(404)), "invalid"),
        (Finding(failed=_failed(403)), "invalid"),
        (Finding(failed=_failed(302)), "unknown"),
        (Finding(failed=_failed(200)), "unknown"),
        (Finding(failed=_failed(429)), "unknown"),
        (Finding(failed=_failed(500)), "unknown"),
        (Finding(failed=_failed(401), refresh=Refresh(status="no_refresh_token")), "invalid"),
        (Finding(failed=_failed(401), refresh=Refresh(status="failed")), "invalid"),
        (Finding(failed=_failed(401), refresh=Refresh(status="failed", is_final=False)), "unknown"),
        (Finding(failed=_failed(401), refresh=Refresh(status="connect_error", is_final=False)), "unknown"),
        (Finding(failed=_failed(401), refresh=Refresh(status="succeeded")), "invalid"),
    ],
)
def test_a_finding_means_what_the_api_says(finding: Finding, verdict: str) -> None:
    assert finding.verdict == verdict
