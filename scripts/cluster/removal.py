"""Removes the cluster, the engine and everything they kept."""

import shutil

from cluster.access import recorded_access
from cluster.engine import engine_runs
from cluster.nodeimage import remove_tree
from cluster.paths import CLUSTER_NAME, Paths
from cluster.progress import Progress
from cluster.remains import clear_remains


def cluster_down(paths: Paths, progress: Progress, *, and_cache: bool) -> None:
    """Removes all of it, in any state; what was built stays in the cache unless ``and_cache``."""
    access = recorded_access(paths)
    if access and (access.way == "plain" or engine_runs(paths)):
        with progress.step("kind delete cluster"):
            command = ["kind", "delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", str(paths.kubeconfig)]
            progress.run("kind-delete", access.command(command), environment=access.environment())
    if paths.run.exists() or paths.netns.exists():
        with progress.step("container engine and its namespace"):
            clear_remains(paths)
    shutil.rmtree(paths.state, ignore_errors=True)
    remove_tree(paths.engine_data)
    if and_cache:
        remove_tree(paths.cache)
    progress.say("removed" + (", the build cache too" if and_cache else f"; built parts stay in {paths.builds}"))
