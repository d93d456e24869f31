"""References are plain names of the own namespace, and no field of a Pod can be smuggled in (guarantees A31, A33)."""

from pathlib import Path
from typing import Any

import pytest

from support.apiserver import ControlPlane
from support.edits import edited
from support.kubeclient import KubeError
from support.manifests import read
from support.requirements import requirement

pytestmark = pytest.mark.apiserver

VALID = Path(__file__).parent / "valid"
REFERENCES = [
    ("sessions", "spec.agentRef.name"),
    ("sessions", "spec.environmentRef.name"),
    ("sessions", "spec.vaultRefs[0].name"),
    ("sessions", "spec.resources[3].memoryStoreRef.name"),
    ("agents", "spec.multiagent.subagents.predefinedAgents[0].name"),
    ("environments", "spec.sandbox.mounts[0].configMapRef.name"),
    ("environments", "spec.sandbox.workspace.storageClassName"),
    ("environments", "spec.sandbox.runtimeClassName"),
    ("modelproviders", "spec.apiKey.secretKeyRef.name"),
    ("vaults", "spec.credentials[1].auth.token.secretKeyRef.name"),
]
ESCAPES = ["other/name", "../name", "..", "a%2fb", "app=bot", "name,other", "Name", "name ", "name\n", "-name", "*"]
SMUGGLED = [
    ("environments", "spec.sandbox.serviceAccountName", "admin"),
    ("environments", "spec.sandbox.securityContext", {"privileged": True}),
    ("environments", "spec.sandbox.hostNetwork", True),
    ("environments", "spec.sandbox.volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
    ("environments", "spec.sandbox.mounts[0].secretRef", {"name": "key"}),
    ("environments", "spec.sandbox.podTemplate", {}),
    ("environments", "spec.harness.env", [{"name": "A", "value": "b"}]),
    ("sessions", "spec.agentRef.namespace", "other"),
    ("sessions", "spec.environmentRef.namespace", "other"),
    ("modelproviders", "spec.apiKey.secretKeyRef.namespace", "other"),
    ("vaults", "spec.credentials[1].auth.token.secretKeyRef.namespace", "other"),
    ("vaults", "spec.credentials[1].auth.token.value", "plain"),
]


def _everything(plane: ControlPlane, plural: str) -> dict[str, Any]:
    first = read(VALID / f"{plural}.yaml")[0]
    first["metadata"] = {"name": "probe", "namespace": plane.namespace}
    return first


@requirement("A31")
@pytest.mark.parametrize(("plural", "path"), REFERENCES)
def test_reference_is_a_plain_name(plane: ControlPlane, plural: str, path: str) -> None:
    base = _everything(plane, plural)
    plane.client.create(base, dry_run=True)
    for escape in ESCAPES:
        with pytest.raises(KubeError) as refusal:
            plane.client.create(edited(base, {path: escape}), dry_run=True)
        assert path in [field for field, _ in refusal.value.causes], escape


@pytest.mark.parametrize(("plural", "path", "value"), SMUGGLED)
def test_unknown_field_is_refused_and_never_stored(plane: ControlPlane, plural: str, path: str, value: Any) -> None:
    base = _everything(plane, plural)
    smuggling = edited(base, {path: value})
    with pytest.raises(KubeError, match=r'unknown field "' + path.replace("[", r"\[").replace("]", r"\]")):
        plane.client.create(smuggling, dry_run=True)
    lenient = (
        f"/apis/managedagents.dev/v1alpha1/namespaces/{plane.namespace}/{plural}?dryRun=All&fieldValidation=Ignore"
    )
    assert plane.client.request("POST", lenient, smuggling)["spec"] == base["spec"]


@pytest.mark.parametrize("name", ["a" * 41, "dotted.name", "Upper", "under_score"])
def test_name_of_an_object_is_a_short_label(plane: ControlPlane, name: str) -> None:
    base = _everything(plane, "sessions")
    with pytest.raises(KubeError) as refusal:
        plane.client.create(edited(base, {"metadata.name": name}), dry_run=True)
    assert "metadata.name" in [field for field, _ in refusal.value.causes]
    plane.client.create(edited(base, {"metadata.name": "a" * 40}), dry_run=True)
