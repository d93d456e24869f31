"""The API form of vaults has no secret in it."""

from typing import Any

from managed_agents.contracts.api.vaults import secret_references, shown_auth


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
