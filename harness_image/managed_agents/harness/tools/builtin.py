"""The built-in tools of `agent_toolset_20260401` that a sandbox runs, as the model is told about them.

Inputs are those of API reference §8; a contract test holds them equal to the SDK's input types. Those that run in the
proxy are in `web.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def _schema(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


_BASH = {
    "name": "bash",
    "description": (
        "Run a command in a persistent bash shell in the sandbox. Working directory, environment and background jobs "
        "survive between calls. Standard error is merged into the output; a non-zero exit status is an error. Long "
        "output keeps its end. Set restart to true, without a command, for a fresh shell."
    ),
    "input_schema": _schema(
        (),
        command=_text("The command to run."),
        restart={"type": "boolean", "description": "Restart the shell instead of running a command."},
        timeout_ms={"type": "integer", "description": "Milliseconds until the command is killed; 120000 by default."},
    ),
}
_READ = {
    "name": "read",
    "description": (
        "Read a file of the sandbox. Images (png, jpg, gif, webp) and PDF files are shown as such; a text file over "
        "256 KiB needs a view_range."
    ),
    "input_schema": _schema(
        ("file_path",),
        file_path=_text("Path of the file, absolute or relative to /workspace."),
        view_range={
            "type": "array",
            "items": {"type": "integer"},
            "description": "First and last line, counted from 1, both included; a last line of 0 or less is the end.",
        },
    ),
}
_WRITE = {
    "name": "write",
    "description": "Write a file in the sandbox, replacing what it held and creating its folders as needed.",
    "input_schema": _schema(
        ("file_path", "content"),
        file_path=_text("Path of the file, absolute or relative to /workspace."),
        content=_text("The whole new content."),
    ),
}
_EDIT = {
    "name": "edit",
    "description": (
        "Replace text in a file of the sandbox by exact match. old_string must occur exactly once, unless replace_all "
        "is true."
    ),
    "input_schema": _schema(
        ("file_path", "old_string", "new_string"),
        file_path=_text("Path of the file, absolute or relative to /workspace."),
        old_string=_text("The text to replace, exactly as it stands in the file."),
        new_string=_text("The text to put in its place."),
        replace_all={"type": "boolean", "description": "Replace every occurrence."},
    ),
}
_GLOB = {
    "name": "glob",
    "description": "List files of the sandbox that match a glob pattern, newest first, at most 200.",
    "input_schema": _schema(
        ("pattern",),
        pattern=_text("A relative pattern such as **/*.py."),
        path=_text("Folder to search in; /workspace by default."),
    ),
}
_GREP = {
    "name": "grep",
    "description": "Search the contents of files of the sandbox for a regular expression; matching lines are returned.",
    "input_schema": _schema(
        ("pattern",),
        pattern=_text("A regular expression."),
        path=_text("File or folder to search in; /workspace by default."),
    ),
}

BUILTIN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {str(tool["name"]): tool for tool in (_BASH, _READ, _WRITE, _EDIT, _GLOB, _GREP)}
)
"""Name to the Messages API's tool definition, in the order in which the model sees them."""
