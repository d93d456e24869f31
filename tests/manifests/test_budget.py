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
from support.longest import longest_agent, longest_environment, longest_session
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


@requirement("A36")
@pytest.mark.parametrize(
    ("kind", "spec"),
    [("Agent", longest_agent()), ("Environment", longest_environment())],
    ids=["Agent", "Environment"],
)
def test_longest_legal_object_is_accepted(tenfold: ControlPlane, kind: str, spec: Json) -> None:
    tenfold.client.create(_object(tenfold, kind, spec), dry_run=True)


def test_longest_session_is_accepted_and_its_events_may_go(tenfold: ControlPlane) -> None:
    stored = tenfold.client.create(_object(tenfold, "Session", longest_session()))
    rejected = [{"name": entry["name"], "reason": "Invalid"} for entry in stored["spec"]["events"]]
    status = {"events": {"delivered": [], "rejected": rejected}}
    stored = tenfold.client.replace({**stored, "status": status}, subresource="status")
    kept = {**stored, "spec": {**stored["spec"], "events": stored["spec"]["events"][99:]}}
    assert len(tenfold.client.replace(kept)["spec"]["events"]) == 1
