"""What a Dockerfile of ours says about its parts: what the slow stages read, and which code the last one adds. Pure.

Our Dockerfiles have a stage `dependencies` with everything but our code, and where there is code of ours one more stage
after it whose COPY lines name it. An engine builds the first; `scripts/images` makes the second itself, in a moment.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

DEPENDENCIES = "dependencies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One source, relative to the repository, and where it goes; a folder's content goes into the target folder."""

    source: PurePosixPath
    target: PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """The two halves of a Dockerfile."""

    slow_part: str
    """The text up to and with the stage `dependencies`."""
    reads: tuple[PurePosixPath, ...]
    """Files of the repository that the slow part copies."""
    code: tuple[Copy, ...]


def parse_dockerfile(text: str) -> Dockerfile:
    """Parse a Dockerfile of ours. Raises ValueError when it has no stage `dependencies`."""
    lines = text.replace("\\\n", " ").splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("FROM ")]
    named = [index for index in starts if lines[index].endswith(f" AS {DEPENDENCIES}")]
    if len(named) != 1:
        raise ValueError(f'a Dockerfile of ours has one stage "{DEPENDENCIES}"; found {len(named)}')
    end = next((index for index in starts if index > named[0]), len(lines))
    reads = [copy.source for line in lines[:end] for copy in _copies_in(line)]
    code = [copy for line in lines[end:] for copy in _copies_in(line)]
    return Dockerfile(slow_part="\n".join(lines[:end]), reads=tuple(reads), code=tuple(code))


def _copies_in(line: str) -> list[Copy]:
    """Return what a COPY line takes from the repository; nothing for another line or a copy between stages."""
    words = line.split()
    if not words or words[0] != "COPY" or words[1].startswith("--from="):
        return []
    *sources, target = words[1:]
    return [Copy(source=PurePosixPath(source), target=PurePosixPath(target)) for source in sources]
