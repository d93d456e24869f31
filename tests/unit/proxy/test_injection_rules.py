"""Credentials, grants and the authority of a sandbox, without a network."""

import ssl
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cryptography import x509

from managed_agents.proxy.egress_hosts import Target
from managed_agents.proxy.injection.authority import Authority
from managed_agents.proxy.injection.credentials import parse_environment_credentials
from managed_agents.proxy.injection.grants import grants_for, placeholder_for, variables_for
from support.requirements import requirement

ENTRY = {
    "id": "vcrd_1",
    "type": "environment_variable",
    "secret_name": "TOKEN",
    "secret_value": "value-canary",
    "networking": {"type": "limited", "allowed_hosts": ["*.Example.com", "exact.example."]},
    "injection_location": {"header": True},
}


def _parsed(*entries: object) -> bytes:
    return orjson.dumps({"session_id": "sesn_1", "credentials": list(entries)})


@requirement("A25", "A20")
@pytest.mark.parametrize(
    ("host", "counts"),
    [
        ("a.example.com", True),
        ("a.b.example.com", True),
        ("example.com", False),
        ("evilexample.com", False),
        ("a.example.com.evil", False),
        ("exact.example", True),
        ("a.exact.example", False),
    ],
)
def test_a_wildcard_matches_what_is_below_it_only(host: str, counts: bool) -> None:
    found = parse_environment_credentials(_parsed(ENTRY)).credentials
    grants = grants_for("secret", host, found)
    assert (bool(grants), grants.is_named) == (counts, counts)


def test_what_is_for_mcp_servers_is_left_out_and_a_missing_place_is_closed() -> None:
    [found] = parse_environment_credentials(_parsed({"type": "static_bearer"}, ENTRY)).credentials
    assert (found.in_header, found.in_body) == (True, False)
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"secret_value": 5}, "credentials[0].secret_value"),
        ({"networking": {"type": "limited"}}, "credentials[0].networking.allowed_hosts"),
        ({"networking": None}, "credentials[0].networking"),
        ({"injection_location": None}, "credentials[0].injection_location"),
    ],
)
def test_a_malformed_entry_is_named_and_not_shown(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match="required") as problem:
        parse_environment_credentials(_parsed(ENTRY | change))
    assert str(problem.value).startswith(says)
    assert "canary" not in str(problem.value)


@requirement("injection-harness")
def test_placeholders_differ_by_sandbox_and_name_and_stay_the_same_otherwise() -> None:
    made = [placeholder_for(secret, name) for secret in ("one", "two") for name in ("A", "B")]
    assert len(set(made)) == 4
    assert made[0] == placeholder_for("one", "A")
    assert all(text.replace("_", "").isalnum() for text in made)


def test_a_credential_cannot_take_a_name_that_the_tools_stand_on() -> None:
    entries = [ENTRY | {"secret_name": name} for name in ("PATH", "LD_PRELOAD", "https_proxy", "ANTHROPIC_API_KEY")]
    found = parse_environment_credentials(_parsed(*entries)).credentials
    assert set(variables_for("secret", found)) == {"ANTHROPIC_API_KEY"}


@requirement("injection-harness")
def test_an_authority_is_the_same_for_the_same_binding() -> None:
    assert Authority("one").certificate == Authority("one").certificate
    assert Authority("one").certificate != Authority("two").certificate


def test_its_certificates_pass_a_strict_check_and_are_made_anew_in_time() -> None:
    authority, now = Authority("one"), datetime.now(UTC)
    target = Target(host="api.example", port=443)
    server = authority.context_for(target, now)
    assert authority.context_for(target, now + timedelta(days=20)) is server
    assert authority.context_for(target, now + timedelta(days=29, hours=1)) is not server
    client = ssl.create_default_context(cadata=authority.certificate)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    _handshake(client, server, "api.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(ssl.create_default_context(cadata=Authority("two").certificate), server, "api.example")
    assert x509.load_pem_x509_certificate(authority.certificate.encode()).not_valid_after_utc.year == 2100


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server, server_hostname=name), server.wrap_bio(to_server, to_client, True)]
    done = 0
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
    assert done >= 2
