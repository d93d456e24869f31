"""Names, labels and annotations of what the operator makes (manifests reference, design §4)."""

import hashlib

GROUP = "managedagents.dev"
VERSION = "v1alpha1"

SYSTEM_NAMESPACE = "managed-agents-system"
"""Where operator and server live; it never holds Sessions."""

PREFIX = "ma-"
"""Reserved prefix of session Pods, Deployments and Secrets: admission denies exec and attach by it."""

NAME_LENGTH_MAX = 40
"""Longest name of an object of ours, so that derived names and labels fit in 63."""

PROVIDERS_SECRET = "ma-providers"  # noqa: S105 - a name, not a secret
WEB_SEARCH_SECRET = "web-search"  # noqa: S105 - a name, not a secret
HARNESS_SERVICE_ACCOUNT = "ma-harness"

LABEL_SESSION = f"{GROUP}/session"
LABEL_SESSION_UID = f"{GROUP}/session-uid"
LABEL_AGENT = f"{GROUP}/agent"
LABEL_ENVIRONMENT = f"{GROUP}/environment"
LABEL_POOL = f"{GROUP}/pool"
"""Which pool a warm object is in; it goes when a session owns the object."""

LABEL_HARNESS = f"{GROUP}/harness"
"""Name of the warm Deployment that a harness Pod belongs to: all that its selector asks for."""

LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_NAME = "app.kubernetes.io/name"
NAME_OF_SESSIONS = "managed-agents-session"
"""Name of everything that is made for sessions, in a pool too."""

PART_OF = "managed-agents"
MANAGER = "managed-agents-operator"
COMPONENT_HARNESS = "harness"
COMPONENT_SANDBOX = "sandbox"

ANNOTATION_ID = f"{GROUP}/id"
ANNOTATION_PAUSED = f"{GROUP}/paused"
FINALIZER = f"{GROUP}/cleanup"


def short_hash(text: str, length: int = 6) -> str:
    """Hash a text to a few lower-case hex digits, for names that must be deterministic and distinct."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def harness_deployment_name_for(session_name: str, uid: str) -> str:
    """Name a session's harness Deployment, for ever the same for one UID."""
    return f"{PREFIX}{session_name}-{short_hash(uid)}"


def sandbox_pod_name_for(session_name: str, uid: str, generation: int) -> str:
    """Name the n-th sandbox Pod of a session."""
    return f"{PREFIX}{session_name}-{short_hash(f'{uid}/{generation}')}"


def warm_name_for(pool: str, serial: str) -> str:
    """Name an object of a pool; `serial` is random and makes it distinct."""
    return f"{PREFIX}warm-{pool}-{serial}"


def workspace_claim_name_for(session_name: str, uid: str) -> str:
    """Name the PersistentVolumeClaim that holds a session's `/workspace`."""
    return f"{PREFIX}{session_name}-{short_hash(f'{uid}/workspace')}"
