"""How to reach the running cluster: the facts that `up` leaves for later commands and for scripts/with-cluster."""

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.engine import docker_environment, engine_runs, inside
from cluster.host import Way
from cluster.paths import NODE_NAME, Paths

ANSWER_SECONDS = 15
PATIENCE_SECONDS = 30
"""A cluster whose node runs is given up, and made anew, only after it has been silent for this long."""
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Runs kind, kubectl and docker where the cluster is; `way` says whether that is a namespace of its own."""

    paths: Paths
    way: Way

    def command(self, words: Sequence[str | Path]) -> list[str]:
        """Returns the command as started from this shell."""
        return inside(self.paths, words) if self.way == "self-made" else [str(word) for word in words]

    def environment(self) -> dict[str, str]:
        """Returns the variables those commands need beyond the present ones."""
        shared = {"KUBECONFIG": str(self.paths.kubeconfig)}
        if self.way == "self-made":
            return {**docker_environment(self.paths), **shared}
        return {"PATH": f"{os.environ.get('PATH', '')}:{self.paths.bin}", **shared}

    def succeeds(self, words: Sequence[str | Path], timeout_seconds: float = ANSWER_SECONDS) -> bool:
        """Says whether the command ends with status 0 in time."""
        return self.output(words, timeout_seconds) is not None

    def output(self, words: Sequence[str | Path], timeout_seconds: float = ANSWER_SECONDS) -> str | None:
        """Returns the command's standard output, or None when it fails or takes too long."""
        environment = {**os.environ, **self.environment()}
        try:
            done = subprocess.run(
                self.command(words),
                env=environment,
                capture_output=True,
                timeout=timeout_seconds,
                text=True,
                check=False,
            )
        except (subprocess.TimeoutExpired, FileNotFoundError):
            return None
        return done.stdout if done.returncode == 0 else None

    def in_node(self, words: Sequence[str]) -> list[str | Path]:
        """Returns a command that runs ``words`` in the node."""
        return ["docker", "exec", NODE_NAME, *words]

    def answers(self) -> bool:
        """Says whether the kube-apiserver of the cluster is ready; patient while its node runs, on a busy machine."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while self._node_runs():
            if self.succeeds(["kubectl", "get", "--raw", "/readyz"], PATIENCE_SECONDS):
                return True
            if time.monotonic() > deadline:
                return False
            pause.wait(POLL_SECONDS)
        return False

    def _node_runs(self) -> bool:
        if self.way == "self-made" and not engine_runs(self.paths):
            return False
        state = self.output(["docker", "inspect", "--format", "{{.State.Running}}", NODE_NAME], PATIENCE_SECONDS)
        return (state or "").strip() == "true"


def environment_text(access: Access) -> str:
    """Returns the shell assignments of the environment file."""
    paths = access.paths
    namespace = str(paths.netns) if access.way == "self-made" else ""
    values: Mapping[str, str] = {
        "CLUSTER_WAY": access.way,
        "CLUSTER_NETNS": namespace,
        "CLUSTER_BIN": str(paths.bin),
        "CLUSTER_RUN_BIN": str(paths.run / "bin") if namespace else "",
        "CLUSTER_DOCKER_HOST": f"unix://{paths.docker_socket}" if namespace else "",
        "CLUSTER_KUBECONFIG": str(paths.kubeconfig),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def recorded_access(paths: Paths) -> Access | None:
    """Returns how to reach the cluster that `up` made last, or None when it never did."""
    try:
        text = paths.environment_file.read_text()
    except OSError:
        return None
    return Access(paths=paths, way="self-made" if "CLUSTER_WAY=self-made" in text else "plain")
