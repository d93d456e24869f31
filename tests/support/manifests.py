"""The manifests of this repository as objects, read the way `kubectl apply -k` reads them."""

import json
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY / "crds"
MANIFESTS = REPOSITORY / "manifests"

_CLUSTER_SCOPED = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace")


def read(path: Path) -> list[Json]:
    """Return the objects of a YAML file, in order; anchors become separate values."""
    return [json.loads(json.dumps(document)) for document in yaml.safe_load_all(path.read_text()) if document]


def kustomized(folder: Path) -> list[Json]:
    """Return the objects of a kustomization that has `resources` and `namespace` and nothing else."""
    (kustomization,) = read(folder / "kustomization.yaml")
    unknown = set(kustomization) - {"apiVersion", "kind", "resources", "namespace"}
    if unknown:
        raise ValueError(f"{folder}/kustomization.yaml: {sorted(unknown)} are not understood here")
    objects: list[Json] = []
    for resource in kustomization["resources"]:
        target = (folder / resource).resolve()
        objects += kustomized(target) if target.is_dir() else read(target)
    namespace = kustomization.get("namespace")
    for item in objects if namespace else []:
        if item["kind"] not in _CLUSTER_SCOPED:
            item["metadata"]["namespace"] = namespace
    return objects


def crds() -> dict[str, Json]:
    """Return our CustomResourceDefinitions by kind."""
    return {crd["spec"]["names"]["kind"]: crd for crd in kustomized(CRDS)}


def pod_templates(objects: list[Json]) -> dict[str, Json]:
    """Return the Pod templates of all workloads, by the workload's name."""
    workloads = [item for item in objects if item["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job")]
    return {item["metadata"]["name"]: item["spec"]["template"] for item in workloads}
