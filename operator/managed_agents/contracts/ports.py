"""Ports, paths and audiences on which the processes meet."""

SERVER_PUBLIC_PORT = 8400
SERVER_INTERNAL_PORT = 8401
SIMULATOR_PORT = 8500
OPERATOR_HEALTH_PORT = 8600

PROXY_HEALTH_PORT = 7300
"""The proxy's only port that is not loopback: `/healthz` and `/readyz`, for the kubelet."""
PROXY_SESSION_PORT = 7301
PROXY_HAND_PORT = 7302
PROXY_MODEL_PORT = 7303
PROXY_MCP_PORT = 7304
SUPERVISOR_PORT = 7400

SERVER_AUDIENCE = "managedagents.dev/server"
"""Audience of the projected ServiceAccount token by which a proxy or the operator proves itself to the server."""

SERVER_TOKEN_PATH = "/var/run/managed-agents/server/token"  # noqa: S105 - a path, not a secret
WEB_SEARCH_KEY_PATH = "/var/run/managed-agents/web-search/api-key"
PROVIDERS_PATH = "/var/run/managed-agents/providers/providers.json"
VAULT_CREDENTIALS_PATH = "/var/run/managed-agents/vault/credentials.json"
"""Credentials of the session's vaults, in the order in which they win; the file is absent where there are none."""
