"""CPU of an operation: what our processes took meanwhile, divided by how many there were."""

from collections.abc import Mapping

from bench.stage import Sample
from bench.world.processes import Usage
from bench.world.world import CONTROL

MODEL = "simulator"


def costs(case: str, before: Mapping[str, Usage], after: Mapping[str, Usage], count: int) -> list[Sample]:
    """Return CPU milliseconds of an operation: of server and operator, and of all our Pods; none where none was seen.

    Pods that came meanwhile count whole, their start included; Pods that went are not seen.
    """
    parts = {
        "server and operator": [name for name in after if name in CONTROL],
        "all Pods": [name for name in after if name != MODEL],
    }
    return [
        Sample(case=f"{case}: {part}", value=_spent(names, before, after) * 1000 / count, unit="cpu-ms")
        for part, names in parts.items()
        if names
    ]


def _spent(names: list[str], before: Mapping[str, Usage], after: Mapping[str, Usage]) -> float:
    return sum(max(0.0, after[name].cpu_seconds - before.get(name, Usage()).cpu_seconds) for name in names)
