"""The calls on vaults and their credentials, for `exercise.py`."""

from collections.abc import Callable
from typing import Any

Register = Callable[[str], Callable[[Callable[[Any], None]], object]]


def register_vaults(
    check: Register,
    part: Callable[[Any, str], Any],
    must: Callable[[Any, str], None],
    state: dict[str, Any],
    suffix: str,
) -> None:
    """Register one check a route, vaults first."""
    url = f"https://{suffix}.example/mcp"

    def vaults(client: Any) -> Any:
        return part(client, "beta.vaults")

    @check("POST /v1/vaults")
    def create(client: Any) -> None:
        state["vault"] = vaults(client).create(display_name=f"SDK {suffix}", metadata={"kind": "sdk"}).id
        must(state["vault"].startswith("vlt_"), "id")

    @check("GET /v1/vaults/{}")
    def get(client: Any) -> None:
        must(vaults(client).retrieve(state["vault"]).metadata == {"kind": "sdk"}, "metadata")

    @check("POST /v1/vaults/{}")
    def update(client: Any) -> None:
        must(vaults(client).update(state["vault"], display_name="changed").display_name == "changed", "display_name")

    @check("GET /v1/vaults")
    def listed(client: Any) -> None:
        must(state["vault"] in [vault.id for vault in vaults(client).list(limit=2)], "listed by the pager")

    _register_credentials(check, lambda client: part(client, "beta.vaults.credentials"), must, state, url)

    _register_types(check, lambda client: part(client, "beta.vaults.credentials"), must, state, url)
    _register_validation(check, lambda client: part(client, "beta.vaults.credentials.mcp_oauth_validate"), must, state)

    @check("POST /v1/vaults/{}/archive")
    def archive(client: Any) -> None:
        must(vaults(client).archive(state["vault"]).archived_at, "archived_at")

    @check("DELETE /v1/vaults/{}")
    def delete(client: Any) -> None:
        vaults(client).delete(state["vault"])


def _register_credentials(
    check: Register,
    credentials: Callable[[Any], Any],
    must: Callable[[Any, str], None],
    state: dict[str, Any],
    url: str,
) -> None:
    @check("POST /v1/vaults/{}/credentials")
    def create(client: Any) -> None:
        auth = {"type": "static_bearer", "mcp_server_url": url, "token": "secret"}
        made = credentials(client).create(state["vault"], auth=auth, display_name="one")
        must(made.id.startswith("vcrd_") and made.auth.mcp_server_url == url, repr(made))
        state["credential"] = made.id

    @check("GET /v1/vaults/{}/credentials/{}")
    def get(client: Any) -> None:
        found = credentials(client).retrieve(state["credential"], vault_id=state["vault"])
        must(found.display_name == "one" and "secret" not in repr(found.auth), repr(found))

    @check("POST /v1/vaults/{}/credentials/{}")
    def update(client: Any) -> None:
        auth = {"type": "static_bearer", "token": "newer"}
        changed = credentials(client).update(
            state["credential"], vault_id=state["vault"], auth=auth, metadata={"a": "1"}
        )
        must(changed.metadata == {"a": "1"}, repr(changed))

    @check("GET /v1/vaults/{}/credentials")
    def listed(client: Any) -> None:
        found = [item.id for item in credentials(client).list(state["vault"])]
        must(found == [state["credential"]], "listed by the pager")

    @check("POST /v1/vaults/{}/credentials/{}/archive")
    def archive(client: Any) -> None:
        archived = credentials(client).archive(state["credential"], vault_id=state["vault"])
        must(archived.archived_at, "archived_at")

    @check("DELETE /v1/vaults/{}/credentials/{}")
    def delete(client: Any) -> None:
        credentials(client).delete(state["credential"], vault_id=state["vault"])


def _register_types(
    check: Register,
    credentials: Callable[[Any], Any],
    must: Callable[[Any, str], None],
    state: dict[str, Any],
    url: str,
) -> None:
    @check("credential mcp_oauth")
    def oauth(client: Any) -> None:
        refresh = {
            "client_id": "agents",
            "token_endpoint": f"{url}/token",
            "refresh_token": "secret-1",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "secret-2"},
        }
        auth = {"type": "mcp_oauth", "mcp_server_url": url, "access_token": "secret-3", "refresh": refresh}
        made = credentials(client).create(state["vault"], auth=auth)
        must(made.auth.refresh.client_id == "agents" and "secret-" not in repr(made), repr(made))
        changed = credentials(client).update(
            made.id, vault_id=state["vault"], auth={"type": "mcp_oauth", "access_token": "secret-4"}
        )
        must(changed.auth.mcp_server_url == url and "secret-" not in repr(changed), repr(changed))
        state["oauth"] = made.id

    @check("credential environment_variable")
    def variable(client: Any) -> None:
        networking = {"type": "limited", "allowed_hosts": ["api.example.com"]}
        auth = {"type": "environment_variable", "secret_name": "KEY", "secret_value": "secret-1"}
        made = credentials(client).create(state["vault"], auth=auth | {"networking": networking})
        must(made.auth.secret_name == "KEY" and "secret-" not in repr(made), repr(made))
        changed = credentials(client).update(
            made.id, vault_id=state["vault"], auth={"type": "environment_variable", "secret_value": "secret-2"}
        )
        shown = changed.to_dict()["auth"]["networking"]  # older versions have no type for it
        must(shown["allowed_hosts"] == ["api.example.com"], repr(changed))
        must(credentials(client).archive(made.id, vault_id=state["vault"]).archived_at, "archived_at")


def _register_validation(
    check: Register, validate: Callable[[Any], Any], must: Callable[[Any, str], None], state: dict[str, Any]
) -> None:
    @check("POST /v1/vaults/{}/credentials/{}/mcp_oauth_validate")
    def validated(client: Any) -> None:
        found = validate(client)(state["oauth"], vault_id=state["vault"])
        must(found.status == "unknown" and found.has_refresh_token and found.mcp_probe is None, repr(found))
