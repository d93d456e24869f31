"""When the credentials of a session count: as soon as its file is there, and for that session alone."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.injection.credentials import parse_environment_credentials
from managed_agents.proxy.injection.sandboxes import SessionCredentials
from managed_agents.proxy.watched_file import WatchedFile
from support.injection import credential
from support.requirements import requirement

CONFIG = {"id": "sesn_1", "vault_ids": ["vlt_1"]}
NONE_WAITED = 0.01


def binding() -> Binding:
    return Binding(
        session="sesn_1",
        name="default",
        epoch=1,
        pod_name="ma-x",
        generation=1,
        base=URL("http://10.0.0.1:7400"),
        token="t",
        secret="secret-of-a-binding",
    )


def write(file: Path, *entries: Any, session: str = "sesn_1") -> None:
    file.write_bytes(orjson.dumps({"session_id": session, "credentials": entries}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "credentials.json"


def sessions(file: Path, seconds_max: float = 5.0) -> SessionCredentials:
    watched = WatchedFile(file, parse_environment_credentials)
    return SessionCredentials(watched, EgressRules(), seconds_max=seconds_max)


@requirement("injection")
async def test_a_bind_waits_for_the_file_of_a_session_with_vaults(file: Path) -> None:
    made = sessions(file)
    made.configure(CONFIG)
    write(file, credential(), session="sesn_0")  # of another one, in a Pod older than the session
    asked = asyncio.ensure_future(made.environment_of(binding()))
    assert await asyncio.wait({asked}, timeout=NONE_WAITED) == (set(), {asked})
    write(file, credential())
    environment: Any = await asyncio.wait_for(asked, 5)
    assert set(environment["variables"]) == {"TOKEN"}
    assert environment["authority"].startswith("-----BEGIN CERTIFICATE-----")


async def test_a_file_that_never_comes_is_waited_for_once(file: Path) -> None:
    made = sessions(file, NONE_WAITED)
    made.configure(CONFIG)
    assert await made.environment_of(binding()) == {}
    made._seconds_max = 60
    assert await asyncio.wait_for(made.environment_of(binding()), 5) == {}


async def test_a_session_without_vaults_waits_for_nothing(file: Path) -> None:
    made = sessions(file, 60)
    made.configure({"id": "sesn_1", "vault_ids": []})
    assert await asyncio.wait_for(made.environment_of(binding()), 5) == {}
    assert not made.of(binding()).grants_at("api.example")


@requirement("A1")
def test_credentials_of_another_session_count_for_nothing(file: Path) -> None:
    write(file, credential(), session="sesn_0")
    assert not sessions(file).of(binding()).grants_at("api.example")


def test_a_broken_file_leaves_the_environment_as_it_is(file: Path) -> None:
    file.write_text("{")
    assert asyncio.run(sessions(file).environment_of(binding())) is None
