"""Raw samples as JSON lines, a file a stage and run, in the user's cache folder and never in the repository."""

import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from bench.stage import Sample
from cluster.paths import paths_from


def folder() -> Path:
    """Return where runs are kept."""
    return paths_from().cache / "bench"


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine to judge a figure."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 1024**3, 1),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The samples of one stage, and what its first line said about when and where they were taken."""

    stage: str
    header: Mapping[str, Any]
    samples: list[Sample]


def begin(stage: str, facts: Mapping[str, Any], at: Path | None = None) -> TextIO:
    """Open the file of a stage; its first line is a header. The caller closes it."""
    where = at or folder()
    where.mkdir(parents=True, exist_ok=True)
    taken = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    file = (where / f"{stage}-{taken}.jsonl").open("w")
    file.write(json.dumps({"header": stage, "taken": taken, **machine(), **facts}) + "\n")
    return file


def end(file: TextIO, stage: str) -> None:
    """Say that the stage came to its end; runs that did not are kept, and judged by nobody."""
    file.write(json.dumps({"ended": stage}) + "\n")


def keep(file: TextIO, stage: str, sample: Sample) -> None:
    """Write one sample."""
    file.write(json.dumps(sample.line(stage)) + "\n")


def read(path: Path) -> Run:
    """Read the file of a stage. Raises: ValueError when it is none, or the stage did not end."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    if not lines or "header" not in lines[0] or "ended" not in lines[-1]:
        raise ValueError(f"{path}: not the raw data of a stage that came to its end")
    return Run(stage=lines[0]["header"], header=lines[0], samples=[Sample.of(line) for line in lines[1:-1]])


def latest(at: Path | None = None) -> dict[str, Run]:
    """Return the newest whole run of each stage, by stage."""
    found: dict[str, Run] = {}
    for path in sorted((at or folder()).glob("*-*Z.jsonl"), key=lambda path: path.stem.rpartition("-")[2]):
        with suppress(ValueError):
            run = read(path)
            found[run.stage] = run
    return found
