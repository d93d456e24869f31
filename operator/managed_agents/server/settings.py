"""The server's settings: flags, with defaults for a Pod in the cluster."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from managed_agents.contracts.ports import SERVER_INTERNAL_PORT, SERVER_PUBLIC_PORT
from managed_agents.filestore.records import FILE_BYTES_MAX, NAMESPACE_BYTES_MAX, NAMESPACE_FILES_MAX
from managed_agents.server.services.packages import NAMESPACE_BYTES_MAX as PACKAGES_BYTES_MAX

_DEFAULT_API = "https://kubernetes.default.svc"
_DEFAULT_HOST = "0.0.0.0"  # noqa: S104 - in a Pod; NetworkPolicies decide who reaches it
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server listens, stores and asks. Seconds where a name says so; port 0 lets the system choose."""

    data: Path
    host: str = _DEFAULT_HOST
    public_port: int = SERVER_PUBLIC_PORT
    internal_port: int = SERVER_INTERNAL_PORT
    kubernetes_api: str = _DEFAULT_API
    token_path: Path | None = _ACCOUNT / "token"
    ca_path: Path | None = _ACCOUNT / "ca.crt"
    stream_heartbeat_seconds: float = 10.0
    """Proxies cut idle streams after 30 s or more (API reference §7)."""
    watch_heartbeat_seconds: float = 5.0
    files_bytes_max: int = NAMESPACE_BYTES_MAX
    """What the files of one namespace may take together."""
    files_max: int = NAMESPACE_FILES_MAX
    """How many files one namespace may have; uploads, sessions' copies and outputs count."""
    packages_bytes_max: int = PACKAGES_BYTES_MAX
    """What the archives of packages of one namespace's Environments may take together."""
    file_bytes_max: int = FILE_BYTES_MAX
    uploads_downloadable: bool = False
    """Whether clients may download what they uploaded; the hosted service lets them have only what sessions made."""
    creates_per_minute: int = 300
    reads_per_minute: int = 1200
    """Requests of one namespace: the hosted API's figures (API reference §14). 0 stands for no limit."""
    writes_per_minute: int = 1200
    """Requests of one namespace that neither create a resource nor read: events, updates, deletions."""
    streams_max: int = 1000
    """Streams of one namespace that may be open at once."""
    connections_max: int = 4000
    """Connections to the public port; each costs a file descriptor and some memory."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    """Certificate chain and key of the public port, PEM; plain HTTP without. Read anew when the files change."""
    tls_refresh_seconds: float = 10.0
    shutdown_seconds: float = 5.0
    """How long open requests get after SIGTERM; streams and leases are ended at once."""


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the command line. Raises: SystemExit when it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m managed_agents.server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of the event log")
    parser.add_argument("--host", default=_DEFAULT_HOST, help="address to listen on")
    parser.add_argument("--public-port", type=int, default=SERVER_PUBLIC_PORT, help="port of the public API")
    parser.add_argument("--internal-port", type=int, default=SERVER_INTERNAL_PORT, help="port of operator and proxies")
    parser.add_argument("--kubernetes-api", default=_in_cluster(environment), help="URL of the kube-apiserver")
    parser.add_argument("--token-path", type=Path, default=_ACCOUNT / "token", help="own ServiceAccount token")
    parser.add_argument("--ca-path", type=Path, default=_ACCOUNT / "ca.crt", help="CA of the kube-apiserver")
    parser.add_argument(
        "--files-bytes-max", type=int, default=NAMESPACE_BYTES_MAX, help="what the files of one namespace may take"
    )
    parser.add_argument(
        "--packages-bytes-max", type=int, default=PACKAGES_BYTES_MAX, help="what the packages of one namespace may take"
    )
    parser.add_argument(
        "--uploads-downloadable", action="store_true", help="let clients download the files that they uploaded"
    )
    parser.add_argument("--tls-cert", type=Path, help="certificate chain of the public port, PEM, if the file exists")
    parser.add_argument("--tls-key", type=Path, help="its key")
    defaults = {field.name: field.default for field in fields(Settings)}
    for name, text in _LIMITS.items():
        default = environment.get(name.upper(), str(defaults[name]))
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=text)
    parsed = parser.parse_args(arguments)
    return Settings(
        data=parsed.data,
        host=parsed.host,
        public_port=parsed.public_port,
        internal_port=parsed.internal_port,
        kubernetes_api=parsed.kubernetes_api,
        token_path=_existing(parsed.token_path),
        ca_path=_existing(parsed.ca_path),
        files_bytes_max=parsed.files_bytes_max,
        packages_bytes_max=parsed.packages_bytes_max,
        uploads_downloadable=parsed.uploads_downloadable,
        tls_cert=_existing(parsed.tls_cert),
        tls_key=_existing(parsed.tls_key),
        **{name: getattr(parsed, name) for name in _LIMITS},
    )


_LIMITS = {
    "creates_per_minute": "requests that create, per namespace; 0: no limit",
    "reads_per_minute": "reads, per namespace; 0: no limit",
    "writes_per_minute": "other writes, per namespace; 0: no limit",
    "streams_max": "open streams, per namespace",
    "files_max": "files, per namespace",
    "connections_max": "connections to the public port",
}
"""Settings that a ConfigMap can give as environment variables, in capitals."""


def _in_cluster(environment: Mapping[str, str]) -> str:
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if host is None:
        return _DEFAULT_API
    shown = f"[{host}]" if ":" in host else host
    return f"https://{shown}:{environment.get('KUBERNETES_SERVICE_PORT', '443')}"


def _existing(path: Path | None) -> Path | None:
    return path if path is not None and path.exists() else None
