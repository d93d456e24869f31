"""The error a tool reports to the model, and the wording of file system errors."""

from __future__ import annotations

import errno


class ToolError(Exception):
    """A failure that is the tool's result: its text goes to the model with `is_error`."""


def fs_reason(error: OSError) -> str:
    """Word a file system error alike everywhere, without a path of the machine in it."""
    for kind, reason in (
        (FileNotFoundError, "no such file or directory"),
        (NotADirectoryError, "not a directory"),
        (IsADirectoryError, "is a directory"),
        (PermissionError, "permission denied"),
        (FileExistsError, "file already exists"),
    ):
        if isinstance(error, kind):
            return reason
    if error.errno == errno.ELOOP:
        return "too many levels of symbolic links"
    return (error.strerror or "i/o error").lower()


def fs_error(tool: str, file_path: str, error: OSError) -> ToolError:
    """Return the `ToolError` for a file system error met by `tool` at the path the model gave."""
    return ToolError(f"{tool}: {file_path}: {fs_reason(error)}")
