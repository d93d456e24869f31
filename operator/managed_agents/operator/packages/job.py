"""The Job that installs an Environment's packages, and the NetworkPolicy of its Pods. Pure.

One container a package manager, in order, of the sandbox's own image and without anything secret; beside them the
proxy that decides where they may go, and at last the one that brings the archive to the server. That one alone holds a
token.
"""

from importlib import resources
from typing import Any

import orjson

from managed_agents.contracts import names, ports
from managed_agents.contracts.api.casing import to_snake
from managed_agents.contracts.egress import RELAY_PORT, WEB_PORTS, EgressRules
from managed_agents.contracts.packages import PREFIX
from managed_agents.kube.resources import ENVIRONMENTS, Manifest
from managed_agents.operator.packages.spec import config_of, environment_packages, image_of
from managed_agents.operator.sessions.harness_pods import TOKEN_SECONDS
from managed_agents.operator.sessions.metadata import HARNESS_UID, TOOLS_UID, container_security, pod_security
from managed_agents.operator.sessions.sandbox_environment import NETWORK
from managed_agents.operator.settings import SessionSettings

COMPONENT = "packages"
POLICY = "ma-packages"
LABEL_DIGEST = f"{names.GROUP}/packages"

DEADLINE_SECONDS = 3600
"""From the Job's begin to its end, tries included: building Rust programs takes its time."""

TRIES = 1
"""How often a failed Pod is replaced: registries have bad moments."""

KEEP_SECONDS = 24 * 3600
"""A Job that failed stays for whoever looks for its log; afterwards it is tried anew if it is still wanted."""

DISK = "8Gi"
_NETWORK = "network"
_UPLOAD = "upload"
_TOKEN_DIRECTORY, _, _TOKEN_FILE = ports.SERVER_TOKEN_PATH.rpartition("/")
_SMALL = {"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"cpu": "500m", "memory": "192Mi"}}
_PRIVATE = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"),
    *("168.63.129.16/32", "192.0.0.0/24"),  # metadata and credentials of a node, at addresses that look public
)
_PRIVATE_V6 = ("fc00::/7", "fe80::/10", "fec0::/10", "::1/128")


def job_name_for(digest: str) -> str:
    """Name the Job of a hash."""
    return f"{names.PREFIX}packages-{digest[:12]}"


def container_of(manager: str) -> str:
    """Name the container that installs with a manager."""
    return f"install-{manager}"


def job_for(environment: Manifest, digest: str, settings: SessionSettings) -> Manifest:
    """Build the Job of an Environment's packages; two Environments that want the same share it."""
    metadata = environment["metadata"]
    labels = {
        names.LABEL_NAME: "managed-agents-packages",
        names.LABEL_COMPONENT: COMPONENT,
        names.LABEL_MANAGED_BY: names.MANAGER,
        names.LABEL_PART_OF: names.PART_OF,
        LABEL_DIGEST: digest,
    }
    owner = {
        "apiVersion": ENVIRONMENTS.api_version,
        "kind": ENVIRONMENTS.kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name_for(digest),
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEEP_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(environment, digest, settings)},
        },
    }


def _pod_spec(environment: Manifest, digest: str, settings: SessionSettings) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "serviceAccountName": names.HARNESS_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "securityContext": pod_security(TOOLS_UID),
        "initContainers": [_network(environment, settings), *_installers(environment, settings)],
        "containers": [_upload(environment, digest, settings)],
        "volumes": [
            {"name": "packages", "emptyDir": {"sizeLimit": DISK}},
            {"name": "tmp", "emptyDir": {"sizeLimit": DISK}},
            _token_volume(),
        ],
    }
    runtime = (environment["spec"].get("sandbox") or {}).get("runtimeClassName")
    return spec | ({"runtimeClassName": runtime} if runtime else {})


