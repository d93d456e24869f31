"""Runs the sample session and shows it live; exits non-zero, saying why, if anything did not hold.

Started by `make demo`, under scripts/with-cluster. The session is created by kubectl and followed through the official
SDK: one object, two doors.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import anthropic
import yaml

from cluster.paths import paths_from
from demo.checks import DemoError, check_history, check_repaired
from demo.hosts import gateway, mapped_host
from demo.model import Model, for_model, model_from, provider_objects, without_script
from demo.sample import config_map
from demo.view import View

REPOSITORY = Path(__file__).resolve().parents[2]
SESSION = "repair-42"
TURN_SECONDS_MAX = 300
NO_PODS_SECONDS_MAX = 90
T = TypeVar("T")
THANKS = """Thank you.

```script
- text: "You are welcome. This was message number {{turns}}, sent through the SDK."
```
"""
FOLLOW_UP = """What did you change, and is it still in place?

```script
- tool: bash
  input: {command: "cd /workspace/project && git diff -U0 | tail -n 2 && tail -n 1 /mnt/session/outputs/report.md"}
- text: "This is your message number {{turns}}. My change is still in the workspace:\\n\\n{{last_tool_result}}"
```
"""


def main() -> int:
    """Run all steps; 0 when every one held."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--map-host", help="a host name that shall resolve to this machine inside the cluster")
    arguments = parser.parse_args()
    view = View(colour=sys.stdout.isatty())
    model = model_from()
    started = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            if arguments.map_host and model:
                stack.enter_context(mapped_host(arguments.map_host, gateway(), _kubectl))
                model = model.reached_as(arguments.map_host)
            _demo(view, model)
    except DemoError as failure:
        print(view.failure(str(failure)))
        print(f"Look at: scripts/with-cluster kubectl describe session {SESSION}")
        return 1
    print(view.heading(f"All held, {time.monotonic() - started:.0f} s after the cluster was ready."))
    print(_NEXT)
    return 0


def _demo(view: View, model: Model | None) -> None:
    print(view.heading("Apply manifests/samples"))
    _kubectl("delete", "session", SESSION, "--ignore-not-found", "--timeout=60s")
    _apply(json.dumps(config_map(paths_from().cache)))
    for manifest in _samples(model):
        _apply(manifest)
    session_id = _wait("the session gets its id", 60, lambda: _session().get("status", {}).get("id"))
    client = anthropic.Anthropic()

    print(view.heading(f"Follow session {SESSION} ({session_id})"))
    events = _follow(client, session_id, view, after=None)
    check_repaired(events, scripted=model is None)
    _kubectl("wait", "--for=condition=Idle", f"session/{SESSION}", "--timeout=30s")
    print(_kubectl("get", "sess,pods"), end="")

    print(view.heading("The idle session gives back its Pods"))
    _wait("the idle session has 0 Pods", NO_PODS_SECONDS_MAX, lambda: not _pods())
    print(_kubectl("get", "sess,pods"), end="")

    print(view.heading("One more entry of spec.events wakes it"))
    follow_up = FOLLOW_UP if model is None else without_script(FOLLOW_UP)
    _append_event(f"more-{int(time.time())}", follow_up)
    answer = _follow(client, session_id, view, after=events[-1]["id"])
    check_history(answer, scripted=model is None)
    print(_kubectl("get", "sess", "-o", "wide"), end="")

    print(view.heading("The same session through the SDK"))
    _through_the_sdk(client, session_id, view, model)


def _through_the_sdk(client: anthropic.Anthropic, session_id: str, view: View, model: Model | None) -> None:
    """Continue by the SDK what kubectl made, and see by kubectl what was said."""
    last = next(iter(client.beta.sessions.events.list(session_id, limit=1, order="desc")))
    text = THANKS if model is None else without_script(THANKS)
    message: Any = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    client.beta.sessions.events.send(session_id, events=[message])
    answer = _follow(client, session_id, view, after=last.id)
    said = [_text_of(event) for event in answer if event["type"] == "agent.message"][-1]
    session = client.beta.sessions.retrieve(session_id)
    print(f"client.beta.sessions.retrieve({session_id!r})")
    print(f"  status {session.status!r}, agent {session.agent.name!r}, version {session.agent.version}")
    _wait("kubectl shows what the SDK heard", 30, lambda: _last_message() == said)
    print(f"kubectl get session {SESSION} -o jsonpath={{.status.lastMessage.text}}\n  {said}")


