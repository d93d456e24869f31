"""scripts/with-cluster against a listening socket in place of a cluster."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "with-cluster"


def run(cache: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "XDG_CACHE_HOME": str(cache)}
    return subprocess.run([SCRIPT, *command], env=environment, capture_output=True, text=True, timeout=5, check=False)


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def record_cluster(cache: Path, port: int) -> None:
    state = cache / "managed-agents" / "state"
    state.mkdir(parents=True)
    (state / "kubeconfig").write_text(f"clusters:\n- cluster:\n    server: https://127.0.0.1:{port}\n")
    names = ("CLUSTER_NETNS", "CLUSTER_RUN_BIN", "CLUSTER_DOCKER_HOST", "CLUSTER_BIN")
    empty = "".join(f"{name}=''\n" for name in names)
    (state / "cluster.env").write_text(f"{empty}CLUSTER_WAY=plain\nCLUSTER_KUBECONFIG={state}/kubeconfig\n")


def test_without_a_cluster_it_says_how_to_get_one(tmp_path: Path) -> None:
    done = run(tmp_path, "true")
    assert done.returncode == 1
    assert "make cluster" in done.stderr


def test_cluster_that_does_not_answer_is_reported(tmp_path: Path) -> None:
    with listening() as port:
        pass
    record_cluster(tmp_path, port)
    done = run(tmp_path, "true")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def test_command_gets_the_kubeconfig_and_keeps_its_exit_status(tmp_path: Path) -> None:
    with listening() as port:
        record_cluster(tmp_path, port)
        done = run(tmp_path, "sh", "-c", 'echo "$KUBECONFIG" "$@"; exit 7', "sh", "two words")
    assert done.stdout == f"{tmp_path}/managed-agents/state/kubeconfig two words\n"
    assert done.returncode == 7


def test_signal_that_ends_the_command_is_seen_by_the_caller(tmp_path: Path) -> None:
    with listening() as port:
        record_cluster(tmp_path, port)
        assert run(tmp_path, "sh", "-c", "kill -TERM $$").returncode == -15


def test_without_a_command_it_shows_its_usage(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, "usage" in done.stderr) == (2, True)


@pytest.mark.parametrize("count", [20])
def test_many_at_once_do_not_disturb_each_other(tmp_path: Path, count: int) -> None:
    with listening() as port:
        record_cluster(tmp_path, port)
        done: list[int] = []
        threads = [threading.Thread(target=lambda: done.append(run(tmp_path, "true").returncode)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
    assert done == [0] * count
