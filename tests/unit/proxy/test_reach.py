"""Which entries of a credential's list an Environment lets a session reach."""

import pytest

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.injection.reach import may_be_reached

RULES = EgressRules(registries={"pip": ("files.pip.example",)}, hosts={"forge.team.svc": 8443})


def limited(*hosts: str, packages: bool = False) -> Networking:
    return Networking(is_limited=True, hosts=frozenset(hosts), allows_package_managers=packages)


@pytest.mark.parametrize(
    ("entry", "networking", "is_reached"),
    [
        ("api.example", Networking(is_limited=False), True),
        ("*.example", Networking(is_limited=False), True),
        ("api.team.svc", Networking(is_limited=False), False),
        ("forge.team.svc", Networking(is_limited=False), True),
        ("api.example", limited(), False),
        ("api.example", limited("api.example"), True),
        ("api.example", limited("*.example"), True),
        ("a.api.example", limited("*.example"), True),
        ("*.api.example", limited("*.example"), True),
        ("*.api.example", limited("*.api.example"), True),
        ("*.api.example", limited("a.b.api.example"), True),
        ("*.api.example", limited("*.b.api.example"), True),
        ("*.api.example", limited("api.example"), False),
        ("*.api.example", limited("*.other.example", "an-api.example"), False),
        ("*.pip.example", limited(), False),
        ("*.pip.example", limited(packages=True), True),
        ("files.pip.example", limited(packages=True), True),
        ("forge.team.svc", limited(), False),
        ("not a host", limited("*.example"), False),
    ],
)
def test_an_entry_is_reached_where_any_of_its_names_may_be(
    entry: str, networking: Networking, is_reached: bool
) -> None:
    assert may_be_reached(entry, networking, RULES) is is_reached
