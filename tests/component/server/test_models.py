"""Models over the API: what the workspace's ModelProviders serve."""

from typing import Any

import anthropic
import pytest

from support.kube import kind_of
from support.server import TestServer
from support.waiting import until

NAMESPACE = "team-a"
HEADERS = {"anthropic-workspace-id": NAMESPACE}


async def provide(server: TestServer, name: str, *models: str, namespace: str = NAMESPACE, **spec: Any) -> None:
    listed = [{"id": model, "contextWindowTokens": 1000} for model in models]
    body = {"endpoint": "http://model", "apiKey": {"secretKeyRef": {"name": "k", "key": "k"}}, "models": listed, **spec}
    server.kube.create(kind_of("modelproviders"), namespace, {"metadata": {"name": name}, "spec": body})
    await until(lambda: server.objects.model_providers.by_name(namespace, name) is not None)


async def test_models_are_those_of_the_namespace(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    await provide(server, "b", "claude-opus-5-5", "team/model")
    await provide(server, "a", "local")
    await provide(server, "c", "hidden", namespace="team-b")
    listed = [model.to_dict(mode="json") async for model in client.models.list(limit=1)]
    assert [model["id"] for model in listed] == ["local", "claude-opus-5-5", "team/model"]
    assert listed[1] == {
        "id": "claude-opus-5-5",
        "type": "model",
        "display_name": "claude-opus-5-5",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "line": "opus",
        "max_input_tokens": 1000,
        "max_tokens": None,
        "capabilities": None,
        "allowed_fallback_models": [],
        "deprecated_at": None,
        "retires_at": None,
    }
    found = await client.models.retrieve("team/model")
    assert (found.id, found.line) == ("team/model", None)
    with pytest.raises(anthropic.NotFoundError, match="hidden"):
        await client.models.retrieve("hidden")
    assert (await client.beta.models.retrieve("local")).id == "local"


async def test_pages_go_both_ways(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    await provide(server, "a", "a", "b", "c", "d")
    after = await client.models.list(after_id="a", limit=2)
    assert ([item.id for item in after.data], after.has_more, after.first_id, after.last_id) == (
        ["b", "c"],
        True,
        "b",
        "c",
    )
    before = await client.models.list(before_id="d", limit=2)
    assert ([item.id for item in before.data], before.has_more) == (["b", "c"], True)
    assert (await client.models.list(before_id="b")).has_more is False
    retired = await client.models.list(lifecycle=["retired"])
    assert (retired.data, retired.has_more, retired.first_id) == ([], False, None)
    for query in ("limit=0", "limit=1001", "after_id=x", "lifecycle[]=new"):
        status, _ = await server.user("GET", f"/models?{query}", headers=HEADERS)
        assert status == 400, query


async def test_a_default_provider_serves_what_nobody_lists(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    await provide(server, "any", default=True)
    assert (await client.models.list()).data == []
    assert (await client.models.retrieve("claude-sonnet-5")).max_input_tokens is None
