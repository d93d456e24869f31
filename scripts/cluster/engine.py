"""A container engine of our own, in a network namespace with no way out, for machines that have none.

containerd and dockerd run on private sockets, data and cgroups. Nothing of the host's engine configuration, firewall
or cgroups is touched.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.paths import Paths
from cluster.progress import ClusterError, Progress, tail_of
from cluster.recipe import HERE
from cluster.remains import clear_remains, program_runs

START_SECONDS = 30
POLL_SECONDS = 0.1
_SYN_RETRIES = 3
"""The port mapping dials a server Pod that was just killed for 15 s at most; the kernel's default is 127 s."""

_CONTAINERD_CONFIG = """version = 2
root = "{data}/containerd"
state = "{run}/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{run}/containerd.sock"
"""


def inside(paths: Paths, command: Sequence[str | Path]) -> list[str]:
    """Returns ``command`` as run in the engine's network namespace."""
    return ["nsenter", f"--net={paths.netns}", *(str(word) for word in command)]


def docker_environment(paths: Paths) -> dict[str, str]:
    """Environment for docker and kind; Debian's client comes first, because a much newer one refuses its engine."""
    search = f"{paths.run / 'bin'}:{paths.bin}:{os.environ.get('PATH', '')}"
    return {"DOCKER_HOST": f"unix://{paths.docker_socket}", "PATH": search}


def engine_runs(paths: Paths) -> bool:
    """Says whether our own dockerd is alive (its pid file may be a leftover, so the program is compared too)."""
    return paths.netns.exists() and program_runs(paths.run / "dockerd.pid", str(paths.run))


def start_engine(paths: Paths, progress: Progress) -> None:
    """Starts the engine unless it runs; clears what a dead one left behind first."""
    if engine_runs(paths):
        return
    clear_remains(paths)
    with progress.step("isolated container engine"):
        _prepare(paths)
        try:
            _start_programs(paths)
        except ClusterError:
            # A data folder torn by a power cut is worth one more try from empty; it holds nothing that is not rebuilt.
            clear_remains(paths)
            shutil.rmtree(paths.engine_data, ignore_errors=True)
            _prepare(paths)
            _start_programs(paths)


def _prepare(paths: Paths) -> None:
    for folder in (paths.run / "bin", paths.engine_data, paths.logs):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ip", "netns", "add", paths.engine], check=True, capture_output=True)
    subprocess.run(inside(paths, ["ip", "link", "set", "lo", "up"]), check=True, capture_output=True)
    limit = f"echo {_SYN_RETRIES} > /proc/sys/net/ipv4/tcp_syn_retries"
    subprocess.run(inside(paths, ["sh", "-c", limit]), check=True, capture_output=True)
    client = paths.run / "bin" / "docker"
    client.unlink(missing_ok=True)
    client.symlink_to("/usr/bin/docker")
    runtime = paths.run / "bin" / "runc-held-capabilities"
    python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
    runtime.write_text(f"#!{python} -IS\n" + (HERE / "runtime_wrapper.py").read_text())
    runtime.chmod(0o755)
    config = _CONTAINERD_CONFIG.format(data=paths.engine_data, run=paths.run)
    (paths.run / "containerd.toml").write_text(config)
    (paths.run / "daemon.json").write_text(json.dumps(daemon_settings(paths)))


def daemon_settings(paths: Paths) -> dict[str, object]:
    """Returns dockerd's configuration file; addresses are from the range for benchmarks (RFC 2544)."""
    return {
        "hosts": [f"unix://{paths.docker_socket}"],
        "containerd": str(paths.run / "containerd.sock"),
        "data-root": str(paths.engine_data / "docker"),
        "exec-root": str(paths.run / "docker"),
        "pidfile": str(paths.run / "dockerd.pid"),
        "default-address-pools": [{"base": "198.18.0.0/16", "size": 24}],
        "bip": "198.18.255.1/24",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": f"/{paths.engine}",
        "oom-score-adjust": 0,
        "default-runtime": "held-capabilities",
        "runtimes": {"held-capabilities": {"path": str(paths.run / "bin" / "runc-held-capabilities")}},
        "log-driver": "json-file",
        "log-opts": {"max-size": "10m"},
    }


def _start_programs(paths: Paths) -> None:
    containerd: list[str | Path] = ["containerd", "--config", paths.run / "containerd.toml"]
    _launch(inside(paths, containerd), paths.logs / "containerd.log")
    _await((paths.run / "containerd.sock").exists, "containerd", paths.logs / "containerd.log")
    dockerd: list[str | Path] = [_dockerd(), "--config-file", paths.run / "daemon.json"]
    _launch(inside(paths, dockerd), paths.logs / "dockerd.log")
    _await(lambda: _answers(paths), "dockerd", paths.logs / "dockerd.log")


def _dockerd() -> str:
    return shutil.which("dockerd", path=f"/usr/sbin:/usr/bin:{os.environ.get('PATH', '')}") or "dockerd"


def _launch(command: list[str], log: Path) -> None:
    with log.open("w") as output:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def _answers(paths: Paths) -> bool:
    command = ["docker", "version", "--format", "{{.Server.Version}}"]
    done = subprocess.run(
        command, env={**os.environ, **docker_environment(paths)}, capture_output=True, timeout=20, check=False
    )
    return done.returncode == 0


def _await(ready: Callable[[], bool], what: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    pause = threading.Event()
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not answer within {START_SECONDS} s\n{tail_of(log)}\nfull log: {log}")
        pause.wait(POLL_SECONDS)
