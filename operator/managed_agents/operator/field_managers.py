"""Who wrote each entry of a Session's `spec.events`: Kubernetes keeps it in `metadata.managedFields`."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_ENTRY = "k:"


def event_managers(managed_fields: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the field manager of each entry by its name; of several, the first that is listed.

    An entry in a form that this code does not know is left out: it changes no event, only who is named for it.
    """
    found: dict[str, str] = {}
    for held in managed_fields:
        for name in _names((held.get("fieldsV1") or {}).get("f:spec") or {}):
            found.setdefault(name, str(held.get("manager")))
    return found


def _names(spec: Mapping[str, Any]) -> list[str]:
    names = []
    for key in spec.get("f:events") or {}:
        if key.startswith(_ENTRY):
            entry = orjson.loads(key.removeprefix(_ENTRY))
            names.append(str(entry.get("name")))
    return names
