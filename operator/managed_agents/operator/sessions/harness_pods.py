"""The harness Deployment of a Session, or of a pool: one replica of the harness and its proxy.

Pure. The proxy alone mounts what is secret: the projected token, the providers' keys, the session's credentials
(design §2.3).
"""

from typing import Any

import orjson

from managed_agents.contracts import names, ports
from managed_agents.contracts.api.environments import harness_image_of
from managed_agents.contracts.web_search import parse_web_search
from managed_agents.kube.resources import Manifest
from managed_agents.operator.sessions.metadata import (
    HARNESS_UID,
    container_security,
    default_container,
    metadata_for,
    pod_security,
    warm_labels_for,
)
from managed_agents.operator.settings import SessionSettings

ANNOTATION_TEMPLATE = f"{names.GROUP}/template-hash"
"""Digest of the Pod template as we built it, to tell an older operator's Deployment without comparing defaults."""

GRACE_SECONDS = 5
"""A harness stops in milliseconds, for the log makes its work resumable; the proxy waits for its end, then drains."""

TOKEN_SECONDS = 3600
"""Life of the projected token; the kubelet renews it at 80 %."""

_TOKEN_DIRECTORY = ports.SERVER_TOKEN_PATH.rpartition("/")[0]
_TOKEN_FILE = ports.SERVER_TOKEN_PATH.rpartition("/")[2]
_PROVIDERS_DIRECTORY = ports.PROVIDERS_PATH.rpartition("/")[0]
_SEARCH_KEY_DIRECTORY, _, _SEARCH_KEY = ports.WEB_SEARCH_KEY_PATH.rpartition("/")
_VAULT_DIRECTORY = ports.VAULT_CREDENTIALS_PATH.rpartition("/")[0]


def harness_deployment_for(session: Manifest, environment: Manifest | None, settings: SessionSettings) -> Manifest:
    """Build the Deployment; its name is for ever the same for one Session. The Environment may name another harness."""
    name = names.harness_deployment_name_for(session["metadata"]["name"], session["metadata"]["uid"])
    metadata = metadata_for(session, name, names.COMPONENT_HARNESS)
    selected = {
        names.LABEL_SESSION_UID: metadata["labels"][names.LABEL_SESSION_UID],
        names.LABEL_COMPONENT: names.COMPONENT_HARNESS,
    }
    return _deployment(metadata, selected, harness_pod_spec(name, harness_image_of(environment), settings))


def warm_deployment_for(
    pool: str, namespace: str, name: str, *, image: str, owners: list[dict[str, Any]], settings: SessionSettings
) -> Manifest:
    """Build a Deployment of a pool. Its Pods carry no session's label: a replacement gets them as the first one did."""
    labels = warm_labels_for(pool, names.COMPONENT_HARNESS) | {names.LABEL_HARNESS: name}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": owners}
    return _deployment(metadata, {names.LABEL_HARNESS: name}, harness_pod_spec(name, image, settings))


def _deployment(metadata: dict[str, Any], selected: dict[str, str], pod_spec: dict[str, Any]) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "annotations": {ANNOTATION_TEMPLATE: template_hash(pod_spec)}},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selected},
            "template": {
                "metadata": {"labels": metadata["labels"], "annotations": default_container("harness")},
                "spec": pod_spec,
            },
        },
    }


def template_hash(pod_spec: dict[str, Any]) -> str:
    """Digest a Pod's specification as built."""
    return names.short_hash(orjson.dumps(pod_spec, option=orjson.OPT_SORT_KEYS).decode(), 16)


def is_outdated(deployment: Manifest, image: str, settings: SessionSettings) -> bool:
    """Tell whether an operator of today would make a Deployment's Pod otherwise."""
    existing = (deployment["metadata"].get("annotations") or {}).get(ANNOTATION_TEMPLATE)
    name = str(deployment["metadata"]["name"])
    return bool(existing != template_hash(harness_pod_spec(name, image, settings)))


def is_warm_made(deployment: Manifest) -> bool:
    """Tell whether a Deployment was made for a pool, whoever owns it now."""
    return bool((deployment["metadata"].get("labels") or {}).get(names.LABEL_HARNESS))


def runs_our_containers(pod: Manifest, deployment: Manifest) -> bool:
    """Tell whether a Pod runs exactly what its Deployment's template says.

    A Pod made by hand may carry a forged owner reference; it gains nothing if it can only run our own programs.
    """
    template = deployment["spec"]["template"]["spec"]
    return _programs(pod["spec"]) == _programs(template)


