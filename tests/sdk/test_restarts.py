"""Each component is killed while example programs run: nothing is lost, and the programs need no change."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from anthropic import Anthropic

from support.cluster import eventually
from support.example_programs import NAMESPACE, command_of, object_name
from support.faults import OPERATOR, SERVER, is_replaced, kill_component, kill_harness_pod
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STEPS = 24
SCRIPT = [
    {"tool": "bash", "input": {"command": "sleep 0.5; echo step {{i}}"}, "repeat": STEPS},
    {"text": "all done"},
]
PROMPT = f"Follow the script.\n\n```script\n{json.dumps(SCRIPT)}\n```\n"


def harness(session: str) -> set[str]:
    kill_harness_pod(NAMESPACE, object_name(session))
    return set()


def server(session: str) -> set[str]:
    return kill_component(SERVER)


def operator(session: str) -> set[str]:
    return kill_component(OPERATOR)


def read_until(program: "subprocess.Popen[str]", word: str) -> list[str]:
    assert program.stdout is not None
    lines = []
    for line in program.stdout:
        lines.append(line.rstrip())
        if word in line:
            break
    return lines


@contextmanager
def reconnecting(language: str, prompt: str) -> Iterator["subprocess.Popen[str]"]:
    """Run the example that reconnects; whatever a test finds, the program does not outlive it."""
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    command = command_of("reconnect", language)
    environment = {**os.environ, "MODEL": "simulated"}
    with subprocess.Popen([*command, prompt], env=environment, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def types_of_events(session: str) -> list[str]:
    with Anthropic() as client:
        return [event.type for event in client.beta.sessions.events.list(session)]


def ended(program: "subprocess.Popen[str]", session: str) -> None:
    """Require that the program ends well, or say what the log holds."""
    try:
        assert program.wait(60) == 0
    except subprocess.TimeoutExpired:
        pytest.fail(f"the program goes on; the last events are {types_of_events(session)[-8:]}")


@pytest.mark.parametrize("language", ["python", "typescript"])
@requirement("I12")
def test_a_program_that_missed_the_end_finds_it_in_the_list_and_ends(language: str) -> None:
    with reconnecting(language, "Say hello.") as program:
        session = read_until(program, "session ")[-1].split()[-1]
        program.send_signal(signal.SIGSTOP)
        try:
            eventually("the turn has ended", lambda: "session.status_idle" in types_of_events(session))
            killed = server(session)  # so it must open a new stream, and the end is in the list
        finally:
            program.send_signal(signal.SIGCONT)
        ended(program, session)
    eventually("the server is back", lambda: is_replaced(SERVER, killed))


@pytest.mark.parametrize("language", ["python", "typescript"])
@requirement("I12")
def test_a_program_that_reconnects_sees_every_step(language: str) -> None:
    with reconnecting(language, PROMPT) as program:
        lines = read_until(program, "session ")
        session = lines[-1].split()[-1]
        for number, kill in enumerate((harness, server, operator), start=1):
            lines += read_until(program, f"step {number * 5}")
            killed = kill(session)
        lines += read_until(program, "all done")
        ended(program, session)
    steps = [line for line in lines if line.startswith("step ")]
    assert steps == [f"step {number}" for number in range(1, STEPS + 1)]
    eventually("the operator is back", lambda: is_replaced(OPERATOR, killed))
