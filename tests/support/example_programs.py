"""The example programs as processes on a terminal of their own, each followed through the API and judged by itself.

A test holds a program still where it prints `HOLD`: a terminal takes some 64 KiB that nobody reads, so a longer line
keeps its program in that very print until somebody reads on, as a person does who scrolls through its output.
"""

import contextlib
import itertools
import json
import os
import select
import subprocess
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from anthropic import Anthropic, APIError

from managed_agents.contracts.ids import session_id_for
from support.cluster import eventually, kubectl
from support.left_sessions import recorded
from support.ordering import Event
from support.sdks import REPOSITORY, VERSIONS, compiled, python_with

EXAMPLES = REPOSITORY / "examples"
NAMESPACE = "default"
MARK = "hold ."
HOLD = MARK + 80_000 * "."
"""One word of a line. An argument of a program may have 128 KiB."""
READ_BYTES = 4096
WAIT_SECONDS = 120.0
"""Far more than anything here takes: a machine that is busy with other things fails nobody."""


@dataclass(kw_only=True)
class ExampleProgram:
    """One run. Its session is the one whose model has the name that only this run uses."""

    language: str
    model: str
    client: Anthropic
    process: "subprocess.Popen[bytes]"
    terminal: int
    output: bytes = b""
    failure: Exception | None = None
    _session: tuple[str, str] | None = None
    _is_held: bool = False

    def attempt(self, act: Callable[["ExampleProgram"], object]) -> None:
        """Do something with the program unless it has failed; a failure ends it, and is its verdict alone."""
        if self.failure is not None:
            return
        try:
            act(self)
        except (AssertionError, APIError, subprocess.SubprocessError) as failure:
            self.failure = failure
            self.process.kill()

    @property
    def session(self) -> str:
        """The API id of its session, once it has made one."""
        return self._found()[0]

    @property
    def session_name(self) -> str:
        """The name of its Session object."""
        return self._found()[1]

    def events(self) -> list[Event]:
        """Return its session's events so far."""
        return recorded(self.client, self.session)

    def wait(self, what: str, is_so: Callable[[list[Event]], bool]) -> None:
        """Wait until its session's events say so. Raises: AssertionError when they do not, or the program has ended."""

        def probe() -> bool:
            events = self.events()
            assert is_so(events) or self.process.poll() is None, f"ended before {what}: {self._said()}"
            return is_so(events)

        eventually(f"{self.language}: {what}", probe, seconds=WAIT_SECONDS)

    def wait_held(self) -> None:
        """Wait until the program stands in a print of `HOLD`."""
        self._read_until(MARK.encode())
        self._is_held = True

    def release(self) -> None:
        """Let a held program go on."""
        if self._is_held:
            self._is_held = False
            start = self.output.rindex(MARK.encode())
            self._read_until(b"\n", start)

    def finish(self) -> str:
        """Return all that the program printed, once it has ended well."""
        self._read_until(None)
        assert self.process.wait(WAIT_SECONDS) == 0, self._said()
        return self.output.decode(errors="replace").replace(HOLD, "")

    def _found(self) -> tuple[str, str]:
        if self._session is None:
            session = eventually("the program has a session", self._made, seconds=WAIT_SECONDS)
            self._session = session, object_name(session)
        return self._session

    def _made(self) -> str | None:
        newest = itertools.islice(self.client.beta.sessions.list(limit=20, order="desc"), 20)
        found = next((session.id for session in newest if session.agent.model.id == self.model), None)
        assert found or self.process.poll() is None, f"ended before it made a session: {self._said()}"
        return found

    def _read_until(self, word: bytes | None, start: int = 0) -> None:
        """Read until the word stands behind `start` in the output, or to the end of the program where none is given."""
        deadline = time.monotonic() + WAIT_SECONDS
        while word is None or word not in self.output[start:]:
            ready, _, _ = select.select([self.terminal], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"within {WAIT_SECONDS:.0f} s: {word!r} is printed; {self._said()}"
            try:
                read = os.read(self.terminal, READ_BYTES)
            except OSError:  # how Linux tells that nobody holds the other end of a terminal
                read = b""
            if not read and word is None:
                return
            assert read, f"ended before it printed {word!r}: {self._said()}"
            self.output += read

    def _said(self) -> str:
        printed = self.output.decode(errors="replace").replace(HOLD, "HOLD")[-2000:]
        types = [event["type"] for event in self.events()] if self._session else []
        return f"printed: {printed!r}; the session's last events: {types[-8:]}"


@contextlib.contextmanager
def example_programs(name: str, arguments: Sequence[str], languages: Sequence[str]) -> Iterator[list[ExampleProgram]]:
    """Run one example in several languages at once; whatever a test finds, they do not outlive it."""
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    commands = {language: command_of(name, language) for language in languages}
    with Anthropic(max_retries=10) as client, contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(_started(client, language, [*command, *arguments]))
            for language, command in commands.items()
        ]


def command_of(name: str, language: str) -> list[str]:
    """Return how an example is run with the newest SDK of its language."""
    version = VERSIONS[language][-1]
    if language == "python":
        return [str(python_with(version)), str(EXAMPLES / "python" / f"{name}.py")]
    return ["node", str(compiled(version, EXAMPLES / "typescript" / f"{name}.ts"))]


@contextlib.contextmanager
def _started(client: Anthropic, language: str, command: Sequence[str]) -> Iterator[ExampleProgram]:
    model = f"simulated-{language}-{os.urandom(4).hex()}"
    terminal, stdout = os.openpty()
    tty.setraw(stdout)
    environment = {**os.environ, "MODEL": model}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT
    ) as process:
        os.close(stdout)
        try:
            yield ExampleProgram(language=language, model=model, client=client, process=process, terminal=terminal)
        finally:
            process.kill()
            os.close(terminal)


def object_name(session: str) -> str:
    """Return the name of a session's object."""
    objects = json.loads(kubectl("get", "sessions", "-n", NAMESPACE, "-o", "json"))["items"]
    return next(str(item["metadata"]["name"]) for item in objects if session_id_for(item["metadata"]["uid"]) == session)
