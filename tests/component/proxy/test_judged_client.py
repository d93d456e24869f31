"""Whom the proxy trusts, and which addresses it dials, where it calls servers itself."""

from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import ClientConnectorCertificateError, web

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.judged_client import judged_client
from support.authorities import TestAuthority
from support.requirements import requirement

HOST = "tools.example"
LOOPBACK = ip_network("127.0.0.0/8")


class ClosedError(Exception):
    """No address of a name is open."""


async def resolve(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


@pytest.fixture
async def port(authority: TestAuthority) -> AsyncIterator[int]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context(HOST)).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()


async def asked(rules: EgressRules, port: int) -> str:
    async with (
        judged_client(rules, resolve, ClosedError, keepalive_seconds=1) as client,
        client.get(f"https://{HOST}:{port}/") as answer,
    ):
        return await answer.text()


async def test_the_administrators_authorities_are_trusted_and_no_other(authority: TestAuthority, port: int) -> None:
    assert await asked(EgressRules(allowed=(LOOPBACK,), authorities=(authority.pem,)), port) == "hello"
    with pytest.raises(ClientConnectorCertificateError):
        await asked(EgressRules(allowed=(LOOPBACK,)), port)


@requirement("A17")
async def test_an_address_that_is_not_open_is_not_dialled(authority: TestAuthority, port: int) -> None:
    with pytest.raises(ClosedError):
        await asked(EgressRules(authorities=(authority.pem,)), port)
