"""The page: promises first, then a section a row with its table and plot, then what a session costs in machines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.figures import Figure, figures_of
from bench.report import targets
from bench.report.cost import Machine, section
from bench.report.lines import HEADINGS, cells
from bench.report.plot import plot_of
from bench.results import Run
from bench.stage import Stage

HEAD = Path(__file__).with_name("head.md")
"""How to read the page."""


def lines_of(figures: Sequence[Figure]) -> list[str]:
    """Return the figures as lines of a terminal."""
    rows = [["row", *HEADINGS], *([figure.stage, *cells(figure)] for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def page_of(stages: Mapping[str, Stage], runs: Mapping[str, Run], plots: Sequence[str] = ()) -> str:
    """Return the page. `plots` names the rows that have one."""
    parts: list[str] = []
    every: list[Figure] = []
    for name, stage in stages.items():
        if name in runs:
            figures = figures_of({name: runs[name].samples})
            every += figures
            parts.append(_row(stage, runs[name], figures, has_plot=name in plots))
    parts = [HEAD.read_text(), "\n".join(targets.sections(every)), *parts, "\n".join(section(every, Machine()))]
    missing = [f"{name} {stage.title}" for name, stage in stages.items() if name not in runs]
    if missing:
        parts.append(f"Not measured in this page: {', '.join(missing)}.")
    return "\n".join(part.rstrip() + "\n" for part in parts if part.strip())


def _row(stage: Stage, run: Run, figures: Sequence[Figure], *, has_plot: bool) -> str:
    columns = [index for index, _ in enumerate(HEADINGS) if any(cells(figure)[index] for figure in figures)]
    table = [
        "| " + " | ".join(HEADINGS[index] for index in columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(cells(figure)[index] for index in columns) + " |" for figure in figures),
    ]
    header = run.header
    where = f"{header.get('cores')} cores, {header.get('memory_gib')} GiB, load {header.get('load_before')} before"
    where += ", cores kept apart" if header.get("pin") else ""
    words = [
        f"## {stage.id} {stage.title}",
        "",
        f"{stage.path}. Floor: {stage.floor}. Target: {stage.target}. Taken {header.get('taken')}, {where}.",
        *(["", stage.note] if stage.note else []),
        "",
        *table,
    ]
    if has_plot:
        words += ["", f"![{stage.id} {stage.title}](benchmarks/{stage.id}.svg)"]
    return "\n".join(words)


def write(docs: Path, stages: Mapping[str, Stage], runs: Mapping[str, Run]) -> None:
    """Write the page and the plots below a folder; rows without samples are named at the page's end."""
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name in stages:
        figures = figures_of({name: runs[name].samples}) if name in runs else []
        plot = plot_of(figures) if figures else ""
        if plot:
            (folder / f"{name}.svg").write_text(plot)
            drawn.append(name)
    (docs / "benchmarks.md").write_text(page_of(stages, runs, drawn))
