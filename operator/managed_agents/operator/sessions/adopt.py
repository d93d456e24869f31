"""What a Session took from a pool becomes its own, afterwards: owner and labels follow the claim (design §7). Pure."""

from managed_agents.contracts import names
from managed_agents.operator.actions import AdoptChild
from managed_agents.operator.sessions.metadata import labels_for, owner_for
from managed_agents.operator.sessions.model import Observed, StepResult


def adopt_sandbox(observed: Observed) -> StepResult:
    """Adopt a claimed Pod and what holds its workspace. Neither has an owner yet, so the Session is the only one."""
    labels: dict[str, str | None] = {**labels_for(observed.session, names.COMPONENT_SANDBOX), names.LABEL_POOL: None}
    return StepResult(
        actions=tuple(
            AdoptChild(
                resource=resource,
                namespace=observed.namespace,
                name=manifest["metadata"]["name"],
                uid=manifest["metadata"]["uid"],
                labels=labels,
                owner=owner_for(observed.session),
            )
            for resource, manifest in observed.from_pool
        )
    )
