"""Which credential goes with an MCP server."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.headers import mcp_request_headers
from managed_agents.proxy.mcp_credentials import FileCredentials, parse_credentials
from managed_agents.proxy.watched_file import WatchedFile
from support.requirements import requirement

URL = "https://mcp.example.com/git"
BEARER = {"id": "c1", "vault_id": "v1", "type": "static_bearer", "mcp_server_url": URL, "token": "one"}
OAUTH = {"id": "c2", "vault_id": "v2", "type": "mcp_oauth", "mcp_server_url": URL, "access_token": "two"}
VARIABLE = {"id": "c3", "vault_id": "v2", "type": "environment_variable", "secret_name": "X", "secret_value": "three"}


def _source(folder: Path, *entries: dict[str, Any]) -> FileCredentials:
    file = folder / "credentials.json"
    file.write_bytes(orjson.dumps({"credentials": entries}))
    return FileCredentials(WatchedFile(file, parse_credentials))


@requirement("mcp-credential")
def test_the_first_credential_of_the_url_wins(tmp_path: Path) -> None:
    assert _source(tmp_path, VARIABLE, BEARER, OAUTH).bearer_for("https://MCP.example.com:443/git/") == "one"
    assert _source(tmp_path, OAUTH, BEARER).bearer_for(URL) == "two"
    assert _source(tmp_path, OAUTH, BEARER).bearer_for(f"{URL}/other") is None


def test_no_file_is_no_credential(tmp_path: Path) -> None:
    assert FileCredentials(WatchedFile(tmp_path / "none", parse_credentials)).bearer_for(URL) is None


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (BEARER | {"token": "hidden\nvalue"}, "credentials[0].token"),
        (BEARER | {"token": ""}, "credentials[0].token"),
        (BEARER | {"mcp_server_url": ""}, "credentials[0].mcp_server_url"),
        (OAUTH | {"mcp_server_url": "http://[hidden/"}, "credentials[0].mcp_server_url"),
    ],
)
def test_a_broken_file_is_told_by_its_field_and_never_by_its_value(
    tmp_path: Path, entry: dict[str, Any], field: str
) -> None:
    with pytest.raises(RefusedError, match="credentials") as refused:
        _source(tmp_path, entry).bearer_for(URL)
    assert field in refused.value.message
    assert "hidden" not in refused.value.message


@requirement("A19")
def test_what_a_caller_says_about_who_it_is_never_passes() -> None:
    sent = {"authorization": "Bearer mine", "Cookie": "a=b", "X-Api-Key": "k", "Mcp-Session-Id": "s", "Host": "evil"}
    assert dict(mcp_request_headers(sent, bearer=None)) == {"Mcp-Session-Id": "s"}
    assert dict(mcp_request_headers(sent, bearer="t")) == {"Mcp-Session-Id": "s", "Authorization": "Bearer t"}
