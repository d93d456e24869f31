"""How the model knows a tool of an MCP server: one name for server and tool, a function of both and of nothing else."""

import hashlib
import re

NAME_CHARACTERS_MAX = 128
_HASH_CHARACTERS = 8
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_-]")

PREFIX = "mcp__"
"""No custom tool may begin with it (API reference §4.2)."""


def model_name(server: str, tool: str) -> str:
    """Return the name of a tool in model requests: `mcp__SERVER__TOOL`.

    Characters that the Messages API does not take become `_`; such a name, one that is too long and one that another
    server's tool could have, ends with a hash of both.
    """
    plain = f"{PREFIX}{server}__{tool}"
    name = _NOT_ALLOWED.sub("_", plain)
    if name == plain and "__" not in server and len(name) <= NAME_CHARACTERS_MAX:
        return name
    digest = hashlib.sha256(f"{server}\0{tool}".encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARACTERS]
    return f"{name[: NAME_CHARACTERS_MAX - _HASH_CHARACTERS - 1]}_{digest}"
