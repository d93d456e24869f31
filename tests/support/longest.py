"""The longest legal objects: every list and every text as long as its schema lets it be."""

from typing import Any

Json = dict[str, Any]


def _padded(prefix: str, index: int, length: int) -> str:
    return f"{prefix}{index}".ljust(length, "x")


METADATA = {_padded("k", index, 64): "v" * 512 for index in range(16)}


def longest_agent() -> Json:
    """Return the longest specification of an Agent."""
    servers = [_padded("s", index, 255) for index in range(20)]
    properties = {_padded("p", index, 64): {"type": "string"} for index in range(64)}
    names = ["bash", "read", "write", "edit", "glob", "grep", "web_fetch", "web_search"]
    toolset = {"type": "agent_toolset_20260401", "configs": [{"name": name, "type": name} for name in names]}
    mcp: list[Json] = [{"type": "mcp_toolset", "mcpServerName": server} for server in servers]
    mcp[0]["configs"] = [{"name": _padded("t", index, 255)} for index in range(122)]
    custom = [
        {"type": "custom", "name": _padded("c", index, 128), "description": "d", "inputSchema": schema}
        for index, schema in enumerate([{"type": "object", "properties": properties}] * 107)
    ]
    return {
        "model": {"id": "m" * 256},
        "system": "s" * 100_000,
        "metadata": METADATA,
        "tools": [toolset, *mcp, *custom],
        "mcpServers": [{"type": "url", "name": server, "url": "https://mcp.example"} for server in servers],
    }


def longest_session(events: int = 100) -> Json:
    """Return the longest specification of a Session that has this many events."""
    blocks = [{"type": "text", "text": "t" * 131} for _ in range(10)]
    resources = [{"type": "file", "fileId": _padded("f", index, 128), "mountPath": "m" * 512} for index in range(500)]
    return {
        "agentRef": {"name": "a" * 40},
        "environmentRef": {"name": "e" * 40},
        "metadata": METADATA,
        "resources": resources,
        "vaultRefs": [{"name": _padded("v", index, 40)} for index in range(50)],
        "events": [
            {"name": _padded("e", index, 63), "type": "user.message", "content": blocks} for index in range(events)
        ],
    }


def longest_environment() -> Json:
    """Return the longest specification of an Environment."""
    hosts = [f"{_padded('h', index, 63)}.example" for index in range(256)]
    networking = {"type": "limited", "allowedHosts": hosts, "allowPackageManagers": True}
    mounts = [{"mountPath": _padded("/d", index, 256), "configMapRef": {"name": "c" * 253}} for index in range(16)]
    packages = {"pip": ["p" * 256] * 100, "apt": ["a" * 256] * 100}
    return {
        "metadata": METADATA,
        "config": {"type": "cloud", "networking": networking, "packages": packages},
        "sandbox": {"mounts": mounts, "warmReplicas": 100, "maxWarmReplicas": 100},
    }
