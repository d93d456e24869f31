"""What stands between a session's tools and their node, told as the condition `Isolated`. Pure.

The operator sees no node: what a RuntimeClass runs and how many processes a kubelet allows are known only as far as the
administrator states them (docs/security.md).
"""

from managed_agents.contracts.api import conditions as words
from managed_agents.operator.conditions import Condition
from managed_agents.operator.sessions.model import Observed
from managed_agents.operator.settings import SessionSettings


def isolation_for(observed: Observed) -> Condition | None:
    """Return what holds for the session's next sandbox; None while its Environment is not there."""
    environment = observed.catalog.environment
    if environment is None:
        return None
    runtime = str((environment["spec"].get("sandbox") or {}).get("runtimeClassName") or "")
    is_true, reason, kernel = _kernel(runtime, observed.settings)
    message = f"{kernel}; no user namespace; {_processes(observed.settings)}"
    return Condition(kind=words.ISOLATED, is_true=is_true, reason=reason, message=message)


def _kernel(runtime: str, settings: SessionSettings) -> tuple[bool, str, str]:
    if not runtime:
        text = (
            "sandboxes share the kernel of their node (runc or the node's default; see spec.sandbox.runtimeClassName)"
        )
        return False, words.SHARED_KERNEL, text
    if any(runtime == known or runtime.startswith(f"{known}-") for known in settings.isolating_runtimes):
        return (
            True,
            words.OWN_KERNEL,
            f'sandboxes run under RuntimeClass "{runtime}", with a kernel apart from the node\'s',
        )
    text = (
        f'sandboxes run under RuntimeClass "{runtime}", which --isolating-runtimes of the operator does not list, '
        "so they may share the kernel of their node"
    )
    return False, words.RUNTIME_UNKNOWN, text


def _processes(settings: SessionSettings) -> str:
    if settings.pod_pids_limit:
        return f"at most {settings.pod_pids_limit} processes and threads in a Pod"
    return "the kubelet's podPidsLimit is not known (--pod-pids-limit of the operator states it)"
