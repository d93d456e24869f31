"""Every bound, enum, pattern and required field of our CRDs, broken one at a time before a real kube-apiserver."""

from pathlib import Path
from typing import Any

import pytest

from support.apiserver import ControlPlane
from support.crd_schema import Constraint, constraints, has_status, nodes, schema_of, unbounded
from support.kubeclient import KubeError, object_path
from support.manifests import crds, read
from support.violations import FRAGMENTS, locate, render, violate

Json = dict[str, Any]
VALID = Path(__file__).parent / "valid"
CRDS = crds()
KINDS = sorted(CRDS)
COLUMNS = {
    "Session": (
        ["Agent", "Phase", "Reason", "Cost", "Age"],
        ["Model", "Tokens", "Active", "Sandbox", "Last Message"],
    ),
    "Agent": (["Model", "Version", "Ready", "Age"], []),
    "Environment": (["Type", "Network", "Ready", "Age"], []),
    "ModelProvider": (["Endpoint", "Ready", "Age"], []),
    "Vault": (["Display Name", "Ready", "Age"], []),
    "ApiKey": (["Read-Only", "Expires", "Age"], []),
}

SHORT_NAMES = {
    "Agent": "ag",
    "ApiKey": "ak",
    "Environment": "env",
    "ModelProvider": "mp",
    "Session": "sess",
    "Vault": "vlt",
}


def valid_objects(kind: str, namespace: str = "default") -> list[Json]:
    """Return the valid objects of a kind, the first with as many fields as one object can have."""
    objects = read(VALID / f"{CRDS[kind]['spec']['names']['plural']}.yaml")
    for item in objects:
        item["metadata"]["namespace"] = namespace
    return objects


@pytest.mark.apiserver
@pytest.mark.parametrize("kind", KINDS)
def test_valid_objects_are_accepted_with_their_status(plane: ControlPlane, kind: str) -> None:
    for item in valid_objects(kind, plane.namespace):
        stored = plane.client.apply(item)
        assert stored["spec"] == item["spec"], "nothing is defaulted into spec"
        if has_status(CRDS[kind]):
            written = plane.client.replace({**stored, "status": item.get("status", {})}, subresource="status")
            assert written.get("status", {}) == item.get("status", {})


@pytest.mark.apiserver
@pytest.mark.parametrize("kind", KINDS)
def test_each_structural_promise_is_kept_with_its_path(plane: ControlPlane, kind: str) -> None:
    objects = valid_objects(kind, plane.namespace)
    for item in objects:
        item["metadata"] = plane.client.apply(item)["metadata"]
    found = [_failure(plane, objects, promise) for promise in constraints(schema_of(CRDS[kind]))]
    assert len(found) > 10
    assert "\n".join(failure for failure in found if failure) == ""


def _named_only(item: Json) -> Json:
    return {key: item["metadata"][key] for key in ("name", "namespace") if key in item["metadata"]}


def _failure(plane: ControlPlane, objects: list[Json], promise: Constraint) -> str | None:
    """Break one promise; None when the kube-apiserver refuses it at the right place in the right words."""
    places = [(item, place) for item in objects if (place := _place(item, promise)) is not None]
    if not places:
        return f"{promise}: no valid object has this field"
    broken, expected = violate(*places[0], promise)
    try:
        if promise.path[0] == "status":
            path = f"{object_path(broken)}/status?dryRun=All&fieldValidation=Strict"
            plane.client.request("PUT", path, broken)
        else:
            plane.client.create({**broken, "metadata": _named_only(broken)}, dry_run=True)
    except KubeError as refusal:
        if any(field == render(expected) and FRAGMENTS[promise.keyword] in text for field, text in refusal.causes):
            return None
        return f"{promise}: expected {FRAGMENTS[promise.keyword]!r} at {render(expected)}, got {refusal}"
    return f"{promise}: accepted"


def _place(item: Json, promise: Constraint) -> Any:
    place = locate(item, promise.path)
    if promise.keyword != "required" or place is None:
        return place
    return place if locate(item, (*promise.path, promise.value)) is not None else None


@pytest.mark.parametrize("kind", KINDS)
def test_every_string_list_map_and_number_is_bounded(kind: str) -> None:
    assert unbounded(schema_of(CRDS[kind])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_defaulted(kind: str) -> None:
    assert [path for path, node in nodes(schema_of(CRDS[kind])) if "default" in node] == []


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_columns_are_those_of_the_contract(kind: str) -> None:
    spec = CRDS[kind]["spec"]
    (version,) = spec["versions"]
    short = SHORT_NAMES[kind]
    columns = version["additionalPrinterColumns"]
    usual = [column["name"] for column in columns if not column.get("priority")]
    wide = [column["name"] for column in columns if column.get("priority")]
    assert (usual, wide) == COLUMNS[kind]
    assert (spec["group"], version["name"], spec["scope"]) == ("managedagents.dev", "v1alpha1", "Namespaced")
    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == ([short], ["managedagents"])
    assert version.get("subresources", {}) == ({} if kind == "ApiKey" else {"status": {}})
