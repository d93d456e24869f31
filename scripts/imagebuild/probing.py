"""Questions to programs of this machine whose answer is yes or no."""

import shutil
import subprocess
from collections.abc import Sequence


def succeeds(command: Sequence[str], timeout_seconds: float = 30) -> bool:
    """Tell whether a command is installed, ends in time, and ends well."""
    if shutil.which(command[0]) is None:
        return False
    try:
        return subprocess.run(command, capture_output=True, timeout=timeout_seconds, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False
