"""The network of a sandbox as its Pods are told of it: the tools their proxy, the proxy the administrator's rules."""

from typing import Any

import pytest

from managed_agents.operator.sessions.harness_pods import harness_deployment_for
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_spec
from managed_agents.operator.settings import SessionSettings, parse
from support.operator_values import ENVIRONMENT, session
from support.requirements import requirement

RULES = '{"ports": [8443]}'


def _proxy(settings: SessionSettings) -> dict[str, Any]:
    proxy: dict[str, Any] = harness_deployment_for(session(), ENVIRONMENT, settings)["spec"]["template"]["spec"][
        "containers"
    ][0]
    return proxy


def test_tools_know_their_only_way_out() -> None:
    pod = sandbox_pod_spec(ENVIRONMENT, token_sha256="0" * 64, claim="ma-claim", settings=SessionSettings())
    supervisor, tools = pod["containers"]
    variables = {item["name"]: item["value"] for item in tools["env"]}
    relay = "http://127.0.0.1:3128"
    assert {variables[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {relay}
    assert variables["NO_PROXY"] == variables["no_proxy"] == "localhost,127.0.0.1,::1"
    assert variables["HOME"] == "/workspace"
    assert "env" not in supervisor


def test_the_administrators_rules_reach_each_proxy() -> None:
    settings = parse(["--egress-rules", RULES]).session
    assert _proxy(settings)["args"][-2:] == ["--egress-rules", RULES]
    assert "--egress-rules" not in _proxy(parse([]).session)["args"]


def test_bad_rules_stop_the_operator_with_their_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--egress-rules", '{"ports": ["x"]}'])
    assert "ports: 'x' is not a port" in capsys.readouterr().err


SEARXNG = '{"backend": "searxng", "endpoint": "http://searxng.search.svc:8080", "thousand_price": "2.5"}'


def _spec(settings: SessionSettings) -> dict[str, Any]:
    found: dict[str, Any] = harness_deployment_for(session(), ENVIRONMENT, settings)["spec"]["template"]["spec"]
    return found


@requirement("web-search-key")
def test_a_search_provider_s_key_is_mounted_in_the_proxy_alone() -> None:
    spec = _spec(parse(["--web-search", '{"backend": "brave"}']).session)
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "web-search"]
    assert volume["secret"]["secretName"] == "web-search"
    assert volume["secret"]["optional"]
    mounts = {
        container["name"]: [mount["name"] for mount in container["volumeMounts"]] for container in spec["containers"]
    }
    assert mounts == {"proxy": ["server-token", "providers", "web-search", "vault"], "harness": ["tmp"]}
    assert not any("env" in container for container in spec["containers"])


@requirement("web-search-cost")
def test_a_back_end_without_a_key_mounts_none_and_its_price_reaches_the_harness() -> None:
    spec = _spec(parse(["--web-search", SEARXNG]).session)
    assert [volume["name"] for volume in spec["volumes"]] == ["server-token", "providers", "vault", "tmp"]
    assert spec["containers"][0]["args"][-2:] == ["--web-search", SEARXNG]
    assert spec["containers"][1]["env"] == [{"name": "MANAGED_AGENTS_THOUSAND_WEB_SEARCHES_PRICE", "value": "2.5"}]
    assert "--web-search" not in _proxy(parse([]).session)["args"]


def test_a_bad_search_setting_stops_the_operator_with_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--web-search", '{"backend": "google"}'])
    assert "backend: 'google' is not one of" in capsys.readouterr().err
