"""The addresses under which a sandbox reaches its repositories, and whom its proxy trusts there."""

import json

import pytest

from managed_agents.contracts.egress import parse_rules
from managed_agents.contracts.repositories import api_addresses, git_address
from support.certificates import certificate_for


def test_an_address_keeps_host_port_and_path() -> None:
    assert git_address("https://git.example:8443/a/b.git") == "http://git.session.internal/git.example:8443/a/b.git"
    assert api_addresses("https://github.com/a/b") == ("http://api.session.internal/github.com/repos/a/b",)
    assert api_addresses("https://gitlab.example/g/s/p.git")[2].endswith("/api/v4/projects/g%2Fs%2Fp")


def test_authorities_are_a_list_of_certificates() -> None:
    certificate, _ = certificate_for("git.example")
    assert parse_rules(json.dumps({"authorities": [certificate]})).authorities == (certificate,)
    for wrong in (certificate, [certificate, 5], ["-----BEGIN CERTIFICATE-----"], ["x"]):
        with pytest.raises((TypeError, ValueError), match="authorities: "):
            parse_rules(json.dumps({"authorities": wrong}))
