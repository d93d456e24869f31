"""The call that clones a session's repository: not a tool of the model's, and so never offered to it.

It ends well whatever happens: its text is JSON, `{"state": "ready"}` or `{"state": "failed", "kind": …, "message": …}`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from managed_agents.sandbox.runner.environment import scrubbed

CLONE_SECONDS_MAX = 600.0  # as long as the longest command
_MESSAGE_CHARS_MAX = 600
# No prompt, no helper of the image's, no protocol that reads local files or opens other connections.
_SETTINGS = (
    *("-c", "credential.helper=", "-c", "core.askPass=", "-c", "protocol.allow=never"),
    *("-c", "protocol.https.allow=always", "-c", "protocol.http.allow=always"),
)
_SAID = re.compile(r"repository_(authentication|forbidden|not_found|checkout|clone)_error: ([^\n]+)")
# The session's proxy says what it refuses in these words, which git passes on from a server.
_KINDS = (  # in this order: git repeats an earlier cause in a later line
    (
        "forbidden",
        r"response 403|code 403 from proxy|returned error: 403|proxy CONNECT aborted",
    ),
    (
        "authentication",
        r"could not read (Username|Password)|Authentication failed|returned error: 401|prompts disabled",
    ),
    ("not_found", r"repository '.*' not found|returned error: 404|returned error: 410"),
    ("checkout", r"Remote branch .* not found|did not match any file|reference is not a tree|unable to read tree"),
)
Failure = dict[str, str]


class _FailedError(Exception):
    """The clone failed; its kind names the session's error."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def clone(workdir: Path, arguments: Any) -> str:
    """Clone `url` into `path` (below the working directory where it is relative), unless it is there already."""
    try:
        _clone(workdir, arguments)
    except _FailedError as failure:
        text = " ".join(str(failure).split())[-_MESSAGE_CHARS_MAX:]
        return json.dumps({"state": "failed", "kind": failure.kind, "message": text})
    return json.dumps({"state": "ready"})


def _clone(workdir: Path, arguments: Any) -> None:
    url, target = str(arguments["url"]), workdir / str(arguments["path"])
    checkout: Mapping[str, Any] = arguments.get("checkout") or {}
    if not re.match(r"https?://", url):
        raise _FailedError("clone", "only https:// and http:// addresses can be cloned")
    if arguments.get("remote"):
        _stand_in(workdir, url, str(arguments["remote"]))
    if _is_clone_of(target, url):
        return
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise _FailedError("clone", f"{target} is not empty and no clone of {url}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _FailedError("clone", f"{target.parent}: {error.strerror}") from error
    try:
        branch = ("--branch", str(checkout["name"])) if checkout.get("type") == "branch" else ()
        _git(workdir, "clone", "--quiet", *branch, "--", url, str(part))
        if checkout.get("type") == "commit":
            _git(part, "checkout", "--quiet", "--detach", str(checkout["sha"]), otherwise="checkout")
        part.chmod(0o755)
        part.replace(target)  # whole or not at all: a half clone would pass for the repository
    except OSError as error:
        raise _FailedError("clone", f"{target}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _stand_in(workdir: Path, url: str, remote: str) -> None:
    """Let git use `remote` in the place of `url`, in whatever clone: there the session's token is added."""
    _git(workdir, "config", "--global", "--replace-all", f"url.{remote}.insteadOf", url)


def _is_clone_of(target: Path, url: str) -> bool:
    if not (target / ".git").exists():
        return False
    try:
        return _git(target, "config", "--get", "remote.origin.url").strip() == url
    except _FailedError:
        return False


def _git(folder: Path, *arguments: str, otherwise: str = "clone") -> str:
    environment = {**scrubbed(os.environ), "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *_SETTINGS, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise _FailedError("clone", "the sandbox image has no git; use an image with git") from None
    if done.returncode == 0:
        return done.stdout.decode("utf-8", "replace")
    said = done.stderr.decode("utf-8", "replace")
    told = _SAID.search(said)
    text = told[2] if told else said
    raise _FailedError(kind_of(said, otherwise), text or f"git ended with status {done.returncode}")


def kind_of(said: str, otherwise: str) -> str:
    """Return which of the session's repository errors git's words mean."""
    if told := _SAID.search(said):
        return told[1]
    return next((kind for kind, pattern in _KINDS if re.search(pattern, said)), otherwise)
