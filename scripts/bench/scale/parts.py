"""What every phase of the scale bench stands on: the world, clients of its doors, looks at it, and somebody to tell."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from bench.scale.installation import NAMESPACE
from bench.scale.looks import Looks
from bench.scale.raw import Raw
from bench.scale.world import World
from bench.world.api import Api
from managed_agents.contracts import ids
from managed_agents.operator.server_api import ServerApi

CONNECTIONS_MAX = 4000
"""Of one client; a harness in line holds one."""

Tell = Callable[..., None]
"""Takes the kind of a line and its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One run's parts."""

    place: World
    http: aiohttp.ClientSession
    raw: Raw
    api: Api
    server: ServerApi
    looks: Looks
    tell: Tell


@asynccontextmanager
async def opened(place: World, tell: Tell) -> AsyncIterator[Bench]:
    """Open the doors as developer, operator and administrator."""
    developer = {"Authorization": f"Bearer {place.developer_token}"}

    def connector() -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=CONNECTIONS_MAX)

    async with (
        aiohttp.ClientSession(connector=connector()) as http,
        aiohttp.ClientSession(connector=connector(), headers=developer) as public,
    ):
        raw = Raw(http, place.access)
        agent, environment = [await _uid(raw, path) for path in ("agents/helper", "environments/idle")]
        api = Api(
            public,
            place.public_url,
            agent=ids.id_for(ids.AGENT, agent),
            environment=ids.id_for(ids.ENVIRONMENT, environment),
        )
        token = str(place.folder / "operator-server.token")
        server = ServerApi(http, url=place.internal_url, token_path=token)
        looks = Looks(http, raw, place)
        yield Bench(place=place, http=http, raw=raw, api=api, server=server, looks=looks, tell=tell)


async def _uid(raw: Raw, path: str) -> str:
    found: dict[str, Any] = await raw.call("GET", f"/apis/managedagents.dev/v1alpha1/namespaces/{NAMESPACE}/{path}")
    return str(found["metadata"]["uid"])
