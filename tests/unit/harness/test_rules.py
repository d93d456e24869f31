"""The small pure rules: policies, retry verdicts, responses, settings, respawn pauses."""

from typing import Any

import pytest
from anthropic.types.beta import (
    BetaManagedAgentsAgentToolset20260401BashInput,
    BetaManagedAgentsAgentToolset20260401EditInput,
    BetaManagedAgentsAgentToolset20260401GlobInput,
    BetaManagedAgentsAgentToolset20260401GrepInput,
    BetaManagedAgentsAgentToolset20260401ReadInput,
    BetaManagedAgentsAgentToolset20260401WriteInput,
)
from pydantic import BaseModel

from managed_agents.contracts import causes
from managed_agents.contracts.causes import Cause
from managed_agents.harness.reply import Call, Reply, Text
from managed_agents.harness.respawner import BACK_OFF_CAP_SECONDS, Deaths
from managed_agents.harness.retry import Verdict, failure_for, verdict_for
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.builtin import BUILTIN
from managed_agents.harness.tools.toolset import Toolset
from support.models import Answer, text, thinking, tool
from support.requirements import requirement

ASK = {"permission_policy": {"type": "always_ask"}}
OFF = {"enabled": False}


@pytest.mark.parametrize(
    ("toolset", "name", "permission"),
    [
        ({}, "bash", "allow"),
        ({"default_config": ASK}, "bash", "ask"),
        (
            {"default_config": ASK, "configs": [{"name": "bash", "permission_policy": {"type": "always_allow"}}]},
            "bash",
            "allow",
        ),
        ({"configs": [{"name": "bash", **ASK}]}, "bash", "ask"),
        ({"configs": [{"name": "bash", **ASK}]}, "read", "allow"),
        ({"configs": [{"name": "bash", **OFF}]}, "bash", "deny"),
        ({"default_config": OFF}, "bash", "deny"),
        ({"default_config": OFF, "configs": [{"name": "bash", "enabled": True}]}, "bash", "allow"),
        ({"default_config": {"permission_policy": {"type": "auto"}}}, "bash", "ask"),
        ({}, "web_fetch", "allow"),
        ({"configs": [{"name": "web_fetch", **OFF}]}, "web_fetch", "deny"),
        ({"default_config": OFF}, "web_fetch", "deny"),
        ({}, "web_search", "allow"),
        ({}, "no_such_tool", "deny"),
    ],
)
def test_policy_resolves_from_config_to_default_to_kind(toolset: dict[str, Any], name: str, permission: str) -> None:
    verdict = Toolset.parse([{"type": "agent_toolset_20260401", **toolset}]).verdict(name)

    assert verdict.permission == permission


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("bash", BetaManagedAgentsAgentToolset20260401BashInput),
        ("read", BetaManagedAgentsAgentToolset20260401ReadInput),
        ("write", BetaManagedAgentsAgentToolset20260401WriteInput),
        ("edit", BetaManagedAgentsAgentToolset20260401EditInput),
        ("glob", BetaManagedAgentsAgentToolset20260401GlobInput),
        ("grep", BetaManagedAgentsAgentToolset20260401GrepInput),
    ],
)
def test_tool_inputs_are_those_of_the_sdk(name: str, model: type[BaseModel]) -> None:
    schema = BUILTIN[name]["input_schema"]

    assert set(schema["properties"]) == set(model.model_fields)
    required = {field for field, info in model.model_fields.items() if info.is_required()}
    assert set(schema["required"]) == required


