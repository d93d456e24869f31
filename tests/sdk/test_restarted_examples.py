"""The example programs, unchanged, while each component is killed: none loses anything, nor notices.

What a stage waits for is read from the API or from the program's output, so the kills keep the pace of the slowest. The
server is killed only where a program holds no stream (docs/streaming.md); `test_restarts.py` has the program that may.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from managed_agents.contracts.events import types
from support.cluster import KubectlError, eventually, kubectl
from support.example_programs import HOLD, NAMESPACE, WAIT_SECONDS, ExampleProgram, example_programs
from support.faults import (
    OPERATOR,
    SERVER,
    Fault,
    is_replaced,
    kill_component,
    kill_harness_pod,
    kill_sandbox_pod,
    kill_worker,
    pods,
)
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

LANGUAGES = ("python", "typescript")
UNTIL_KILLED = 30
"""Seconds in which the model, or a tool, says nothing; a kill ends them, for what is repeated answers at once."""
SILENT = {"hang_seconds": UNTIL_KILLED}
TABLE = "/mnt/session/uploads/sales.csv"
OUTPUTS = "/mnt/session/outputs"

Moment = Callable[[ExampleProgram], None]
Killed = dict[str, set[str]]
"""The UIDs of the Pods that were killed, by the part of the control plane that they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A moment of a program, what is killed then: parts of its session, parts that all share; and how it goes on."""

    at: Moment
    own: tuple[Fault, ...] = ()
    shared: tuple[str, ...] = ()
    then: Moment = ExampleProgram.release


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An example's arguments, what befalls it, what it prints all the same, and how many calls its kills may cost."""

    arguments: tuple[str, ...]
    stages: tuple[Stage, ...]
    prints: tuple[str, ...]
    failed_calls: int = 0


def asked(program: ExampleProgram) -> None:
    """The model has been asked."""
    program.wait("the model has been asked", lambda events: _count(events, types.REQUEST_START) > 0)


def runs(name: str) -> Moment:
    """A command of `marked` or `gated` runs in the session's sandbox."""

    def moment(program: ExampleProgram) -> None:
        what = f"{program.language}: {name} runs in a sandbox"
        eventually(what, lambda: _in_sandbox(program, "test", "-e", f"/workspace/{name}"), seconds=WAIT_SECONDS)

    return moment


def opened(name: str) -> Moment:
    """A command of `gated` may end."""

    def moment(program: ExampleProgram) -> None:
        what = f"{program.language}: {name} is let go on"
        eventually(what, lambda: _in_sandbox(program, "touch", f"/workspace/{name}.opened"), seconds=WAIT_SECONDS)

    return moment


def held(program: ExampleProgram) -> None:
    """The program stands at its long line."""
    program.wait_held()


def script(*steps: dict[str, Any], text: str = "Follow the script.") -> str:
    return f"{text}\n\n```script\n{json.dumps(list(steps))}\n```\n"


def bash(command: str, **more: Any) -> dict[str, Any]:
    return {"tool": "bash", "input": {"command": command}, **more}


def marked(name: str, command: str) -> str:
    """A command that `runs` can see."""
    return f"touch /workspace/{name}; {command}"


def gated(name: str, command: str) -> str:
    """A command that `runs` can see, and that waits until it is `opened`, or for a minute."""
    is_shut = f"[ $n -lt 600 ] && [ ! -e /workspace/{name}.opened ]"
    return marked(name, f"n=0; while {is_shut}; do sleep 0.1; n=$((n + 1)); done; {command}")


LOST = bash(marked("lost", f"sleep {UNTIL_KILLED}"))
"""A call that its sandbox does not survive."""
ONCE = "echo >> /workspace/times; " + gated("once", "expr 42 '*' $(wc -l < /workspace/times)")
"""42, if it ran once."""
SUM = f"awk -F, 'NR>1 {{s+=$2}} END {{print s}}' {TABLE} > {OUTPUTS}/total.txt"
LONG = f"head -c {len(HOLD)} /dev/zero | tr '\\0' . | sed 's/^/hold /' >> {OUTPUTS}/total.txt"

