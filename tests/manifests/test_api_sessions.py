"""Sessions of the public API before a real kube-apiserver: rules and schemas take what it writes, and keep it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.clock import SystemClock
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.filestore.records import Draft
from managed_agents.filestore.store import FileStore, open_file_store
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import AGENTS, ENVIRONMENTS, MODEL_PROVIDERS, Manifest, Resource
from managed_agents.server.bodies.sessions import ResourceAdd, SessionCreate, SessionUpdate
from managed_agents.server.services.collection import API_MANAGER
from managed_agents.server.services.feed import ChangeFeed
from managed_agents.server.services.intents import Intents
from managed_agents.server.services.leases import Leases
from managed_agents.server.services.objects import Objects, objects_over
from managed_agents.server.services.public_sessions import PublicSessions, public_sessions
from managed_agents.server.services.repository_tokens import RepositoryTokens
from managed_agents.server.services.sandbox_pools import SandboxPools
from managed_agents.server.services.session_resources import SessionResources
from managed_agents.server.services.sessions import Sessions
from managed_agents.server.validation import checked
from support.apiserver import ControlPlane
from support.tls import tls_client

pytestmark = pytest.mark.apiserver

SCHEMA = {"type": "object", "properties": {"fooBar": {"type": "string"}}}
TOOL = {"type": "custom", "name": "look", "description": "Looks.", "input_schema": SCHEMA}
REPOSITORY = {
    "type": "github_repository",
    "url": "https://git.example.com/a/b.git",
    "checkout": {"type": "branch", "name": "main"},
}
PRICE = {"currency": "USD", "perMillionTokens": {"input": "5", "output": "25"}}


def budget(cents: str) -> dict[str, Any]:
    return {"type": "limit", "max_list_cost": {"amount": cents, "currency": "USD"}}


@pytest.fixture
async def objects(plane: ControlPlane) -> AsyncIterator[Objects]:
    async with tls_client() as http:
        access = KubeAccess(url=f"https://{plane.client.host}:{plane.client.port}", fixed_token=plane.client.token)
        made = objects_over(Kube(http, access, manager=API_MANAGER, ssl_context=plane.client.context))
        async with made.following():
            await made.wait_synced()
            yield made


@contextlib.asynccontextmanager
async def _door(objects: Objects, folder: Path) -> AsyncIterator[tuple[PublicSessions, FileStore]]:
    clock = SystemClock()
    log = open_event_log(None, on_fatal=_fail)
    files = open_file_store(folder, clock=clock, file_bytes_max=10**6, namespace_bytes_max=10**7)
    feed = ChangeFeed(log.boot)
    resources = SessionResources(files, clock)
    pools = SandboxPools(log, objects.environments)
    tokens = RepositoryTokens(kube=objects.kube)
    sessions = Sessions(log, clock, feed, Leases(log, clock, feed), resources, pools, tokens)
    intents = Intents(log, objects.sessions, resources, clock)
    yield public_sessions(log, objects, files, clock, intents, sessions), files
    await files.close()
    await log.close()


def _fail(error: BaseException) -> None:
    raise AssertionError(error)


async def _applied(objects: Objects, plane: ControlPlane, resource: Resource, name: str, spec: Manifest) -> Manifest:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
    made = await objects.kube.create(resource, plane.namespace, body)
    next(item for item in objects.collections if item.resource is resource).reflector.seen(made)
    return made


async def _upload(files: FileStore, namespace: str) -> str:
    async with files.receive(namespace) as incoming:
        await incoming.write(b"abc")
        draft = Draft(namespace=namespace, filename="a.txt", mime_type="text/plain", origin="upload")
        return (await files.add(incoming, draft)).id


async def test_a_session_with_every_field_lives_under_the_rules_of_its_kind(
    plane: ControlPlane, objects: Objects, tmp_path: Path
) -> None:
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    models = [{"id": "m", "listPrice": PRICE}]
    provider = {"endpoint": "https://model.example.com", "apiKey": secret, "models": models}
    agent = await _applied(objects, plane, AGENTS, "api-bot", {"model": {"id": "m"}})
    environment = await _applied(objects, plane, ENVIRONMENTS, "api-python", {"config": {"type": "cloud"}})
    provided = await _applied(objects, plane, MODEL_PROVIDERS, "api-model", provider)
    async with _door(objects, tmp_path / "files") as (door, files):
        file = await _upload(files, plane.namespace)
        overrides = {"system": None, "tools": [TOOL], "mcp_servers": [], "model": {"id": "m", "speed": "fast"}}
        body = {
            "agent": {"type": "agent_with_overrides", "id": objects.agents.id_of(agent), **overrides},
            "environment_id": objects.environments.id_of(environment),
            "title": "Hello \u00e9",
            "metadata": {"aB": "1", "empty": ""},
            "budget": budget("5"),
            "resources": [{"type": "file", "file_id": file, "mount_path": "/data/a.txt"}, REPOSITORY],
        }
        record = await door.creator.create(plane.namespace, checked(SessionCreate, body), {"via": "api"})
        assert record.config["agent"]["tools"] == [TOOL]
        await _changed(door, objects, record.session.id, file)
        archived = await door.editor.archive(await door.editor.record(record.session.id))
        assert archived.session.shown_status == "terminated"
        await door.editor.delete(archived)
        assert objects.sessions.find(record.session.id) is None
    await objects.agents.delete(agent)
    await objects.environments.delete(environment)
    await objects.model_providers.delete(provided)


async def _changed(door: PublicSessions, objects: Objects, session_id: str, file: str) -> None:
    """Make every change that the API permits, each accepted by the kube-apiserver and kept as sent."""
    changes: tuple[dict[str, Any], ...] = (
        {"title": None, "metadata": {"aB": None, "c": "2"}},
        {"budget": budget("9")},
        {"agent": {"tools": []}},
        {"agent": {"tools": [TOOL]}},
        {"budget": None},
    )
    for change in changes:
        await door.editor.update(await door.editor.record(session_id), checked(SessionUpdate, change))
    added = await door.files.add(
        await door.editor.record(session_id), checked(ResourceAdd, {"type": "file", "file_id": file})
    )
    await door.files.remove(await door.editor.record(session_id), added)
    live = await objects.sessions.live(objects.sessions.get(session_id))
    assert live["spec"] == {
        "agentRef": {"name": "api-bot", "version": 1},
        "environmentRef": {"name": "api-python"},
        "agentOverrides": {
            "model": {"id": "m", "speed": "fast"},
            "system": "",
            "tools": [{"type": "custom", "name": "look", "description": "Looks.", "inputSchema": SCHEMA}],
            "mcpServers": [],
        },
        "metadata": {"empty": "", "c": "2"},
        "resources": [{"type": "file", "fileId": file, "mountPath": "/data/a.txt"}, REPOSITORY],
    }