@requirement("F13")
@pytest.mark.parametrize(
    ("status", "error", "headers", "cause", "after"),
    [
        (429, {"type": "rate_limit_error"}, {"retry-after": "7"}, causes.MODEL_RATE_LIMITED, 7.0),
        (429, {"type": "rate_limit_error"}, {"retry-after-ms": "70"}, causes.MODEL_RATE_LIMITED, 0.07),
        (
            429,
            {"type": "rate_limit_error", "message": "spend limit"},
            {"retry-after": "7"},
            causes.MODEL_RATE_LIMITED,
            7.0,
        ),
        (429, {"type": "rate_limit_error", "message": "spend limit"}, {}, causes.BILLING, None),
        (429, {"type": "rate_limit_error"}, {"x-should-retry": "false"}, causes.BILLING, None),
        (529, {"type": "overloaded_error"}, {}, causes.MODEL_OVERLOADED, None),
        (200, {"type": "overloaded_error"}, {}, causes.MODEL_OVERLOADED, None),
        (500, {"type": "api_error"}, {}, causes.MODEL_UNREACHABLE, None),
        (502, {}, {}, causes.MODEL_UNREACHABLE, None),
        (404, {"type": "not_found_error"}, {}, causes.MODEL_NOT_SERVED, None),
        (413, {"type": "request_too_large"}, {}, causes.MODEL_REFUSED_REQUEST, None),
        (418, {}, {}, causes.MODEL_REFUSED_REQUEST, None),
    ],
)
def test_failure_is_classified(
    status: int, error: dict[str, str], headers: dict[str, str], cause: Cause, after: float | None
) -> None:
    failure = failure_for(status, error, headers)

    assert failure.cause is cause
    assert failure.retry_after_seconds == after


@requirement("I15", "F13")
def test_back_off_doubles_to_its_cap_and_obeys_the_provider() -> None:
    settings = Settings()
    overloaded = failure_for(529, {}, {})
    delays = [
        verdict_for(overloaded, retries=retries, settings=settings, random=lambda: 0.5).delay_seconds
        for retries in range(9)
    ]
    assert delays == [1, 2, 4, 8, 16, 32, 32, 32, None]

    asked = failure_for(429, {}, {"retry-after": "40"})
    assert verdict_for(asked, retries=0, settings=settings, random=lambda: 0.0) == Verdict(delay_seconds=40.0)
    too_long = failure_for(429, {}, {"retry-after": "86400"})
    assert verdict_for(too_long, retries=0, settings=settings, random=lambda: 0.0) == Verdict(delay_seconds=None)


def reply_of(answer: Answer) -> Reply:
    ids = iter(f"sevt_{number}" for number in range(100))
    reply = Reply(lambda: next(ids))
    for event in answer.events():
        reply.feed(event)
    return reply


@requirement("F14")
def test_reply_is_complete_only_with_message_stop() -> None:
    assert reply_of(Answer(text("Hello."))).complete
    assert not reply_of(Answer(text("Hello."), cut=True)).complete


def test_reply_keeps_the_order_of_its_blocks_and_gives_each_an_id() -> None:
    reply = reply_of(Answer(thinking("Hm.", "sig"), text("Hello."), tool("bash", command="ls"), text("")))

    assert [part.id for part in reply.parts] == ["sevt_0", "sevt_1", "sevt_2"]
    assert reply.parts[1] == Text(id="sevt_1", text="Hello.")
    assert reply.parts[2] == Call(id="sevt_2", name="bash", input={"command": "ls"})
    assert reply.usage["output_tokens"] == 7


def test_half_a_surrogate_pair_does_not_reach_the_log() -> None:
    (part,) = reply_of(Answer(text("a\ud83db"))).parts

    assert isinstance(part, Text)
    assert part.text == "a?b"


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_environment({"MANAGED_AGENTS_MAX_TOKENS": "100", "MANAGED_AGENTS_MODEL_URL": "http://x"})

    assert settings == Settings(max_tokens=100, model_url="http://x")
    with pytest.raises(ValueError, match="MANAGED_AGENTS_MAX_TOKENS: found 'many'"):
        Settings.from_environment({"MANAGED_AGENTS_MAX_TOKENS": "many"})


def test_first_quick_deaths_are_answered_at_once_and_later_ones_ever_later() -> None:
    deaths, pauses = Deaths(), []
    for _ in range(12):
        deaths = deaths.after(0.1)
        pauses.append(deaths.pause_seconds)

    assert pauses[:3] == [0.0, 0.0, 0.0]
    assert pauses[3:] == sorted(pauses[3:])
    assert pauses[3] > 0
    assert pauses[-1] == BACK_OFF_CAP_SECONDS
    assert deaths.after(60.0).pause_seconds == 0.0
