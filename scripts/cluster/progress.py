"""Progress lines with elapsed seconds, and commands whose output goes to a log file."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LOG_TAIL_LINES = 25


class ClusterError(Exception):
    """A step failed for a reason that the message explains to the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Prints one line when a step starts and one when it ends; safe to share between threads."""

    logs: Path
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Prints ``text`` after the seconds since the command began."""
        sys.stdout.write(f"[{time.monotonic() - self.started:5.0f} s] {text}\n")
        sys.stdout.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announces ``title``, and afterwards how long the body took."""
        self.say(f"{title} ...")
        begun = time.monotonic()
        yield
        self.say(f"{title}: done in {time.monotonic() - begun:.0f} s")

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        timeout_seconds: float = 1800,
    ) -> None:
        """Runs ``command`` with its output in ``logs/NAME.log``.

        Raises ClusterError with the tail and path of that log when the command fails or takes too long.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        words = [str(word) for word in command]
        with log.open("w") as output:
            output.write(f"$ {' '.join(words)}\n")
            output.flush()
            problem = _outcome(words, output.fileno(), environment, folder, timeout_seconds)
        if problem:
            raise ClusterError(f"{name}: {words[0]} {problem}\n{tail_of(log)}\nfull log: {log}")


def _outcome(
    words: list[str], output: int, environment: Mapping[str, str] | None, folder: Path | None, timeout_seconds: float
) -> str:
    """Runs the command to its end and returns what went wrong, or an empty text."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        return "is not installed"
    except subprocess.TimeoutExpired:
        return f"did not end within {timeout_seconds:.0f} s"
    return "" if done.returncode == 0 else f"ended with status {done.returncode}"


def tail_of(log: Path) -> str:
    """Returns the last lines of a log file, indented."""
    if not log.exists():
        return "  (no log)"
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(f"  | {line}" for line in lines)
