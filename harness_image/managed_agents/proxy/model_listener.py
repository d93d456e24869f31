"""The Messages API for the harness: chooses the provider by the model and adds its key (port 7303)."""

import re

import orjson
from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError, Upstream, forward
from managed_agents.proxy.headers import model_request_headers
from managed_agents.proxy.note import NOTE
from managed_agents.proxy.providers import (
    Provider,
    Providers,
    key_of,
    provider_for,
    provider_without_model,
)
from managed_agents.proxy.settings import CONNECT_SECONDS, MODEL_SILENCE_SECONDS
from managed_agents.proxy.watched_file import WatchedFile

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=MODEL_SILENCE_SECONDS)


class ModelListener:
    """Handlers of the four calls that pass; anything else is refused."""

    def __init__(self, client: ClientSession, providers: WatchedFile[Providers]) -> None:
        self._client = client
        self._providers = providers

    def routes(self) -> list[web.RouteDef]:
        """Return what this listener serves."""
        return [
            web.post("/v1/messages", self._by_body),
            web.post("/v1/messages/count_tokens", self._by_body),
            web.get("/v1/models", self._list_models, allow_head=False),
            web.get("/v1/models/{model}", self._get_model, allow_head=False),
        ]

    async def _by_body(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        return await self._forward(request, provider_for(self._read(), model_of(body)), body)

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        return await self._forward(request, provider_without_model(self._read()), b"")

    async def _get_model(self, request: web.Request) -> web.StreamResponse:
        return await self._forward(request, provider_for(self._read(), request.match_info["model"]), b"")

    async def _forward(self, request: web.Request, provider: Provider, body: bytes) -> web.StreamResponse:
        request[NOTE].provider = provider.name
        upstream = Upstream(
            method=request.method,
            url=provider.url_for(request.raw_path),
            headers=model_request_headers(request.headers, api_key=key_of(provider)),
            body=body,
            timeout=_TIMEOUT,
        )
        try:
            return await forward(request, self._client, upstream)
        except UnreachableError as problem:
            raise RefusedError(502, "bad_gateway", unreachable(provider, str(problem))) from None

    def _read(self) -> Providers:
        """Return the providers of this moment. A file that is not there (its Secret is optional) holds none."""
        try:
            return self._providers.read()
        except FileNotFoundError:
            return ()
        except OSError as problem:
            raise RefusedError(500, "internal", f"providers.json cannot be read: {problem.strerror}") from None
        except ValueError as problem:
            # A JSON error quotes no content; ours name the field only.
            raise RefusedError(500, "internal", f"providers.json of Secret ma-providers is broken: {problem}") from None


def unreachable(provider: Provider, reason: str) -> str:
    """Say which ModelProvider to look at."""
    origin: URL = provider.endpoint.origin()
    return f"provider {provider.name} unreachable: {reason}; see spec.endpoint of the ModelProvider ({origin})"


_FIRST_KEY = re.compile(rb'\{"model":"([!#-\[\]-~]+)"')
_KEY = b'"model"'
_ESCAPED = b"\\u006"
"""How each letter of that key begins where it is written as an escape; harnesses write none."""


def model_of(body: bytes) -> str:
    """Return the model that a Messages API body names. Raises: RefusedError, 400, when it names none.

    Of a body that names it first and nowhere again the rest is left to the provider: to parse it takes 4 ms a megabyte.
    Of two models the last counts, as it does for who parses the body.
    """
    first = _FIRST_KEY.match(body)
    if first is not None and body.find(_KEY, first.end()) < 0 and body.find(_ESCAPED, first.end()) < 0:
        return first[1].decode()
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as problem:
        raise RefusedError(400, "invalid_request_error", f"body: not JSON: {problem.msg}") from None
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, str) or not model:
        raise RefusedError(400, "invalid_request_error", "model: a text is required, to choose the provider by")
    return model
