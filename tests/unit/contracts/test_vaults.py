"""The API form of vaults: no secret in it, URLs that can be compared."""

from typing import Any

import pytest

from managed_agents.contracts.api.vaults import normal_url, secret_references, shown_auth


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("HTTPS://MCP.Example/Path/", "https://mcp.example/Path"),
        ("https://mcp.example:443", "https://mcp.example"),
        ("http://mcp.example:80/a", "http://mcp.example/a"),
        ("http://mcp.example:443/a", "http://mcp.example:443/a"),
        ("https://mcp.example:8443/", "https://mcp.example:8443"),
        ("https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x"),
        ("https://mcp.example/a/?b=C/", "https://mcp.example/a?b=C/"),
    ],
)
def test_urls_are_compared_in_normal_form(written: str, normal: str) -> None:
    assert normal_url(written) == normal
    assert normal_url(normal) == normal


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="ort"):
        normal_url("https://mcp.example:99999/")


def test_what_is_shown_has_neither_secrets_nor_where_they_are() -> None:
    def at(key: str) -> dict[str, Any]:
        return {"secretKeyRef": {"name": "hidden", "key": key}}

    client = {"type": "client_secret_post", "clientSecret": at("c")}
    refresh = {"clientId": "i", "tokenEndpoint": "https://t", "refreshToken": at("b"), "tokenEndpointAuth": client}
    auth = {"type": "mcp_oauth", "mcpServerUrl": "https://m", "accessToken": at("a"), "refresh": refresh}
    assert "hidden" not in repr(shown_auth(auth))
    assert [(path, reference["key"]) for path, reference in secret_references(auth)] == [
        (("accessToken",), "a"),
        (("refresh", "refreshToken"), "b"),
        (("refresh", "tokenEndpointAuth", "clientSecret"), "c"),
    ]
