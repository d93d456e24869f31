"""What a Session says of its sandboxes' isolation, as its Environment comes, changes and goes."""

import pytest

from support.operator_world import World
from support.requirements import requirement


@requirement("isolation")
@pytest.mark.parametrize(
    ("sandbox", "status", "reason"),
    [({}, "False", "SharedKernel"), ({"runtimeClassName": "gvisor"}, "True", "OwnKernel")],
)
async def test_a_session_says_which_kernel_its_sandboxes_have(
    operated: World, sandbox: dict[str, str], status: str, reason: str
) -> None:
    await operated.catalog(sandbox=sandbox)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    isolated = operated.condition("sessions", "repair", "Isolated")
    assert (isolated["status"], isolated["reason"]) == (status, reason)
    assert "podPidsLimit is not known" in isolated["message"]
