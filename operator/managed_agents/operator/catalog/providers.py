"""The one Secret from which every proxy of a namespace reads its keys. Pure."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.model_providers import ProviderProblem
from managed_agents.kube.resources import Manifest

PROVIDERS_KEY = "providers.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReading:
    """What came of reading a provider's key. Exactly one of the two is set."""

    api_key: str | None = None
    problem: ProviderProblem | None = None

    def __repr__(self) -> str:
        """Never show the key."""
        return f"SecretReading(problem={self.problem!r})"


def read_key(provider: Manifest, secret: Manifest | None) -> SecretReading:
    """Take a provider's key from its Secret."""
    reference = provider["spec"]["apiKey"]["secretKeyRef"]
    path = "spec.apiKey.secretKeyRef"
    if secret is None:
        text = f'{path}.name: Secret "{reference["name"]}" not found; create it or change the reference'
        return SecretReading(problem=ProviderProblem(reason=conditions.SECRET_NOT_FOUND, message=text))
    encoded = (secret.get("data") or {}).get(reference["key"])
    if not encoded:
        text = f'{path}.key: Secret "{reference["name"]}" has no key "{reference["key"]}", or it is empty'
        return SecretReading(problem=ProviderProblem(reason=conditions.SECRET_NOT_FOUND, message=text))
    try:
        return SecretReading(api_key=base64.b64decode(encoded).decode().strip())
    except ValueError:
        text = f'{path}.key: the value of "{reference["key"]}" in Secret "{reference["name"]}" is not text'
        return SecretReading(problem=ProviderProblem(reason=conditions.SECRET_NOT_FOUND, message=text))


def access_denied(provider: Manifest) -> SecretReading:
    """Say that the operator may not read Secrets of the namespace."""
    name = provider["spec"]["apiKey"]["secretKeyRef"]["name"]
    text = (
        f'spec.apiKey.secretKeyRef.name: the operator may not read Secret "{name}" in namespace '
        f'"{provider["metadata"]["namespace"]}"; an administrator applies manifests/tenant there'
    )
    return SecretReading(problem=ProviderProblem(reason=conditions.SECRET_ACCESS_DENIED, message=text))


def providers_document(readings: Iterable[tuple[Manifest, SecretReading]]) -> bytes:
    """Render `providers.json`. A provider without a key stays in, so that the proxy can say what is missing."""
    entries = [
        {
            "name": provider["metadata"]["name"],
            "endpoint": provider["spec"]["endpoint"].rstrip("/"),
            "api_key": reading.api_key or "",
            "default": bool(provider["spec"].get("default")),
            "models": [model["id"] for model in provider["spec"].get("models") or []],
        }
        for provider, reading in sorted(readings, key=lambda pair: str(pair[0]["metadata"]["name"]))
    ]
    return orjson.dumps({"providers": entries}, option=orjson.OPT_SORT_KEYS)


def providers_secret_for(namespace: str, document: bytes) -> Manifest:
    """Build the Secret that every proxy of the namespace mounts."""
    return {
        "metadata": {
            "name": names.PROVIDERS_SECRET,
            "namespace": namespace,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGER, names.LABEL_PART_OF: names.PART_OF},
        },
        "type": "Opaque",
        "data": {PROVIDERS_KEY: base64.b64encode(document).decode()},
    }


def holds_document(secret: Manifest | None, document: bytes) -> bool:
    """Tell whether the Secret already says what it should."""
    encoded = ((secret or {}).get("data") or {}).get(PROVIDERS_KEY)
    return encoded == base64.b64encode(document).decode()