def _network(environment: Manifest, settings: SessionSettings) -> dict[str, Any]:
    networking = to_snake(config_of(environment).get("networking") or {"type": "unrestricted"})
    return {
        "name": _NETWORK,
        "image": settings.harness_image,
        "imagePullPolicy": settings.image_pull_policy,
        "restartPolicy": "Always",
        "command": ["python", "-m", "managed_agents.proxy.package_job", "network"],
        "args": [
            *("--networking", orjson.dumps(networking).decode()),
            *(("--egress-rules", settings.egress_rules) if settings.egress_rules else ()),
        ],
        # the port is loopback's, where the kubelet cannot look
        "startupProbe": {
            "exec": {"command": ["python", "-c", _DIAL]},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 60,
        },
        "resources": _SMALL,
        "securityContext": container_security(HARNESS_UID),
    }


_DIAL = f"import socket; socket.create_connection(('127.0.0.1', {RELAY_PORT}), 1)"


def _installers(environment: Manifest, settings: SessionSettings) -> list[dict[str, Any]]:
    source = resources.files("managed_agents.operator.packages").joinpath("install_script.py").read_text("utf-8")
    limits = {**settings.sandbox.limits, "ephemeral-storage": DISK}
    return [
        {
            "name": container_of(manager),
            "image": image_of(environment, settings),
            "imagePullPolicy": settings.image_pull_policy,
            "command": ["python3", "-IS", "-c", source],
            "args": [orjson.dumps({"manager": manager, "packages": listed, "prefix": PREFIX}).decode()],
            "env": [{"name": name, "value": value} for name, value in NETWORK.items()],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "resources": {"requests": dict(settings.sandbox.requests), "limits": limits},
            "securityContext": container_security(TOOLS_UID, read_only=False),
            "volumeMounts": [
                {"name": "packages", "mountPath": PREFIX},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the Pod's own
            ],
        }
        for manager, listed in environment_packages(environment).items()
    ]


def _upload(environment: Manifest, digest: str, settings: SessionSettings) -> dict[str, Any]:
    return {
        "name": _UPLOAD,
        "image": settings.harness_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "managed_agents.proxy.package_job", "upload"],
        "args": [
            *("--server-url", settings.server_url),
            *("--namespace", environment["metadata"]["namespace"]),
            *("--digest", digest),
            *("--folder", PREFIX),
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": _SMALL,
        "securityContext": container_security(HARNESS_UID),
        "volumeMounts": [
            {"name": "packages", "mountPath": PREFIX, "readOnly": True},
            {"name": "server-token", "mountPath": _TOKEN_DIRECTORY, "readOnly": True},
        ],
    }


def _token_volume() -> dict[str, Any]:
    token = {"audience": ports.SERVER_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": _TOKEN_FILE}
    return {"name": "server-token", "projected": {"defaultMode": 0o440, "sources": [{"serviceAccountToken": token}]}}


def policy_for(namespace: str, rules: EgressRules, *, system_namespace: str) -> Manifest:
    """Build the NetworkPolicy of the Jobs' Pods: nobody dials them; they reach DNS, the server and the public web."""
    server = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": system_namespace}},
        "podSelector": {"matchLabels": {names.LABEL_COMPONENT: "server"}},
    }
    web = [{"port": port, "protocol": "TCP"} for port in sorted({*WEB_PORTS, *rules.ports, *_host_ports(rules)})]
    blocked = {4: [*_PRIVATE], 6: [*_PRIVATE_V6]}
    for network in rules.blocked:
        blocked[network.version].append(str(network))
    world = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": blocked[4]}},
        {"ipBlock": {"cidr": "::/0", "except": blocked[6]}},
        *({"ipBlock": {"cidr": str(network)}} for network in rules.allowed),
    ]
    return {
        "metadata": {
            "name": POLICY,
            "namespace": namespace,
            "labels": {names.LABEL_PART_OF: names.PART_OF, names.LABEL_MANAGED_BY: names.MANAGER},
        },
        "spec": {
            "podSelector": {"matchLabels": {names.LABEL_COMPONENT: COMPONENT, names.LABEL_MANAGED_BY: names.MANAGER}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
                {"to": [server], "ports": [{"port": ports.SERVER_INTERNAL_PORT, "protocol": "TCP"}]},
                {"to": world, "ports": web},
            ],
        },
    }


def _host_ports(rules: EgressRules) -> list[int]:
    return [port for port in rules.hosts.values() if port is not None]