CASES: dict[str, Case] = {
    "chat": Case(
        arguments=(
            script(bash("echo first", **SILENT), bash(ONCE), {"text": "It is {{last_tool_result}}"}),
            script(bash("echo alive"), bash("echo alive"), {"text": "second: {{last_tool_result}}"}, text=HOLD),
        ),
        stages=(
            Stage(at=asked, own=(kill_worker,)),
            Stage(at=runs("once"), own=(kill_harness_pod,), shared=(OPERATOR,), then=opened("once")),
            Stage(at=held, own=(kill_sandbox_pod,), shared=(SERVER,)),
        ),
        prints=("It is 42", "second: alive"),
        failed_calls=1,
    ),
    "custom_tools": Case(
        arguments=(
            script(
                {"tool": "get_weather", "input": {"city": HOLD}, **SILENT},
                {"tool": "get_weather", "input": {"city": "Paris"}},
                {"text": "In Paris: {{last_tool_result}}"},
            ),
        ),
        stages=(
            Stage(at=asked, own=(kill_worker,)),
            Stage(at=held, own=(kill_harness_pod,), shared=(OPERATOR,)),
        ),
        prints=("asked for Paris", "In Paris: 18 °C, light rain"),
    ),
    "confirmations": Case(
        arguments=(
            script(
                {
                    "tools": [
                        {"name": "bash", "input": {"command": f"echo kept # {HOLD}"}},
                        {"name": "bash", "input": {"command": "rm -rf /workspace/x"}},
                    ],
                    **SILENT,
                },
                LOST,
                {"text": "finished"},
            ),
        ),
        stages=(
            Stage(at=asked, own=(kill_worker,)),
            Stage(at=held, own=(kill_harness_pod,), shared=(OPERATOR,)),
            Stage(at=runs("lost"), own=(kill_sandbox_pod,)),
        ),
        prints=("allow: echo kept", "deny: rm -rf /workspace/x", "finished"),
        failed_calls=2,
    ),
    "files": Case(
        arguments=(script(LOST | SILENT, bash(gated("sum", f"{SUM}; {LONG}")), {"text": "written"}),),
        stages=(
            Stage(at=asked, own=(kill_worker,)),
            Stage(at=runs("lost"), own=(kill_sandbox_pod,)),
            Stage(at=runs("sum"), own=(kill_harness_pod,), shared=(OPERATOR,), then=opened("sum")),
            Stage(at=held, shared=(SERVER,)),
        ),
        prints=("written", "total.txt: 42"),
        failed_calls=1,
    ),
    "interrupt": Case(
        arguments=(
            script(bash(f"sleep 600 # {HOLD}", **SILENT)),
            script(LOST, {"text": "redirected"}),
        ),
        stages=(
            Stage(at=asked, own=(kill_worker,)),
            Stage(at=held, own=(kill_harness_pod,), shared=(OPERATOR,)),
            Stage(at=runs("lost"), own=(kill_sandbox_pod,)),
        ),
        prints=("interrupting:", "redirected"),
        failed_calls=2,
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
@requirement("restarts", "I12")
def test_example_notices_no_restart(name: str, subtests: pytest.Subtests) -> None:
    case = CASES[name]
    with example_programs(name, case.arguments, LANGUAGES) as programs:
        killed = [_undergo(stage, programs) for stage in case.stages]
        for program in programs:
            program.attempt(partial(_judge, case=case))
            with subtests.test(program.language):
                if program.failure is not None:
                    raise program.failure
    for gone in killed:
        _wait_replaced(gone)


def _undergo(stage: Stage, programs: list[ExampleProgram]) -> Killed:
    """Bring all programs that have not failed to the moment, kill, and let those that were held go on."""
    for program in programs:
        program.attempt(stage.at)
    killed = {component: kill_component(component) for component in stage.shared}
    for program in programs:
        for fault in stage.own:
            program.attempt(partial(_meet, fault=fault))
    if SERVER in killed:
        _wait_replaced(killed)
    for program in programs:
        program.attempt(stage.then)
    return killed


def _in_sandbox(program: ExampleProgram, *command: str) -> bool:
    """Run a command in the tools container of the session's sandbox; tell whether it ended well."""
    selector = f"managedagents.dev/session={program.session_name},app.kubernetes.io/component=sandbox"
    for pod in pods(NAMESPACE, selector):
        try:
            kubectl("exec", "-n", NAMESPACE, pod["metadata"]["name"], "-c", "tools", "--", *command)
        except KubectlError:
            continue  # it is not up yet, or another than the one meant
        return True
    return False


def _meet(program: ExampleProgram, fault: Fault) -> None:
    fault(NAMESPACE, program.session_name)


def _wait_replaced(killed: Killed) -> None:
    for component, uids in killed.items():
        eventually(f"{component} is back", partial(is_replaced, component, uids), seconds=WAIT_SECONDS)


def _judge(program: ExampleProgram, case: Case) -> None:
    """Require that the program ended well, said all, and that its log holds each thing once."""
    printed = program.finish()
    for line in case.prints:
        assert line in printed
    events = program.events()
    assert _count(events, types.USER_MESSAGE) == len(case.arguments)
    results = Counter(event["tool_use_id"] for event in events if event["type"] == types.AGENT_TOOL_RESULT)
    assert set(results.values()) <= {1}
    failed = [event for event in events if event["type"] == types.AGENT_TOOL_RESULT and event.get("is_error")]
    assert len(failed) <= case.failed_calls, failed
    broken = [event for event in events if event["type"] == types.REQUEST_END and event["is_error"]]
    assert broken, "no kill met a request to the model"


def _count(events: list[Any], kind: str) -> int:
    return len([event for event in events if event["type"] == kind])
