"""The supervisor's command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an installation or a test may choose."""

    token_sha256: str
    host: str
    port: int
    journal: Path
    runner_file: Path
    socket: Path
    body_bytes_max: int
    runner_wait_seconds: float
    uploads: Path
    outputs: Path
    file_bytes_max: int
    uploads_bytes_max: int
    packages: Path
    packages_digest: str
    relay_host: str
    relay_port: int


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Return the settings; exits with a usage message on a bad one."""
    parser = argparse.ArgumentParser(
        prog="python -m managed_agents.sandbox.supervisor", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("--token-sha256", required=True, type=_sha256, help="SHA-256 in hex of the one-time token that may bind")
    add("--host", default="0.0.0.0", help="address to listen on (default: %(default)s)")  # noqa: S104 - the Pod's port
    add("--port", type=int, default=7400, help="port to listen on; 0 picks one (default: %(default)s)")
    add("--journal", type=Path, default=Path("/journal"), help="folder of the journal (default: %(default)s)")
    add("--runner-file", type=Path, default=Path("/managed-agents/runner.pyz"), help="where the runner is put")
    add("--socket", type=Path, default=Path("/managed-agents-socket/runner.sock"), help="socket of the runner")
    add("--body-bytes-max", type=int, default=64 * MIB, help="largest request body in bytes (default: %(default)s)")
    add("--runner-wait-seconds", type=float, default=45.0, help="how long a call waits for the runner to come (back)")
    add("--uploads", type=Path, default=Path("/mnt/session/uploads"), help="folder of what the session was given")
    add("--outputs", type=Path, default=Path("/mnt/session/outputs"), help="folder of what the tools leave")
    add("--file-bytes-max", type=int, default=500 * 1000 * 1000, help="largest upload in bytes (default: %(default)s)")
    add("--uploads-bytes-max", type=int, default=2048 * MIB, help="all of them together (default: %(default)s)")
    add("--packages", type=Path, default=Path("/opt/packages"), help="folder of the environment's packages")
    add("--packages-digest", default="", help="hash of the packages to wait for; none are expected without it")
    add("--relay-host", default="127.0.0.1", help="address of the tools' HTTP proxy (default: %(default)s)")
    add("--relay-port", type=int, default=3128, help="its port; 0 picks one (default: %(default)s)")
    options = parser.parse_args(arguments)
    return Settings(**vars(options))


def _sha256(text: str) -> str:
    if not _SHA256.match(text.lower()):
        raise argparse.ArgumentTypeError("must be 64 hexadecimal digits")
    return text.lower()
