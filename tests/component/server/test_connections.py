"""The public port's connections: TLS from files that may change, and not more of them than allowed."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from support.server import WAIT_SECONDS, server_in_process


def make_certificate(folder: Path, name: str) -> bytes:
    """Put a self-signed certificate for 127.0.0.1 into `tls.crt` and `tls.key`; return it in DER."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "new.key"), "-out", str(folder / "new.crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=WAIT_SECONDS)
    for suffix in ("crt", "key"):
        (folder / f"new.{suffix}").replace(folder / f"tls.{suffix}")
    return ssl.PEM_cert_to_DER_cert((folder / "tls.crt").read_text())


async def shown(url: str) -> bytes:
    """Return the certificate that the port shows, unverified, in DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = urlsplit(url)
    _, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_tls_shows_the_certificate_of_now_and_keeps_it_when_the_next_is_broken(tmp_path: Path) -> None:
    first = make_certificate(tmp_path, "first")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    async with server_in_process(tmp_path / "data", tls_refresh_seconds=0.05, tls_cert=cert, tls_key=key) as server:
        trusted = ssl.create_default_context(cafile=str(cert))
        async with server.http.get(f"{server.public_url}/healthz", ssl=trusted) as response:
            assert (server.public_url.partition(":")[0], response.status) == ("https", 200)
        async with server.http.get(f"{server.internal_url}/readyz") as response:
            assert response.status == 200, "probes need no TLS"
        assert await shown(server.public_url) == first
        second = make_certificate(tmp_path, "second")
        async with asyncio.timeout(WAIT_SECONDS):
            while await shown(server.public_url) != second:  # noqa: ASYNC110 - asks the port
                await asyncio.sleep(0.05)
        key.write_text("no key")
        for _ in range(3):
            await asyncio.sleep(0.05)
            assert await shown(server.public_url) == second


async def test_one_connection_too_many_hears_why(tmp_path: Path) -> None:
    async with (
        server_in_process(tmp_path, connections_max=1) as server,
        aiohttp.ClientSession() as first,
        aiohttp.ClientSession() as second,
    ):
        async with first.get(f"{server.public_url}/healthz") as response:
            assert response.status == 200  # its connection stays open
        async with second.get(f"{server.public_url}/v1/sessions") as response:
            answer = await response.json()
            assert (response.status, answer["error"]["type"]) == (429, "rate_limit_error")
            assert response.headers["retry-after"] == "1"
            assert response.headers["request-id"] == answer["request_id"]
        await first.close()
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                async with second.get(f"{server.public_url}/healthz") as response:
                    if response.status == 200:
                        return
                await asyncio.sleep(0.02)