def _programs(spec: dict[str, Any]) -> list[tuple[Any, ...]]:
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    return [
        tuple(orjson.dumps(container.get(key)) for key in ("name", "image", "command", "args", "env", "envFrom"))
        for container in containers
    ] + [(spec.get("serviceAccountName"), bool(spec.get("ephemeralContainers")))]


def harness_pod_spec(deployment: str, image: str, settings: SessionSettings) -> dict[str, Any]:
    """Build what runs in a harness Pod; an empty image stands for the operator's. It names no session.

    The Secret with the credentials of the session's vaults has the Deployment's name, which is known before any session
    is: a Pod that waits in a pool finds there what its session has.
    """
    return {
        "serviceAccountName": names.HARNESS_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(HARNESS_UID),
        # Both start at once: the kubelet looks after a native sidecar only with its next look at all containers.
        "containers": [_proxy(settings), _harness(settings, image or settings.harness_image)],
        "volumes": [
            {
                "name": "server-token",
                "projected": {
                    "defaultMode": 0o440,
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "audience": ports.SERVER_AUDIENCE,
                                "expirationSeconds": TOKEN_SECONDS,
                                "path": _TOKEN_FILE,
                            }
                        }
                    ],
                },
            },
            {
                "name": "providers",
                "secret": {"secretName": names.PROVIDERS_SECRET, "optional": True, "defaultMode": 0o440},
            },
            *_search_key_volumes(settings),
            {"name": "vault", "secret": {"secretName": deployment, "optional": True, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
        "tolerations": node_tolerations(30),
    }


def _needs_search_key(settings: SessionSettings) -> bool:
    search = parse_web_search(settings.web_search)
    return search is not None and search.needs_key


def _search_key_volumes(settings: SessionSettings) -> list[dict[str, Any]]:
    """Mount the one key of the search provider, where it takes one: an administrator's Secret, for the proxy alone."""
    if not _needs_search_key(settings):
        return []
    items = [{"key": _SEARCH_KEY, "path": _SEARCH_KEY}]
    secret = {"secretName": names.WEB_SEARCH_SECRET, "optional": True, "defaultMode": 0o440, "items": items}
    return [{"name": "web-search", "secret": secret}]


def _search_price(settings: SessionSettings) -> list[dict[str, str]]:
    """Tell the harness what budgets count for searches, where they cost something."""
    search = parse_web_search(settings.web_search)
    if search is None or not search.thousand_price:
        return []
    return [{"name": "MANAGED_AGENTS_THOUSAND_WEB_SEARCHES_PRICE", "value": str(search.thousand_price)}]


def node_tolerations(seconds: int) -> list[dict[str, Any]]:
    """Stay on a node that is not ready or unreachable for so long, before eviction."""
    return [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        for key in ("not-ready", "unreachable")
    ]


def _proxy(settings: SessionSettings) -> dict[str, Any]:
    search_key = {"name": "web-search", "mountPath": _SEARCH_KEY_DIRECTORY, "readOnly": True}
    return {
        "name": "proxy",
        "image": settings.harness_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "managed_agents.proxy"],
        "args": [
            *("--server-url", settings.server_url),
            *(("--egress-rules", settings.egress_rules) if settings.egress_rules else ()),
            *(("--web-search", settings.web_search) if settings.web_search else ()),
        ],
        "ports": [{"name": "health", "containerPort": ports.PROXY_HEALTH_PORT}],
        "livenessProbe": _probe("/healthz", period_seconds=10, failures=6),
        "readinessProbe": _probe("/readyz", period_seconds=5, failures=1),
        "resources": settings.proxy.manifest(),
        "securityContext": container_security(HARNESS_UID),
        "volumeMounts": [
            {"name": "server-token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True},
            {"name": "providers", "mountPath": _PROVIDERS_DIRECTORY, "readOnly": True},
            *([search_key] if _needs_search_key(settings) else []),
            {"name": "vault", "mountPath": _VAULT_DIRECTORY, "readOnly": True},
        ],
    }


def _harness(settings: SessionSettings, image: str) -> dict[str, Any]:
    environment = _search_price(settings)
    return {
        "name": "harness",
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "managed_agents.harness"],
        **({"env": environment} if environment else {}),
        "resources": settings.harness.manifest(),
        "securityContext": container_security(HARNESS_UID),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an emptyDir of the Pod's own
    }


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": ports.PROXY_HEALTH_PORT},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