def _text_of(event: dict[str, Any]) -> str:
    return "\n".join(block.get("text", "") for block in event["content"])


def _last_message() -> str:
    return str((_session().get("status", {}).get("lastMessage") or {}).get("text", ""))


def _follow(client: anthropic.Anthropic, session: str, view: View, after: str | None) -> list[dict[str, Any]]:
    """Print events as they come until the session is idle; return them, oldest first, without those up to `after`."""
    seen: dict[str, dict[str, Any]] = {}
    printed: set[str] = set()
    deadline = time.monotonic() + TURN_SECONDS_MAX
    for event in _events(client, session):
        if time.monotonic() > deadline:
            raise DemoError(f"the turn did not end within {TURN_SECONDS_MAX} s")
        seen[event["id"]] = event
        if after in seen or after is None:
            line = view.render(event) if event["id"] not in printed else None
            printed.add(event["id"])
            if line and event["id"] != after:
                print(line, flush=True)
            if event["type"] == "session.status_idle" and event["id"] != after:
                return _after(list(seen.values()), after)
    raise DemoError("the event stream ended before the session was idle")


def _after(events: list[dict[str, Any]], mark: str | None) -> list[dict[str, Any]]:
    ids = [event["id"] for event in events]
    return events[ids.index(mark) + 1 :] if mark else events


def _events(client: anthropic.Anthropic, session: str) -> Iterator[dict[str, Any]]:
    """Yield every event once or twice, history first: open the stream, list, then tail (the SDK's own recipe)."""
    with client.beta.sessions.events.stream(session) as stream:
        for listed in client.beta.sessions.events.list(session, limit=1000):
            yield listed.to_dict()
        for event in stream:
            if getattr(event, "id", None):
                yield event.to_dict()


def _append_event(name: str, text: str) -> None:
    entry = {"name": name, "type": "user.message", "content": [{"type": "text", "text": text}]}
    patch = json.dumps([{"op": "add", "path": "/spec/events/-", "value": entry}])
    print(_kubectl("patch", "session", SESSION, "--type=json", "--patch", patch), end="")


def _samples(model: Model | None) -> Iterator[str]:
    if model is not None:
        yield json.dumps({"apiVersion": "v1", "kind": "List", "items": provider_objects(model)})
    for path in sorted((REPOSITORY / "manifests" / "samples").glob("*.yaml")):
        text = path.read_text()
        if model is not None:
            text = yaml.safe_dump_all([for_model(manifest, model) for manifest in yaml.safe_load_all(text)])
        yield text


def _session() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(_kubectl("get", "session", SESSION, "-o", "json"))
    return result


def _pods() -> list[str]:
    return _kubectl("get", "pods", "-l", f"managedagents.dev/session={SESSION}", "-o", "name").split()


def _wait(what: str, seconds: float, probe: Callable[[], T]) -> T:
    """Poll until the probe answers something true, with a line of progress every few seconds."""
    started = time.monotonic()
    told = 0
    while True:
        if value := probe():
            return value
        elapsed = time.monotonic() - started
        if elapsed > seconds:
            raise DemoError(f"waited {seconds:.0f} s in vain until {what}")
        if elapsed // 5 > told:
            told = int(elapsed // 5)
            print(f"       waiting until {what} ({elapsed:.0f} s)", flush=True)
        time.sleep(0.5)


def _apply(manifest: str) -> None:
    print(_kubectl("apply", "--server-side", "-f", "-", stdin=manifest), end="")


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    result = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise DemoError(f"kubectl {' '.join(arguments[:3])}: {result.stderr.strip()}")
    return result.stdout


_NEXT = f"""
What you could type next:
  scripts/with-cluster kubectl get sess -w
  scripts/with-cluster kubectl get session {SESSION} -o yaml
  scripts/with-cluster kubectl edit session {SESSION}        # add an entry to spec.events
  scripts/with-cluster kubectl delete session {SESSION}
  make clean
"""

if __name__ == "__main__":
    sys.exit(main())
