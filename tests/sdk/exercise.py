"""Call every route, helper and error class that one version of the Python SDK has; print a JSON line for each.

A program of its own, run by interpreters that have the SDK and nothing of ours. `status` is `pass`, `fail`, or
`absent` for what this version of the SDK does not have.
"""

import asyncio
import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import anthropic
from anthropic import Anthropic
from exercise_vaults import register_vaults  # type: ignore[import-not-found] # a sibling of this program

Check = Callable[[Any], None]

CHECKS: list[tuple[str, Check]] = []
STATE: dict[str, Any] = {}
SUFFIX = os.urandom(4).hex()
DEAF = os.environ.get("SDK_DEAF") == "1"
"""The first versions drop every session event of a stream."""


class AbsentError(Exception):
    """This version of the SDK does not have it."""


def check(name: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS.append((name, function))
        return function

    return register


def part(root: Any, path: str) -> Any:
    """Return an attribute by its dotted path. Raises: AbsentError."""
    for name in path.split("."):
        if not hasattr(root, name):
            raise AbsentError(path)
        root = getattr(root, name)
    return root


def must(held: Any, what: str) -> None:
    if not held:
        raise AssertionError(what)


def text(value: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": value}]}


def script(*steps: dict[str, Any]) -> str:
    return "Follow the script.\n\n```script\n" + json.dumps(list(steps)) + "\n```\n"


def run_turn(client: Any, session: str, *events: dict[str, Any]) -> list[Any]:
    """Send events with the stream open, and return what the stream said until the session is idle."""
    if DEAF:
        client.beta.sessions.events.send(session, events=list(events))
        wait_idle(client, session)
        raise AbsentError("session events in streams")
    seen = []
    with client.beta.sessions.events.stream(session) as stream:
        client.beta.sessions.events.send(session, events=list(events))
        for event in stream:
            seen.append(event)
            if event.type == "session.status_idle":
                break
    return seen


def wait_idle(client: Any, session: str) -> None:
    deadline = time.monotonic() + 60
    while client.beta.sessions.retrieve(session).status != "idle":
        must(time.monotonic() < deadline, "idle within 60 s")
        time.sleep(0.2)


@check("POST /v1/agents")
def create_agent(client: Any) -> None:
    agent = client.beta.agents.create(
        name=f"SDK {SUFFIX}",
        model="simulated",
        system="Follow the script.",
        tools=[
            {"type": "agent_toolset_20260401"},
            {"type": "custom", "name": "lookup", "description": "Looks up.", "input_schema": {"type": "object"}},
        ],
        metadata={"kind": "sdk"},
    )
    must(agent.version == 1 and agent.model.id == "simulated" and agent.id.startswith("agent_"), repr(agent))
    STATE["agent"] = agent


@check("GET /v1/agents/{}")
def get_agent(client: Any) -> None:
    must(client.beta.agents.retrieve(STATE["agent"].id).name == STATE["agent"].name, "name")
    must(client.beta.agents.retrieve(STATE["agent"].id, version=1).version == 1, "version")


@check("POST /v1/agents/{}")
def update_agent(client: Any) -> None:
    agent = client.beta.agents.update(STATE["agent"].id, version=1, description="changed")
    must(agent.version == 2 and agent.description == "changed", repr(agent))


@check("GET /v1/agents")
def list_agents(client: Any) -> None:
    must(any(agent.id == STATE["agent"].id for agent in client.beta.agents.list(limit=2)), "listed by the pager")


@check("GET /v1/agents/{}/versions")
def list_versions(client: Any) -> None:
    versions = [agent.version for agent in client.beta.agents.versions.list(STATE["agent"].id)]
    must(sorted(versions) == [1, 2], repr(versions))


@check("POST /v1/environments")
def create_environment(client: Any) -> None:
    STATE["environment"] = client.beta.environments.create(name=f"sdk-{SUFFIX}", config={"type": "cloud"})
    must(STATE["environment"].id.startswith("env_"), "id")


@check("GET /v1/environments/{}")
def get_environment(client: Any) -> None:
    must(client.beta.environments.retrieve(STATE["environment"].id).name == f"sdk-{SUFFIX}", "name")


@check("POST /v1/environments/{}")
def update_environment(client: Any) -> None:
    changed = client.beta.environments.update(STATE["environment"].id, description="changed")
    must(changed.description == "changed", repr(changed))


@check("GET /v1/environments")
def list_environments(client: Any) -> None:
    found = [environment.id for environment in client.beta.environments.list(limit=2)]
    must(STATE["environment"].id in found, "listed by the pager")


@check("POST /v1/environments/{}/archive")
def archive_environment(client: Any) -> None:
    STATE["spare"] = client.beta.environments.create(name=f"spare-{SUFFIX}", config={"type": "cloud"})
    must(client.beta.environments.archive(STATE["spare"].id).archived_at, "archived_at")


@check("DELETE /v1/environments/{}")
def delete_environment(client: Any) -> None:
    client.beta.environments.delete(STATE["spare"].id)


register_vaults(check, part, must, STATE, SUFFIX)


@check("POST /v1/files")
def upload(client: Any) -> None:
    STATE["file"] = client.beta.files.upload(file=("in.txt", b"forty-two\n", "text/plain"))
    must(STATE["file"].size_bytes == 10, repr(STATE["file"]))


@check("GET /v1/files/{}")
def file_metadata(client: Any) -> None:
    must(client.beta.files.retrieve_metadata(STATE["file"].id).filename == "in.txt", "filename")


@check("GET /v1/files")
def list_files(client: Any) -> None:
    must(any(file.id == STATE["file"].id for file in client.beta.files.list(limit=2)), "listed by the pager")


@check("POST /v1/sessions")
def create_session(client: Any) -> None:
    session = client.beta.sessions.create(
        agent=STATE["agent"].id, environment_id=STATE["environment"].id, title="by SDK", metadata={"a": "1"}
    )
    must(session.status == "idle" and session.agent.version == 2, repr(session))
    STATE["session"] = session.id


@check("GET /v1/sessions/{}")
def get_session(client: Any) -> None:
    must(client.beta.sessions.retrieve(STATE["session"]).title == "by SDK", "title")


@check("POST /v1/sessions/{}")
def update_session(client: Any) -> None:
    changed = client.beta.sessions.update(STATE["session"], title="changed", metadata={"b": "2"})
    must(changed.title == "changed" and changed.metadata == {"a": "1", "b": "2"}, repr(changed))


@check("GET /v1/sessions")
def list_sessions(client: Any) -> None:
    must(any(session.id == STATE["session"] for session in client.beta.sessions.list(limit=2)), "listed by the pager")


@check("POST /v1/sessions/{}/resources")
def add_resource(client: Any) -> None:
    add = client.beta.sessions.resources.add
    added = add(STATE["session"], type="file", file_id=STATE["file"].id, mount_path="in.txt")
    STATE["resource"] = added.id
    must(added.mount_path.endswith("in.txt"), repr(added))


@check("GET /v1/sessions/{}/resources/{}")
def get_resource(client: Any) -> None:
    found = client.beta.sessions.resources.retrieve(STATE["resource"], session_id=STATE["session"])
    must(found.id == STATE["resource"], repr(found))


@check("GET /v1/sessions/{}/resources")
def list_resources(client: Any) -> None:
    found = [resource.id for resource in client.beta.sessions.resources.list(STATE["session"])]
    must(found == [STATE["resource"]], repr(found))


@check("GET /v1/sessions/{}/events/stream")
def stream(client: Any) -> None:
    command = "cat /mnt/session/uploads/in.txt; mkdir -p /mnt/session/outputs; echo done > /mnt/session/outputs/out.txt"
    steps = script({"tool": "bash", "input": {"command": command}}, {"text": "said {{last_tool_result}}"})
    STATE["seen"] = [event.type for event in run_turn(client, STATE["session"], text(steps))]
    for wanted in ("session.status_running", "agent.tool_use", "agent.tool_result", "agent.message"):
        must(wanted in STATE["seen"], f"{wanted} in {STATE['seen']}")


@check("POST /v1/sessions/{}/events")
def send(client: Any) -> None:
    wait_idle(client, STATE["session"])
    sent = client.beta.sessions.events.send(STATE["session"], events=[text(script({"text": "again"}))])
    must(sent.data and sent.data[0].id.startswith("sevt_"), repr(sent))
    wait_idle(client, STATE["session"])


@check("GET /v1/sessions/{}/events")
def list_events(client: Any) -> None:
    events = list(client.beta.sessions.events.list(STATE["session"], limit=5))
    words = json.dumps([event.to_dict(mode="json") for event in events])
    must("forty-two" in words and "again" in words, words[-2000:])
    backwards = list(client.beta.sessions.events.list(STATE["session"], limit=5, order="desc"))
    must([event.id for event in backwards] == [event.id for event in reversed(events)], "both orders agree")


@check("DELETE /v1/sessions/{}/resources/{}")
def delete_resource(client: Any) -> None:
    client.beta.sessions.resources.delete(STATE["resource"], session_id=STATE["session"])
    must(not list(client.beta.sessions.resources.list(STATE["session"])), "no resource is left")


@check("GET /v1/files/{}/content")
def download(client: Any) -> None:
    part(client, "beta.files.list")
    if "scope_id" not in inspect.signature(client.beta.files.list).parameters:
        raise AbsentError("scope_id of files.list")
    deadline = time.monotonic() + 30
    found: list[Any] = []
    while not found:
        must(time.monotonic() < deadline, "an output file within 30 s of idle")
        found = [file for file in client.beta.files.list(scope_id=STATE["session"]) if file.filename == "out.txt"]
    must(client.beta.files.download(found[0].id).read() == b"done\n", "content")


@check("GET /v1/sessions/{}/threads")
def list_threads(client: Any) -> None:
    threads = list(part(client, "beta.sessions.threads.list")(STATE["session"]))
    must(len(threads) == 1 and threads[0].parent_thread_id is None, repr(threads))
    STATE["thread"] = threads[0].id


@check("GET /v1/sessions/{}/threads/{}")
def get_thread(client: Any) -> None:
    thread = part(client, "beta.sessions.threads.retrieve")(STATE["thread"], session_id=STATE["session"])
    must(thread.status == "idle", repr(thread))


@check("GET /v1/sessions/{}/threads/{}/events")
def thread_events(client: Any) -> None:
    listed = part(client, "beta.sessions.threads.events.list")(STATE["thread"], session_id=STATE["session"], limit=5)
    must(any(event.type == "agent.message" for event in listed), "an agent.message")


@check("GET /v1/sessions/{}/threads/{}/stream")
def thread_stream(client: Any) -> None:
    if DEAF:
        raise AbsentError("session events in streams")
    opened = part(client, "beta.sessions.threads.events.stream")(STATE["thread"], session_id=STATE["session"])
    with opened as events:
        client.beta.sessions.events.send(STATE["session"], events=[text(script({"text": "on the thread"}))])
        must(any(event.type == "agent.message" for event in events), "an agent.message")
    wait_idle(client, STATE["session"])


@check("POST /v1/sessions/{}/threads/{}/archive")
def archive_thread(client: Any) -> None:
    archive = part(client, "beta.sessions.threads.archive")
    try:
        archive(STATE["thread"], session_id=STATE["session"])
    except anthropic.BadRequestError:
        return
    raise AssertionError("the primary thread cannot be archived")


@check("POST /v1/sessions/{}/resources/{}")
def update_resource(client: Any) -> None:
    update = client.beta.sessions.resources.update
    try:
        update("sesrsc_none", session_id=STATE["session"], authorization_token="t")
    except (anthropic.NotFoundError, anthropic.BadRequestError):
        return
    raise AssertionError("an unknown resource was updated")


@check("helper: accumulator")
def accumulate(client: Any) -> None:
    if "event_deltas" not in inspect.signature(client.beta.sessions.events.stream).parameters:
        raise AbsentError("event_deltas")
    try:
        from anthropic.lib.sessions import accumulate_managed_agents_event as fold
    except ImportError:
        raise AbsentError("accumulate_managed_agents_event") from None
    message, previews = None, 0
    with client.beta.sessions.events.stream(STATE["session"], event_deltas=["agent.message"]) as events:
        client.beta.sessions.events.send(STATE["session"], events=[text(script({"text": "word " * 200}))])
        for event in events:
            if event.type in ("event_start", "event_delta", "agent.message"):
                previews += event.type == "event_delta"
                message = fold(message, event)
            if event.type == "session.status_idle":
                break
    must(previews and message is not None and message.content[0].text.count("word") == 200, f"{previews} deltas")


@check("helper: tool_runner")
def tool_runner(client: Any) -> None:
    other: Any = anthropic.AsyncAnthropic(timeout=60)
    runner = part(other, "beta.sessions.events.tool_runner")
    from anthropic import beta_async_tool

    @beta_async_tool
    async def lookup() -> str:
        """Look up."""
        return "looked up"

    async def serve() -> None:
        steps = script({"tool": "lookup", "input": {}}, {"text": "found {{last_tool_result}}"})
        await other.beta.sessions.events.send(STATE["session"], events=[text(steps)])
        async for _ in runner(STATE["session"], tools=[lookup], max_idle=1):
            pass

    asyncio.run(asyncio.wait_for(serve(), 60))
    wait_idle(client, STATE["session"])
    events = client.beta.sessions.events.list(STATE["session"], limit=1000)
    must("found looked up" in json.dumps([event.to_dict(mode="json") for event in events]), "the tool's result")


@check("error: NotFoundError")
def not_found(client: Any) -> None:
    try:
        client.beta.sessions.retrieve("sesn_none")
    except anthropic.NotFoundError as error:
        must("not_found_error" in repr(error.body), repr(error.body))
        return
    raise AssertionError("found")


@check("error: BadRequestError")
def bad_request(client: Any) -> None:
    try:
        client.beta.sessions.events.send(STATE["session"], events=[{"type": "user.nonsense"}])
    except anthropic.BadRequestError as error:
        must(error.request_id, "request id")
        return
    raise AssertionError("accepted")


@check("error: AuthenticationError")
def unauthenticated(client: Any) -> None:
    try:
        client.with_options(api_key="sk-wrong").beta.agents.list()
    except anthropic.AuthenticationError:
        return
    raise AssertionError("a wrong key was accepted")


@check("error: ConflictError")
def conflict(client: Any) -> None:
    try:
        client.with_options(max_retries=0).beta.agents.update(STATE["agent"].id, version=1, description="late")
    except anthropic.ConflictError:
        return
    raise AssertionError("a stale version was accepted")


@check("GET /v1/models")
def list_models(client: Any) -> None:
    must(any(model.id == "simulated" for model in client.models.list()), "the simulated model")


@check("GET /v1/models/{}")
def get_model(client: Any) -> None:
    must(client.models.retrieve("simulated").id == "simulated", "id")


@check("POST /v1/sessions/{}/archive")
def archive_session(client: Any) -> None:
    wait_idle(client, STATE["session"])
    must(client.beta.sessions.archive(STATE["session"]).status == "terminated", "status")


@check("DELETE /v1/sessions/{}")
def delete_session(client: Any) -> None:
    client.beta.sessions.delete(STATE["session"])
    try:
        client.beta.sessions.retrieve(STATE["session"])
    except anthropic.NotFoundError:
        return
    raise AssertionError("still there")


@check("DELETE /v1/files/{}")
def delete_file(client: Any) -> None:
    client.beta.files.delete(STATE["file"].id)


@check("POST /v1/agents/{}/archive")
def archive_agent(client: Any) -> None:
    must(client.beta.agents.archive(STATE["agent"].id).archived_at, "archived_at")


def main() -> int:
    client = Anthropic(timeout=60)
    for name, function in CHECKS:
        try:
            function(client)
            result = {"name": name, "status": "pass"}
        except AbsentError as missing:
            result = {"name": name, "status": "absent", "note": str(missing)}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this check's result
            result = {"name": name, "status": "fail", "note": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
