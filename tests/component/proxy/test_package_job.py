"""A Job of packages on this machine: the installing script in an interpreter of its own, its network, an index."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.package_job.network import serve
from support.requirements import requirement

SCRIPT = resources.files("managed_agents.operator.packages").joinpath("install_script.py").read_text()
WHEEL = "greeting-1.0-py3-none-any.whl"
WAIT_SECONDS = 50.0


def _wheel(*requires: str) -> bytes:
    info, content = "greeting-1.0.dist-info", io.BytesIO()
    with zipfile.ZipFile(content, "w") as wheel:
        wheel.writestr("greeting.py", "def main():\n    print('from a package')\n")
        needs = "".join(f"Requires-Dist: {name}\n" for name in requires)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n{needs}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\ngreet = greeting:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return content.getvalue()


@pytest.fixture
def requires() -> tuple[str, ...]:
    """What the package of the index depends on; a test's parameter of this name replaces it."""
    return ()


@pytest.fixture
async def index(requires: tuple[str, ...]) -> AsyncIterator[int]:
    """A package index on loopback with one package; returns its port."""
    content = _wheel(*requires)
    digest = hashlib.sha256(content).hexdigest()

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/simple/greeting/":
            link = f'<a href="/files/{WHEEL}#sha256={digest}">{WHEEL}</a>'
            return web.Response(text=f"<!DOCTYPE html><html><body>{link}</body></html>", content_type="text/html")
        if request.path == f"/files/{WHEEL}":
            return web.Response(body=content)
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def _install(folder: Path, network: int, index: int, **asked: Any) -> tuple[int, str, str]:
    """Run the script as the Job's container does; return status, log and termination message."""
    said = folder / "termination"
    document = {"prefix": str(folder / "prefix"), "scratch": str(folder / "s"), "termination_log": str(said), **asked}
    proxy = f"http://127.0.0.1:{network}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-IS", "-c", SCRIPT, json.dumps(document)),
        env={
            **os.environ,
            **dict.fromkeys(names, proxy),
            "NO_PROXY": "",
            "no_proxy": "",
            "PIP_INDEX_URL": f"http://localhost:{index}/simple/",
            "PIP_RETRIES": "0",
        },
        stdout=subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode(), said.read_text() if said.exists() else ""


async def test_pip_installs_through_the_network_beside_it(tmp_path: Path, index: int) -> None:
    rules = EgressRules(hosts={"localhost": index})
    async with serve({"type": "unrestricted"}, rules, port=0) as network:
        status, log, _ = await _install(tmp_path, network, index, manager="pip", packages=["greeting"])
    assert status == 0, log
    program = tmp_path / "prefix" / "pip" / "bin" / "greet"
    installed = {"PYTHONPATH": str(tmp_path / "prefix" / "pip")}
    process = await asyncio.create_subprocess_exec(str(program), env=installed, stdout=subprocess.PIPE)
    assert (await process.communicate())[0] == b"from a package\n"


async def test_a_host_that_is_not_allowed_is_named_to_whom_it_concerns(tmp_path: Path, index: int) -> None:
    limited = {"type": "limited", "allowed_hosts": ["other.example"], "allow_package_managers": True}
    async with serve(limited, EgressRules(hosts={"localhost": index}), port=0) as network:
        status, _, said = await _install(tmp_path, network, index, manager="pip", packages=["greeting"])
    assert status == 1
    assert "No matching distribution found for greeting" in said
    assert "localhost" in said


@requirement("A22")
@pytest.mark.parametrize("requires", [("other @ https://elsewhere.example/other-1.0-py3-none-any.whl",)])
async def test_a_dependency_from_elsewhere_is_refused_by_its_host(tmp_path: Path, index: int) -> None:
    limited = {"type": "limited", "allowed_hosts": [], "allow_package_managers": True}
    rules = EgressRules(hosts={"localhost": index}, registries={"pip": ("localhost",)})
    async with serve(limited, rules, port=0) as network:
        status, _, said = await _install(tmp_path, network, index, manager="pip", packages=["greeting"])
    assert status == 1
    assert "elsewhere.example is not allowed by this environment" in said
    assert not (tmp_path / "prefix" / "pip" / "greeting.py").exists()


async def test_an_image_without_the_manager_says_which_is_missing(tmp_path: Path, index: int) -> None:
    async with serve({"type": "unrestricted"}, EgressRules(), port=0) as network:
        os.environ["PATH"], before = "/nowhere", os.environ["PATH"]
        try:
            status, _, said = await _install(tmp_path, network, index, manager="cargo", packages=["ripgrep"])
        finally:
            os.environ["PATH"] = before
    assert (status, said) == (
        1,
        "the sandbox image has no cargo, which installs Rust programs; use an image that has it",
    )
