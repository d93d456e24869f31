"""Adds up what Pods request, in millicores and bytes. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_DECIMAL = {"m": Decimal("0.001"), **{unit: Decimal(1000) ** n for n, unit in enumerate("kMGTPE", 1)}}
_BINARY = {f"{unit}i": Decimal(1024) ** n for n, unit in enumerate("KMGTPE", 1)}
_FACTORS = {"": Decimal(1), **_DECIMAL, **_BINARY}
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Processor and memory that the scheduler sets aside."""

    millicores: int = 0
    bytes: int = 0

    @classmethod
    def of_pod(cls, pod_spec: Mapping[str, Any]) -> Self:
        """Add up the containers of a Pod, native sidecars included."""
        containers = [*(pod_spec.get("initContainers") or []), *pod_spec["containers"]]
        requests = [(item.get("resources") or {}).get("requests") or {} for item in containers]
        return cls(
            millicores=int(sum(parse_quantity(item.get("cpu", "0")) for item in requests) * 1000),
            bytes=int(sum(parse_quantity(item.get("memory", "0")) for item in requests)),
        )

    def times(self, count: int) -> "Requests":
        """Multiply by a number of Pods."""
        return Requests(millicores=self.millicores * count, bytes=self.bytes * count)

    def manifest(self) -> dict[str, str]:
        """Render as Kubernetes quantities."""
        return {"cpu": f"{self.millicores}m", "memory": f"{self.bytes // _MEBIBYTE}Mi"}


def parse_quantity(text: object) -> Decimal:
    """Read a Kubernetes quantity, in its base unit. Raises: ValueError."""
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(found[1]) * _FACTORS[found[2] or ""]
