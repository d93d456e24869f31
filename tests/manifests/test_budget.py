"""The longest legal objects spend at most a tenth of the kube-apiserver's CEL budget (guarantee A36).

The kube-apiserver tells nobody what a validation has cost, so each rule stands ten times in a copy of the CRD: what is
accepted there costs a tenth of the budget at most.
"""

from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from support.apiserver import ControlPlane
from support.crd_schema import nodes, schema_of
from support.kubeclient import KubeError, collection_path, eventually
from support.manifests import crds
from support.requirements import requirement

pytestmark = [pytest.mark.apiserver, pytest.mark.slow, pytest.mark.timeout(180)]

Json = dict[str, Any]
FACTOR = 10
GROUP = "tenfold.managedagents.dev"
PATIENCE_SECONDS = 150.0
"""A few seconds on an idle machine; the kube-apiserver gives up then too."""


@pytest.fixture(scope="module")
def tenfold(plane: ControlPlane) -> ControlPlane:
    """The kube-apiserver with our kinds once more, each rule ten times; its client has the patience this takes."""
    if not plane.is_disposable:
        pytest.skip("adds a group of kinds, so needs a kube-apiserver of its own")
    for kind, crd in crds().items():
        plane.client.apply(_tenfold(crd))
        eventually(partial(_is_served, plane, kind))
    return replace(plane, client=replace(plane.client, timeout_seconds=PATIENCE_SECONDS))


def _tenfold(crd: Json) -> Json:
    changed = deepcopy(crd)
    plural = crd["spec"]["names"]["plural"]
    changed["metadata"] = {"name": f"{plural}.{GROUP}"}
    changed["spec"]["group"] = GROUP
    for name in ("shortNames", "categories"):
        del changed["spec"]["names"][name]
    for _, node in nodes(schema_of(changed)):
        if "x-kubernetes-validations" in node:
            node["x-kubernetes-validations"] = [
                {**rule, "rule": rule["rule"] + " " * copy}  # the same rule twice is refused
                for rule in node["x-kubernetes-validations"]
                for copy in range(FACTOR)
            ]
    return changed


def _is_served(plane: ControlPlane, kind: str) -> bool:
    probe = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"namespace": plane.namespace}}
    try:
        plane.client.request("GET", collection_path(probe))
    except KubeError:
        return False
    return True


def _object(plane: ControlPlane, kind: str, spec: Json) -> Json:
    metadata = {"name": "n" * 40, "namespace": plane.namespace}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _padded(prefix: str, index: int, length: int) -> str:
    return f"{prefix}{index}".ljust(length, "x")


METADATA = {_padded("k", index, 64): "v" * 512 for index in range(16)}


def _longest_agent() -> Json:
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


def _longest_session(events: int = 100) -> Json:
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


def _longest_environment() -> Json:
    hosts = [f"{_padded('h', index, 63)}.example" for index in range(256)]
    networking = {"type": "limited", "allowedHosts": hosts, "allowPackageManagers": True}
    mounts = [{"mountPath": _padded("/d", index, 256), "configMapRef": {"name": "c" * 253}} for index in range(16)]
    packages = {"pip": ["p" * 256] * 100, "apt": ["a" * 256] * 100}
    return {
        "metadata": METADATA,
        "config": {"type": "cloud", "networking": networking, "packages": packages},
        "sandbox": {"mounts": mounts, "warmReplicas": 100, "maxWarmReplicas": 100},
    }


@requirement("A36")
@pytest.mark.parametrize(
    ("kind", "spec"),
    [("Agent", _longest_agent()), ("Environment", _longest_environment())],
    ids=["Agent", "Environment"],
)
def test_longest_legal_object_is_accepted(tenfold: ControlPlane, kind: str, spec: Json) -> None:
    tenfold.client.create(_object(tenfold, kind, spec), dry_run=True)


def test_longest_session_is_accepted_and_its_events_may_go(tenfold: ControlPlane) -> None:
    stored = tenfold.client.create(_object(tenfold, "Session", _longest_session()))
    rejected = [{"name": entry["name"], "reason": "Invalid"} for entry in stored["spec"]["events"]]
    status = {"events": {"delivered": [], "rejected": rejected}}
    stored = tenfold.client.replace({**stored, "status": status}, subresource="status")
    kept = {**stored, "spec": {**stored["spec"], "events": stored["spec"]["events"][99:]}}
    assert len(tenfold.client.replace(kept)["spec"]["events"]) == 1
