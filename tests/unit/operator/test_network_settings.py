"""The network of a sandbox as its Pods are told of it: the tools their proxy, the proxy the administrator's rules."""

from typing import Any

import pytest

from managed_agents.operator.sessions.harness_pods import harness_deployment_for
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_spec
from managed_agents.operator.settings import SessionSettings, parse
from support.operator_values import ENVIRONMENT, session

RULES = '{"ports": [8443]}'


def _proxy(settings: SessionSettings) -> dict[str, Any]:
    (proxy,) = harness_deployment_for(session(), ENVIRONMENT, settings)["spec"]["template"]["spec"]["initContainers"]
    found: dict[str, Any] = proxy
    return found


def test_tools_know_their_only_way_out() -> None:
    pod = sandbox_pod_spec(ENVIRONMENT, token_sha256="0" * 64, claim="ma-claim", settings=SessionSettings())
    variables = {item["name"]: item["value"] for item in pod["containers"][0]["env"]}
    relay = "http://127.0.0.1:3128"
    assert {variables[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {relay}
    assert variables["NO_PROXY"] == variables["no_proxy"] == "localhost,127.0.0.1,::1"
    assert variables["HOME"] == "/workspace"
    assert "env" not in pod["initContainers"][0]


def test_the_administrators_rules_reach_each_proxy() -> None:
    settings = parse(["--egress-rules", RULES]).session
    assert _proxy(settings)["args"][-2:] == ["--egress-rules", RULES]
    assert "--egress-rules" not in _proxy(parse([]).session)["args"]


def test_bad_rules_stop_the_operator_with_their_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--egress-rules", '{"ports": ["x"]}'])
    assert "ports: 'x' is not a port" in capsys.readouterr().err
