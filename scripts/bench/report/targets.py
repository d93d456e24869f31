"""The promises of speed and size on one table: what was wanted, what was measured, and how it stands to its floor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure
from bench.report.lines import SHOWN_FROM, shown

MISSES = Path(__file__).with_name("misses.md")
"""Why what is missed is missed, and what would mend it: by hand, from the timing records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A path with its target, and the line of a row that measures it."""

    path: str
    target: str
    stage: str
    case: str
    unit: str = "ms"


SPEED = (
    Promise(path="API session create → first model request, warm harness", target="15 / 60 ms", stage="B1",
            case="warm, one at a time"),
    Promise(path="Session object committed → first model request, warm harness", target="30 / 150 ms", stage="B2",
            case="warm, one at a time"),
    Promise(path="event → first token, added to the model's own time, harness leased", target="8 / 30 ms", stage="B3",
            case="history 0"),
    Promise(path="tool round trip", target="5 / 25 ms added", stage="B11", case="true"),
    Promise(path="first tool call, warm sandbox", target="50 / 200 ms", stage="B13", case="1 at a time"),
    Promise(path="first tool call, cold sandbox", target="1.1 times a bare Pod", stage="B12", case="1 at a time"),
    Promise(path="log append, one writer", target="1.5 times fdatasync", stage="B5", case="append, 1 writers, 1 KB"),
    Promise(path="log append, 64 writers, each event", target="200 µs", stage="B5",
            case="append, 64 writers, 1 KB, each", unit="µs an event"),
    Promise(path="step 1,000 against step 1", target="≤ 1 µs a step", stage="B4", case="slope, result to next request",
            unit="µs a step"),
)  # fmt: skip

SIZE = (
    Promise(path="idle session, all processes", target="≤ 20 KB", stage="B18", case="memory, all processes",
            unit="KB a session"),
    Promise(path="… of it the server", target="", stage="B18", case="memory, server", unit="KB a session"),
    Promise(path="… of it the operator (a thousand sessions: as many MB)", target="", stage="B18",
            case="memory, operator", unit="KB a session"),
    Promise(path="idle session in etcd", target="≤ 8 KB", stage="B18", case="stored in etcd", unit="KB a session"),
    Promise(path="harness, idle", target="reported", stage="B20", case="memory, harness", unit="MB"),
    Promise(path="proxy, idle", target="reported", stage="B20", case="memory, proxy", unit="MB"),
    Promise(path="sandbox supervisor, idle", target="reported", stage="B20", case="memory, supervisor", unit="MB"),
    Promise(path="server, a stream", target="≤ 500 KB", stage="B7", case="memory, one session", unit="KB a stream"),
)  # fmt: skip


def sections(figures: Sequence[Figure]) -> list[str]:
    """Return the lines of both tables and of what is said of misses; what was not measured says so."""
    known = {(figure.stage, figure.case, figure.unit): figure for figure in figures}
    return [
        "## Targets and what was measured",
        "",
        *_table(SPEED, known),
        "",
        MISSES.read_text().rstrip(),
        "",
        "## Memory",
        "",
        *_table(SIZE, known),
        "",
    ]


def _table(promises: Sequence[Promise], known: Mapping[tuple[str, str, str], Figure]) -> list[str]:
    head = "| path | target p50 / p99 | row | unit | p50 | p99 | floor p50 | ratio p50 |"
    return [head, "|---|---|---|---|---|---|---|---|", *(_line(one, known) for one in promises)]


def _line(promise: Promise, known: Mapping[tuple[str, str, str], Figure]) -> str:
    figure = known.get((promise.stage, promise.case, promise.unit))
    cells = [promise.path, promise.target, promise.stage, promise.unit]
    if figure is None:
        cells += ["not measured", "", "", ""]
    else:
        cells += [
            shown(figure.path[0.5].value),
            shown(figure.path[0.99].value) if figure.count >= SHOWN_FROM else "",
            shown(figure.floor[0.5].value) if figure.floor else "",
            shown(figure.ratios[0.5].value) if figure.ratios else "",
        ]
    return "| " + " | ".join(cells) + " |"
