"""Which model the demo talks to: the simulated one, or a real one when a key is given."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

DEFAULT_ENDPOINT = "https://api.anthropic.com"
DEFAULT_MODEL = "claude-haiku-4-5"
PROVIDER = "demo-model"
NAME_INSIDE = "model.demo.internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of a real provider: endpoint, key and id."""

    endpoint: str
    key: str
    id: str

    @property
    def host(self) -> str:
        """Host name of the endpoint."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def port(self) -> int:
        """TCP port of the endpoint."""
        parts = urlsplit(self.endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def name_inside(self) -> str:
        """Host name by which the isolated cluster asks for it: an address of this machine means nothing there."""
        return NAME_INSIDE if self.host == "localhost" or _is_address(self.host) else self.host

    def reached_as(self, host: str) -> "Model":
        """Return the same model at another host name."""
        parts = urlsplit(self.endpoint)
        port = f":{parts.port}" if parts.port else ""
        return replace(self, endpoint=parts._replace(netloc=f"{host}{port}").geturl())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def model_from(environment: Mapping[str, str] = os.environ) -> Model | None:
    """Return the real model that the environment asks for, or None for the simulated one.

    `MODEL_API_KEY` (set by `make demo` from ANTHROPIC_API_KEY) turns it on; `MODEL_ENDPOINT` and `MODEL_ID` say which.
    The endpoint is reached from this machine: a gateway on its loopback will do.
    """
    key = environment.get("MODEL_API_KEY")
    if not key:
        return None
    endpoint = environment.get("MODEL_ENDPOINT") or DEFAULT_ENDPOINT
    return Model(endpoint=endpoint, key=key, id=environment.get("MODEL_ID") or DEFAULT_MODEL)


def provider_objects(model: Model) -> list[dict[str, Any]]:
    """Return the Secret and the ModelProvider of a real model."""
    spec = {
        "endpoint": model.endpoint,
        "apiKey": {"secretKeyRef": {"name": PROVIDER, "key": "api-key"}},
        "models": [{"id": model.id, "contextWindowTokens": 200_000}],
    }
    group = "managedagents.dev/v1alpha1"
    named = {"name": PROVIDER}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {"api-key": model.key}},
        {"apiVersion": group, "kind": "ModelProvider", "metadata": named, "spec": spec},
    ]


def for_model(manifest: dict[str, Any], model: Model) -> dict[str, Any]:
    """Turn a sample for the simulated model into one for a real one: its id in the Agent, no script in messages."""
    if manifest["kind"] == "Agent":
        manifest["spec"]["model"] = {"id": model.id}
    for event in manifest["spec"].get("events", []):
        for block in event["content"]:
            block["text"] = without_script(block["text"])
    return manifest


def without_script(text: str) -> str:
    """Cut a message before its script block."""
    return text.split("```script", maxsplit=1)[0].rstrip()
