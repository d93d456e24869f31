"""What the attack suite tried: each attack with its positive control, counted, and told at the end of a run."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from support.requirements import REPOSITORY

THREAT_MODEL = REPOSITORY / "docs" / "security.md"
RESIDUALS = "## Residual risks"


@dataclass(slots=True)
class Tally:
    """Counts of one run; a case is an id such as A7."""

    attempted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def attack(self, case: str, what: str, *, succeeded: Any, control: Any) -> None:
        """Record one attack. Its control is the same action where it is allowed: false proves nothing and fails too."""
        self.attempted[case] += 1
        if not succeeded:
            self.refused[case] += 1
        assert not succeeded, f"{case}: {what} succeeded: {succeeded!r}"
        assert control, f"{case}: {what} was refused, but its positive control failed too: {control!r}"

    def lines(self) -> list[str]:
        """Return the summary: a line a case, the sum, the residual risks of the threat model."""
        cases = sorted(self.attempted, key=lambda case: int(case[1:]))
        told = [f"{case:>4}: {self.refused[case]} of {self.attempted[case]} refused" for case in cases]
        total = f"refused / attempted: {self.refused.total()} / {self.attempted.total()}"
        return [*told, total, "", "residual risks (docs/security.md):", *residuals()]


def residuals() -> list[str]:
    """Return the heads of the residual risks that the threat model lists."""
    _, _, section = THREAT_MODEL.read_text().partition(f"{RESIDUALS}\n")
    return [line.partition(". ")[0].rstrip(".") for line in section.splitlines() if line.startswith("- ")]
