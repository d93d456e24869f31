"""Which credential goes with an MCP server."""

from typing import Any

import orjson
import pytest

from managed_agents.contracts.api.mcp_servers import normalised
from managed_agents.proxy.headers import mcp_request_headers
from managed_agents.proxy.mcp_credentials import CredentialFile, McpCredential, Unusable, parse_credentials
from support.requirements import requirement

URL = "https://mcp.example.com/git"
BEARER = {"id": "c1", "vault_id": "v1", "type": "static_bearer", "mcp_server_url": URL, "token": "one"}
OAUTH = {"id": "c2", "vault_id": "v2", "type": "mcp_oauth", "mcp_server_url": URL, "access_token": "two"}
VARIABLE = {"id": "c3", "vault_id": "v2", "type": "environment_variable", "secret_name": "X", "secret_value": "three"}


REFRESH = {"client_id": "i", "token_endpoint": "https://l.example", "refresh_token": "r"}
BASIC = {"type": "client_secret_basic", "client_secret": "hidden"}
UNUSABLE = {"id": "c4", "vault_id": "v1", "mcp_server_url": URL, "reason": "SecretNotFound"}


def _file(*entries: dict[str, Any], unusable: tuple[dict[str, Any], ...] = ()) -> CredentialFile:
    return parse_credentials(orjson.dumps({"session_id": "s", "credentials": entries, "unusable": unusable}))


def _bearer(file: CredentialFile, url: str) -> str | None:
    found = file.for_url(normalised(url))
    return found.bearer if isinstance(found, McpCredential) else None


@requirement("mcp-credential")
def test_the_first_credential_of_the_url_wins() -> None:
    assert _bearer(_file(VARIABLE, BEARER, OAUTH), "https://MCP.example.com:443/git/") == "one"
    assert _bearer(_file(OAUTH, BEARER), URL) == "two"
    assert _bearer(_file(OAUTH, BEARER), f"{URL}/other") is None
    assert _bearer(_file(BEARER, unusable=(UNUSABLE,)), URL) == "one"
    assert isinstance(_file(unusable=(UNUSABLE,)).for_url(URL), Unusable)


def test_an_empty_file_is_no_credential() -> None:
    assert parse_credentials(b"").for_url(URL) is None


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (BEARER | {"token": "hidden\nvalue"}, "credentials[0].token"),
        (BEARER | {"token": ""}, "credentials[0].token"),
        (BEARER | {"mcp_server_url": ""}, "credentials[0].mcp_server_url"),
        (OAUTH | {"mcp_server_url": "http://[hidden/"}, "credentials[0].mcp_server_url"),
        (OAUTH | {"expires_at": "hidden"}, "credentials[0].expires_at"),
        (OAUTH | {"refresh": "hidden"}, "credentials[0].refresh"),
        (OAUTH | {"refresh": REFRESH}, "credentials[0].refresh.token_endpoint_auth.type"),
        (OAUTH | {"refresh": {"token_endpoint_auth": BASIC}}, "credentials[0].refresh.refresh_token"),
    ],
)
def test_a_broken_file_is_told_by_its_field_and_never_by_its_value(entry: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match="credentials") as refused:
        _file(entry)
    assert field in str(refused.value)
    assert "hidden" not in str(refused.value)


@requirement("A19")
def test_what_a_caller_says_about_who_it_is_never_passes() -> None:
    sent = {"authorization": "Bearer mine", "Cookie": "a=b", "X-Api-Key": "k", "Mcp-Session-Id": "s", "Host": "evil"}
    assert dict(mcp_request_headers(sent, bearer=None)) == {"Mcp-Session-Id": "s"}
    assert dict(mcp_request_headers(sent, bearer="t")) == {"Mcp-Session-Id": "s", "Authorization": "Bearer t"}
