"""The gate: a ratio that is a tenth worse than the recorded one, and beyond the interval, fails."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import P99_SAMPLES_MIN, Figure
from bench.stats import Estimate

WORSE_MAX = 1.10
UNJUDGED = frozenset({"ms", "s", "cpu-ms", "mCPU", "µs an event", "µs a step", "ms an object", "sessions"})
"""Units of lines without a floor that say more of the machine than of us, or of which more is better."""

Recorded = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By the figure's name, then `p50` or `p99`: `value`, `low` and `high`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one ratio compares; `recorded` is None for a line that nobody recorded."""

    name: str
    share: str
    found: Estimate
    recorded: Estimate | None

    @property
    def is_worse(self) -> bool:
        """Tell whether it fails: a tenth worse, and no value of its interval lies within the recorded one."""
        known = self.recorded
        return known is not None and self.found.value > WORSE_MAX * known.value and self.found.low > known.high

    def line(self) -> str:
        """Render it."""
        found = f"{self.found.value:.3g} [{self.found.low:.3g}, {self.found.high:.3g}]"
        if self.recorded is None:
            return f"new    {self.name} {self.share}: {found}"
        known = f"{self.recorded.value:.3g} [{self.recorded.low:.3g}, {self.recorded.high:.3g}]"
        return f"{'WORSE ' if self.is_worse else 'holds '} {self.name} {self.share}: {found}, recorded {known}"


def judged(figures: Iterable[Figure]) -> dict[str, dict[str, Estimate]]:
    """Return what is compared: ratios to the floor, or the figure itself where a line has no floor and is no time."""
    found: dict[str, dict[str, Estimate]] = {}
    for figure in figures:
        values = figure.ratios or ({} if figure.unit in UNJUDGED else figure.path)
        shares = {"p50": 0.5} | ({"p99": 0.99} if figure.count >= P99_SAMPLES_MIN else {})
        if values:
            found[figure.name] = {name: values[share] for name, share in shares.items()}
    return found


def verdicts(figures: Iterable[Figure], recorded: Recorded) -> list[Verdict]:
    """Compare the figures of a run with the recorded ones; lines that were not run are no verdict."""
    return [
        Verdict(name=name, share=share, found=found, recorded=_estimate(recorded.get(name, {}).get(share)))
        for name, shares in judged(figures).items()
        for share, found in shares.items()
    ]


def recorded_at(path: Path) -> Recorded:
    """Read the recorded ratios; none where there is no file."""
    if not path.exists():
        return {}
    ratios: Recorded = json.loads(path.read_text())["ratios"]
    return ratios


def record(path: Path, figures: Iterable[Figure], machine: Mapping[str, Any]) -> None:
    """Write the ratios of this run over those recorded before; lines that were not run stay."""
    ratios = {name: dict(shares) for name, shares in recorded_at(path).items()}
    for name, shares in judged(figures).items():
        ratios[name] = {
            share: {"value": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4)}
            for share, one in shares.items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": dict(machine), "ratios": ratios}, indent=1, sort_keys=True) + "\n")


def _estimate(known: Mapping[str, float] | None) -> Estimate | None:
    return None if known is None else Estimate(value=known["value"], low=known["low"], high=known["high"])
