"""`make demo`: runs the sample session within reach of the cluster; with a real model, opens the way to it first."""

import os
import subprocess
import sys
from pathlib import Path

from cluster.paths import paths_from
from demo import forward
from demo.model import model_from
from demo.sample import fetch

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the demo; its exit status."""
    fetch(paths_from().cache)
    model = model_from()
    command = [str(REPOSITORY / "scripts" / "with-cluster"), sys.executable, "-m", "demo.session"]
    namespace = _isolated_network()
    if model is None or namespace is None:
        return subprocess.run(command, check=False).returncode
    with forward.listen_in(namespace, model.port) as listener:
        forward.forward(listener, forward.Endpoint(host=os.environ.get("MODEL_CONNECT") or model.host, port=model.port))
        return subprocess.run([*command, "--map-host", model.name_inside], check=False).returncode


def _isolated_network() -> Path | None:
    """Return the network namespace of the project's own engine; None where plain kind has a way out by itself."""
    written = paths_from().environment_file.read_text()
    found = next((line for line in written.splitlines() if line.startswith("CLUSTER_NETNS=")), "")
    value = found.removeprefix("CLUSTER_NETNS=").strip("'\"")
    return Path(value) if value else None


if __name__ == "__main__":
    sys.exit(main())
