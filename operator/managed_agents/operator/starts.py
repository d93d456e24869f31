"""Bounds how many harness Pods of a namespace start at once: those asked for later wait their turn, in order.

A start takes about two seconds of a processor. Fifty at once would take the processors from the sessions whose harness
is up, and none of the fifty would be ready before most of them are. Each namespace has a line of its own, so that one
whose Pods never come up delays nobody else; a start counts until its Pod is ready, its trouble is known, or for
`START_SECONDS_MAX`.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from managed_agents.contracts.clock import Clock
from managed_agents.kube.resources import Manifest
from managed_agents.operator.keys import Key
from managed_agents.operator.sessions.pod_state import read_deployment

STARTS_PER_NODE = 2
"""Measured on a node of two cores (bench C2)."""

START_SECONDS_MAX = 30.0
"""A Pod that is not ready by then waits for something, and takes no processor."""


@dataclass(slots=True)
class _Line:
    starting: dict[str, float] = field(default_factory=dict)
    """Deployments by name, and when each stops to count (monotonic seconds)."""
    waiting: dict[Key, None] = field(default_factory=dict)


class Starts:
    """The lines of all namespaces. `wake` is told a key whose turn it is."""

    def __init__(self, clock: Clock, wake: Callable[[Key], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._most = STARTS_PER_NODE
        self._lines: defaultdict[str, _Line] = defaultdict(_Line)

    def resize(self, nodes: int) -> None:
        """Take the number of nodes over."""
        self._most = STARTS_PER_NODE * max(nodes, 1)
        for namespace in list(self._lines):
            self._call(namespace)

    def take(self, namespace: str, deployment: str, asker: Key) -> bool:
        """Let a harness Deployment start, or put the asker in the line; the same Deployment may ask again."""
        line = self._lines[namespace]
        self._expire(line)
        if deployment in line.starting:
            return True
        line.waiting.setdefault(asker)
        if asker not in islice(line.waiting, self._room(line)):
            return False
        del line.waiting[asker]
        line.starting[deployment] = self._clock.monotonic() + START_SECONDS_MAX
        return True

    def room(self, namespace: str) -> int:
        """Return how many more may start now."""
        line = self._lines.get(namespace)
        if line is None:
            return self._most
        self._expire(line)
        return self._room(line)

    def leave(self, asker: Key) -> None:
        """Take an asker out of the line: it has a harness by now, or needs none."""
        line = self._lines.get(asker.namespace)
        if line is not None and asker in line.waiting:
            del line.waiting[asker]
            self._call(asker.namespace)

    def end(self, namespace: str, deployment: str) -> None:
        """Count a Deployment no more: it is up, gone, or in trouble."""
        line = self._lines.get(namespace)
        if line is not None and line.starting.pop(deployment, None) is not None:
            self._call(namespace)

    def seen(self, deployment: Manifest) -> None:
        """Take the news of a Deployment: once it is ready, or is refused its Pod, it starts no more."""
        if (deployment.get("status") or {}).get("readyReplicas") or read_deployment(deployment) is not None:
            self.end(deployment["metadata"]["namespace"], deployment["metadata"]["name"])

    def _call(self, namespace: str) -> None:
        line = self._lines[namespace]
        self._expire(line)
        for key in list(islice(line.waiting, self._room(line))):
            self._wake(key)
        if not line.starting and not line.waiting:
            del self._lines[namespace]

    def _room(self, line: _Line) -> int:
        return max(self._most - len(line.starting), 0)

    def _expire(self, line: _Line) -> None:
        now = self._clock.monotonic()
        for name in [name for name, until in line.starting.items() if until <= now]:
            del line.starting[name]
