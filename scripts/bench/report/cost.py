"""What an hour of a session costs in machines: a pure sum over what B18, B19 and B20 measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure

HOSTED_USD = 0.08
"""The hosted service's price of an hour in which a session runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A virtual machine at its list price, and how full it may be."""

    vcpus: float = 4
    memory_gb: float = 16
    usd_an_hour: float = 0.20
    fill: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one session takes: a share of a vCPU, and memory."""

    name: str
    vcpus: float
    memory_gb: float

    def usd_an_hour(self, machine: Machine) -> float:
        """Return the price of the scarcer of the two, on a machine that is filled so far."""
        share = max(self.vcpus / machine.vcpus, self.memory_gb / machine.memory_gb)
        return share / machine.fill * machine.usd_an_hour


def needs(figures: Sequence[Figure]) -> list[Need]:
    """Return what an idle and an active session need, of those that were measured."""
    known: Mapping[tuple[str, str], float] = {(f.stage, f.case): f.path[0.5].value for f in figures}
    found = []
    idle = known.get(("B18", "memory, all processes"))
    if idle is not None:
        found.append(Need(name="idle", vcpus=0.0, memory_gb=max(0.0, idle) / 1e6))
    cpu, memory = known.get(("B19", "CPU of an active session")), known.get(("B19", "memory of an active session"))
    if cpu is not None and memory is not None:
        found.append(Need(name="active, a step a second", vcpus=cpu / 1000, memory_gb=memory / 1000))
    return found


def section(figures: Sequence[Figure], machine: Machine) -> list[str]:
    """Return the lines of the report's section, empty where nothing was measured."""
    found = needs(figures)
    if not found:
        return []
    lines = [
        "## What a session costs in machines",
        "",
        f"On a machine of {machine.vcpus:g} vCPUs and {machine.memory_gb:g} GB, {machine.usd_an_hour:.2f} USD an hour "
        f"(a usual on-demand list price of a general-purpose machine), filled to {machine.fill:.0%}; the scarcer of "
        "CPU and memory counts. Not in it: the control plane's own two Pods, the cluster, storage, and people. The "
        f"hosted service takes {HOSTED_USD:.2f} USD for an hour in which a session runs, and nothing for an idle one.",
        "",
        "| session | vCPU | memory | USD an hour | of the hosted price |",
        "|---|---|---|---|---|",
    ]
    for need in found:
        price = need.usd_an_hour(machine)
        memory = f"{need.memory_gb * 1e6:,.0f} KB" if need.memory_gb < 0.001 else f"{need.memory_gb * 1000:,.0f} MB"
        lines.append(f"| {need.name} | {need.vcpus:.3f} | {memory} | {price:.6f} | {price / HOSTED_USD:.1%} |")
    return [*lines, ""]
