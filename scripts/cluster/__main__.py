"""Entry point for ``python3 scripts/cluster COMMAND``: puts ``scripts/`` on the path, as ``cluster`` is a package."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

from cluster.cli import main  # noqa: E402  (the path above makes the package importable)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
