"""What a bind gives to the tools: variables, and whom to trust beside the image's own authorities."""

from typing import Any

import pytest

from managed_agents.sandbox.runner.trust import STORES, trust_bundle
from support.requirements import requirement
from support.sandbox_process import SECRET, Sandbox

pytestmark = pytest.mark.slow  # whole processes

AUTHORITY = "-----BEGIN CERTIFICATE-----\nc2Vzc2lvbg==\n-----END CERTIFICATE-----\n"


def given(authority: str = "", **variables: str) -> dict[str, Any]:
    return {"variables": variables, "authority": authority}


@requirement("injection")
async def test_variables_of_a_bind_count_more_than_the_containers(blank: Sandbox) -> None:
    assert (await blank.bind(environment=given(ANTHROPIC_API_KEY="placeholder_1", LANG="placeholder_2"))).status == 200
    said = await blank.bash("call_1", "echo $ANTHROPIC_API_KEY $LANG ${SSL_CERT_FILE-none}")
    assert said.text.startswith("placeholder_1 placeholder_2")


@requirement("injection")
async def test_the_tools_trust_the_sessions_authority_and_what_they_trusted_before(blank: Sandbox) -> None:
    store = blank.folder / "store.pem"
    store.write_text("-----own-----\n")
    await blank.kill("runner")
    blank.variables = {"SSL_CERT_FILE": str(store)}
    await blank.start_runner()
    await blank.bind(environment=given(AUTHORITY))
    names = "$SSL_CERT_FILE $REQUESTS_CA_BUNDLE $CURL_CA_BUNDLE $NODE_EXTRA_CA_CERTS $GIT_SSL_CAINFO $PIP_CERT"
    said = await blank.bash("call_1", f"for file in {names}; do echo $file; done | sort -u; cat $SSL_CERT_FILE")
    assert said.text == f"{blank.folder}/trust/ca-bundle.crt\n-----own-----\n{AUTHORITY.rstrip()}"
    # The tools own the folder: what they remove is there again with the next call.
    assert (await blank.bash("call_2", "rm -r $(dirname $SSL_CERT_FILE)")).body["is_error"] is False
    assert AUTHORITY.rstrip() in (await blank.bash("call_3", "cat $SSL_CERT_FILE")).text


async def test_without_an_authority_nothing_is_said_about_trust(blank: Sandbox) -> None:
    await blank.bind(environment=given(KEY="placeholder_1"))
    assert (await blank.bash("call_1", "echo ${CARGO_HTTP_CAINFO-none}")).text == "none"
    assert not (blank.folder / "trust").exists()


@requirement("injection-harness")
async def test_the_environment_outlives_supervisor_and_tools(blank: Sandbox) -> None:
    await blank.bind(environment=given(AUTHORITY, KEY="placeholder_1"))
    for which in ("supervisor", "runner"):
        await blank.kill(which)
    await blank.start_supervisor()
    await blank.start_runner()
    assert (await blank.bash("call_1", "echo $KEY; tail -n 1 $CURL_CA_BUNDLE")).text.startswith(
        "placeholder_1\n-----END"
    )
    assert (await blank.bind(bearer=SECRET, epoch=2)).status == 200  # without a word of it, it stays
    assert (await blank.bash("call_2", "echo $KEY", epoch=2)).text == "placeholder_1"


async def test_a_value_with_quotes_reaches_a_living_shell_whole(blank: Sandbox) -> None:
    await blank.bind()
    await blank.bash("call_1", "true")
    await blank.bind(environment=given(KEY="it's $(touch ran) \\n `touch ran`"))
    assert (await blank.bash("call_2", 'echo "$KEY"; ls')).text == "it's $(touch ran) \\n `touch ran`"


MALFORMED: list[tuple[str, Any]] = [
    ("environment:", []),
    ("environment.variables:", {"variables": []}),
    ("environment.variables:", {"variables": {"A=B": "x"}}),
    ("environment.variables:", {"variables": {"": "x"}}),
    ("environment.variables:", {"variables": {f"A{n}": "x" for n in range(1001)}}),
    ("environment.variables.A:", {"variables": {"A": 1}}),
    ("environment.variables.A:", {"variables": {"A": "a\nb"}}),
    ("environment.variables.A:", {"variables": {"A": "a" * 1025}}),
    ("environment.authority:", {"authority": 1}),
    ("environment.authority:", {"authority": "é"}),
]


async def test_a_malformed_environment_is_refused_by_name(blank: Sandbox) -> None:
    for begins, environment in MALFORMED:
        answer = await blank.bind(environment=environment)
        assert (answer.status, answer.error) == (400, "invalid_request_error"), environment
        assert answer.body["error"]["message"].startswith(begins), answer
    assert (await blank.get("/healthz")).body["bound"] is False


def test_the_first_store_there_is_counts_and_none_is_needed() -> None:
    assert trust_bundle(AUTHORITY, {"SSL_CERT_FILE": "/nowhere"}).endswith(AUTHORITY)
    assert len(STORES) == len(set(STORES))
