"""Keeps what this process knows inside it: no core dump, and no ptrace or /proc/PID/mem by another process (A26)."""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def forbid_dumps() -> None:
    """Turn core files off and mark the process as not dumpable, until it executes another program.

    Raises: OSError when the kernel refuses; a proxy that can be dumped must not start.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "prctl(PR_SET_DUMPABLE, 0) failed")
