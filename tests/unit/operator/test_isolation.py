"""What keeps a session's tools apart from the rest of their node, as the Session tells it."""

from dataclasses import replace
from typing import Any

import pytest

from managed_agents.operator.sessions.isolation import isolation_for
from managed_agents.operator.settings import SessionSettings, parse
from support.operator_values import CATALOG, ENVIRONMENT, observed
from support.requirements import requirement


def told(runtime: str | None = None, **settings: Any) -> tuple[bool, str, str]:
    """Return the condition of a Session whose Environment names this RuntimeClass."""
    sandbox = {} if runtime is None else {"runtimeClassName": runtime}
    environment = {**ENVIRONMENT, "spec": {**ENVIRONMENT["spec"], "sandbox": sandbox}}
    seen = observed(catalog=replace(CATALOG, environment=environment), settings=replace(SessionSettings(), **settings))
    condition = isolation_for(seen)
    assert condition is not None
    assert condition.kind == "Isolated"
    return condition.is_true, condition.reason, condition.message


@requirement("isolation")
def test_a_shared_kernel_is_called_so() -> None:
    is_true, reason, message = told()
    assert (is_true, reason) == (False, "SharedKernel")
    assert "share the kernel of their node" in message
    assert "no user namespace" in message
    assert "spec.sandbox.runtimeClassName" in message


@requirement("isolation")
@pytest.mark.parametrize("runtime", ["gvisor", "kata", "kata-qemu"])
def test_a_known_runtime_class_brings_a_kernel(runtime: str) -> None:
    is_true, reason, message = told(runtime)
    assert (is_true, reason) == (True, "OwnKernel")
    assert f'RuntimeClass "{runtime}"' in message


@requirement("isolation")
@pytest.mark.parametrize("runtime", ["nvidia", "gvisors", "kataract"])
def test_a_runtime_class_that_nobody_vouches_for_isolates_nothing(runtime: str) -> None:
    is_true, reason, message = told(runtime)
    assert (is_true, reason) == (False, "RuntimeUnknown")
    assert "--isolating-runtimes" in message


def test_an_administrator_vouches_for_a_runtime_class() -> None:
    assert told("vm", isolating_runtimes=("vm",))[:2] == (True, "OwnKernel")
    assert told("gvisor", isolating_runtimes=("vm",))[:2] == (False, "RuntimeUnknown")
    assert parse(["--isolating-runtimes", "vm, wasm"]).session.isolating_runtimes == ("vm", "wasm")
    assert parse([]).session.isolating_runtimes == ("gvisor", "kata")


@requirement("isolation")
def test_the_limit_of_processes_is_stated_or_said_to_be_unknown() -> None:
    assert "at most 512 processes" in told(pod_pids_limit=512)[2]
    assert "podPidsLimit is not known" in told()[2]
    assert parse(["--pod-pids-limit", "512"]).session.pod_pids_limit == 512


def test_nothing_is_told_of_an_environment_that_is_not_there() -> None:
    assert isolation_for(observed(catalog=replace(CATALOG, environment=None))) is None
