"""kwok, which makes nodes of objects: built from its Go module at one version, like the cluster's own programs."""

from dataclasses import dataclass
from pathlib import Path

from cluster.gobuild import build_part, module_folder
from cluster.paths import paths_from
from cluster.progress import Progress
from cluster.recipe import GoPart

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPart(GoPart):
    """A program that only a bench needs; its go.mod lies beside the bench, so that no cluster is made anew for it."""

    @property
    def folder(self) -> Path:
        return HERE / "go" / self.name


KWOK = BenchPart(name="kwok", programs={"kwok": "kwok"})


def built() -> Path:
    """Return the program, building it when the cache lacks it (minutes). Raises: ClusterError."""
    paths = paths_from()
    return build_part(KWOK, paths, Progress(logs=paths.logs)) / "kwok"


STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-delete.yaml",
)
"""kwok's own, of the same version: a node is ready at once and renews its Lease, a Pod runs as soon as it is bound."""


def stages() -> str:
    """Return the configuration that makes nodes and Pods live, in YAML."""
    folder = module_folder(KWOK, "sigs.k8s.io/kwok") / "kustomize" / "stage"
    return "\n---\n".join((folder / name).read_text() for name in STAGES)
