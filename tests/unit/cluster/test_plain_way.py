"""The whole of up, load and down where an engine has the public node image, with recorded fake programs."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.archive import Image, layer_from_files, write_archive

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

pytestmark = pytest.mark.slow

FAKES = {
    # docker exec NODE cat FILE, and docker exec NODE sh -c SCRIPT sh JSON
    "docker": """case "$*" in
      *"cat /kind/loaded.json"*) cat "$HOME/loaded" || exit 1 ;;
      "inspect "*) echo true ;;
      *printf*) echo "$7" > "$HOME/loaded" ;;
    esac""",
    "kind": "",
    "kubectl": 'case "$*" in *storageclass*) echo storageclass.storage.k8s.io/standard ;; esac',
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose bin/ has programs that record their words in calls/ and do next to nothing."""
    (tmp_path / "bin").mkdir()
    for name, body in FAKES.items():
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "$*" >> "$HOME/{name}.calls"\n{body}\n')
        program.chmod(0o755)
    return tmp_path


def run(home: Path, *words: str | Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "PATH": f"{home / 'bin'}:{path}"}
    command: Sequence[str | Path] = [sys.executable, SCRIPTS / "cluster", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)


def calls(home: Path, program: str) -> list[str]:
    return (home / f"{program}.calls").read_text().splitlines()


def test_up_creates_waits_and_does_nothing_the_second_time(home: Path) -> None:
    first = run(home, "up")
    assert first.returncode == 0, first.stderr
    state = home / ".cache/managed-agents/state"
    create = (
        f"create cluster --name managed-agents --config {state}/kind-config.yaml"
        f" --image kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
        f" --kubeconfig {state}/kubeconfig"
    )
    assert calls(home, "kind") == [f"delete cluster --name managed-agents --kubeconfig {state}/kubeconfig", create]
    assert (state / "kind-config.yaml").read_text() == (SCRIPTS.parent / "kind-config.yaml").read_text()
    waited = [call for call in calls(home, "kubectl") if "rollout" in call or "wait" in call]
    assert [call.split(" --timeout")[0] for call in waited] == [
        "wait --for=condition=Ready node --all",
        "--namespace=kube-system rollout status deployment/coredns",
        "--namespace=local-path-storage rollout status deployment/local-path-provisioner",
        "--namespace=kube-system rollout status daemonset/kindnet",
    ]
    assert run(home, "up").returncode == 0
    assert len(calls(home, "kind")) == 2


def test_load_skips_what_the_node_has_and_down_forgets_the_cluster(home: Path) -> None:
    assert run(home, "up").returncode == 0
    program = home / "tool"
    program.write_text("#!/bin/sh\n")
    layer = layer_from_files(home / "layer.tar", {"tool": program})
    write_archive(home / "image.tar", [Image(name="example/tool:1", layers=[layer])], "amd64")
    for _ in range(2):
        done = run(home, "load", home / "image.tar")
        assert done.returncode == 0, done.stderr
    loads = [call for call in calls(home, "kind") if call.startswith("load")]
    assert loads == [f"load image-archive {home}/image.tar --name managed-agents"]
    assert set(json.loads((home / "loaded").read_text())) == {"example/tool:1"}
    assert run(home, "down").returncode == 0
    status = run(home, "status")
    assert (status.returncode, "make cluster" in status.stderr) == (1, True)


def test_load_without_a_cluster_or_with_another_file_says_so(home: Path) -> None:
    missing = run(home, "load", home / "image.tar")
    assert (missing.returncode, "make cluster" in missing.stderr) == (1, True)
    assert run(home, "up").returncode == 0
    (home / "image.tar").write_text("no tar")
    wrong = run(home, "load", home / "image.tar")
    assert (wrong.returncode, "not a docker-archive" in wrong.stderr) == (1, True)


def test_failed_creation_is_reported_with_its_log_and_tried_again(home: Path) -> None:
    kind = home / "bin" / "kind"
    working = kind.read_text()
    kind.write_text(working + 'case "$*" in "create cluster"*) echo "no space"; exit 4 ;; esac\n')
    failed = run(home, "up")
    assert failed.returncode == 1
    assert "| no space" in failed.stderr
    assert "kind-create.log" in failed.stderr
    kind.write_text(working)
    assert run(home, "up").returncode == 0


def test_a_missing_kubectl_is_built_alone_and_used(home: Path, tmp_path: Path) -> None:
    kubectl = (home / "bin" / "kubectl").rename(home / "kubectl")
    system = tmp_path / "system"
    system.mkdir()
    for name in ("sh", "cat"):
        (system / name).symlink_to(f"/bin/{name}")
    go = home / "bin" / "go"
    go.write_text(f'#!/bin/sh\necho "$*" >> "$HOME/go.calls"\n/bin/cp {kubectl} "$GOBIN/kubectl"\n')
    go.chmod(0o755)
    done = run(home, "up", path=str(system))
    assert done.returncode == 0, done.stderr
    [built] = calls(home, "go")
    assert built.endswith(" k8s.io/kubernetes/cmd/kubectl")
    assert "wait --for=condition=Ready node --all" in " ".join(calls(home, "kubectl"))
    assert run(home, "up", path=str(system)).returncode == 0
    assert len(calls(home, "go")) == 1
