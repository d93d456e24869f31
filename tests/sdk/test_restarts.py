"""Each component is killed while example programs run: nothing is lost, and the programs need no change."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anthropic import Anthropic

from support.cluster import eventually, kubectl
from support.requirements import requirement
from support.sdks import VERSIONS, compiled, python_with

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMESPACE = "default"
SYSTEM = "managed-agents-system"
STEPS = 24
SCRIPT = [
    {"tool": "bash", "input": {"command": "sleep 0.5; echo step {{i}}"}, "repeat": STEPS},
    {"text": "all done"},
]
PROMPT = f"Follow the script.\n\n```script\n{json.dumps(SCRIPT)}\n```\n"
COMPONENTS = ("harness", "managed-agents-server", "managed-agents-operator")


def kill(component: str, session: str) -> None:
    """Delete a component's Pod without grace; the harness's by the session it works for."""
    if component == "harness":
        where = NAMESPACE
        selector = f"managedagents.dev/session={name_of(session)},app.kubernetes.io/component=harness"
    else:
        where, selector = SYSTEM, f"app.kubernetes.io/name={component}"
    kubectl("delete", "pods", "-n", where, "-l", selector, "--grace-period=0", "--force", "--wait=false")


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
    if language == "python":
        command = [str(python_with(VERSIONS["python"][-1])), str(EXAMPLES / "python" / "reconnect.py")]
    else:
        command = ["node", str(compiled(VERSIONS["typescript"][-1], EXAMPLES / "typescript" / "reconnect.ts"))]
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


def is_ready(workload: str) -> bool:
    return kubectl("get", workload, "-n", SYSTEM, "-o", "jsonpath={.status.readyReplicas}") == "1"


def name_of(session: str) -> str:
    objects = json.loads(kubectl("get", "sessions", "-n", NAMESPACE, "-o", "json"))["items"]
    return str(next(item["metadata"]["name"] for item in objects if item.get("status", {}).get("id") == session))


@pytest.mark.parametrize("language", ["python", "typescript"])
@requirement("I12")
def test_a_program_that_missed_the_end_finds_it_in_the_list_and_ends(language: str) -> None:
    with reconnecting(language, "Say hello.") as program:
        session = read_until(program, "session ")[-1].split()[-1]
        program.send_signal(signal.SIGSTOP)
        try:
            eventually("the turn has ended", lambda: "session.status_idle" in types_of_events(session))
            kill("managed-agents-server", session)  # so it must open a new stream, and the end is in the list
        finally:
            program.send_signal(signal.SIGCONT)
        ended(program, session)
    eventually("the server is back", lambda: is_ready("statefulset/managed-agents-server"))


@pytest.mark.parametrize("language", ["python", "typescript"])
@requirement("I12")
def test_a_program_that_reconnects_sees_every_step(language: str) -> None:
    with reconnecting(language, PROMPT) as program:
        lines = read_until(program, "session ")
        session = lines[-1].split()[-1]
        for number, component in enumerate(COMPONENTS, start=1):
            lines += read_until(program, f"step {number * 5}")
            kill(component, session)
        lines += read_until(program, "all done")
        ended(program, session)
    steps = [line for line in lines if line.startswith("step ")]
    assert steps == [f"step {number}" for number in range(1, STEPS + 1)]
    eventually("the operator is back", lambda: is_ready("deployment/managed-agents-operator"))
