"""Where the cluster keeps its files.

Everything built lives in the user's cache folder, so that every clone on a machine shares it. What must not outlive
a boot (sockets, pid files) lives in ``/run``, which also keeps socket paths short.
"""

import hashlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CLUSTER_NAME = "managed-agents"
"""Name of the kind cluster, and of the engine of the user's ordinary cache folder."""

NODE_NAME = f"{CLUSTER_NAME}-control-plane"
"""Name that kind gives to the container of the only node."""

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """All folders and files of one cache folder; computes names only, creates nothing."""

    cache: Path
    engine: str
    """Name of the engine's network namespace, cgroup and folder in /run; engines of two caches never meet."""

    @property
    def run(self) -> Path:
        """Sockets and pid files; gone after a boot."""
        return Path("/run") / self.engine

    @property
    def bin(self) -> Path:
        """Symbolic links to the current build of each program, under stable names."""
        return self.cache / "bin"

    @property
    def builds(self) -> Path:
        return self.cache / "builds"

    @property
    def logs(self) -> Path:
        return self.cache / "logs"

    @property
    def engine_data(self) -> Path:
        return self.cache / "engine"

    @property
    def state(self) -> Path:
        """Files about the running cluster; `scripts/with-cluster` reads them."""
        return self.cache / "state"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def environment_file(self) -> Path:
        """Shell assignments that `scripts/with-cluster` sources."""
        return self.state / "cluster.env"

    @property
    def fingerprint_file(self) -> Path:
        return self.state / "fingerprint"

    @property
    def lock_file(self) -> Path:
        return self.cache / "lock"

    @property
    def netns(self) -> Path:
        return Path("/run/netns") / self.engine

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"


def paths_from(environment: Mapping[str, str] = os.environ) -> Paths:
    """Returns the paths for ``XDG_CACHE_HOME``, else for ``~/.cache``."""
    home = Path(environment.get("HOME") or Path.home())
    cache_home = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    cache = cache_home / CLUSTER_NAME
    return Paths(cache=cache, engine=engine_name_for(cache, Path(pwd.getpwuid(os.geteuid()).pw_dir)))


def engine_name_for(cache: Path, home: Path) -> str:
    """Returns the plain name for the cache folder in the user's home, and a name with its hash for any other."""
    if cache == home / ".cache" / CLUSTER_NAME:
        return CLUSTER_NAME
    return f"{CLUSTER_NAME}-{hashlib.sha256(str(cache).encode()).hexdigest()[:8]}"
