"""The floor of B16: a kopf operator that notes each change and does nothing else. `kopf run` runs it, as a process."""

from typing import Any

import kopf

ANNOTATION = "bench/noted"


@kopf.on.startup()
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Say nothing about each object."""
    settings.posting.enabled = False


@kopf.on.create("configmaps", labels={"bench": "kopf"})
@kopf.on.resume("configmaps", labels={"bench": "kopf"})
@kopf.on.update("configmaps", labels={"bench": "kopf"})
async def note(body: kopf.Body, patch: kopf.Patch, **_: Any) -> None:
    """Write down which data was seen."""
    patch.metadata.annotations[ANNOTATION] = body["data"]["turn"]
