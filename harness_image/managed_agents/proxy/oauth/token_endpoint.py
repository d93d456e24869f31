"""Asks a token endpoint by the rules of MCP servers: judged, dialled where it was judged, no redirect followed."""

from typing import Protocol

from aiohttp import ClientError, ClientSession, ClientTimeout

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import reason_of
from managed_agents.proxy.mcp_dialling import judged
from managed_agents.proxy.oauth.grants import RefreshTerms
from managed_agents.proxy.oauth.token_request import (
    ANSWER_BYTES_MAX,
    NotRenewed,
    Renewed,
    answer_from,
    request_for,
)

ANSWER_SECONDS = 5.0
"""One refresh, all in all: half of what a harness waits for a server that it lists."""

_TIMEOUT = ClientTimeout(total=ANSWER_SECONDS, sock_connect=3.0)


class TokenEndpoint(Protocol):
    """Renews a grant."""

    async def renew(self, terms: RefreshTerms, refresh_token: str, networking: Networking) -> Renewed | NotRenewed:
        """Ask once. Whatever goes wrong is an answer."""
        ...


class HttpTokenEndpoint:
    """Asks over the pool of connections of the MCP servers, each to an address that was judged."""

    def __init__(self, client: ClientSession, rules: EgressRules) -> None:
        self._client = client
        self._rules = rules

    async def renew(self, terms: RefreshTerms, refresh_token: str, networking: Networking) -> Renewed | NotRenewed:
        """Ask once."""
        try:
            url = judged(terms.token_endpoint, networking, self._rules)
        except RefusedError as refusal:
            return NotRenewed(message=refusal.message, is_final=False)
        headers, body = request_for(terms, refresh_token)
        try:
            async with self._client.post(
                url, headers=headers, data=body, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                content = await answer.content.read(ANSWER_BYTES_MAX + 1)
                while len(content) <= ANSWER_BYTES_MAX and (more := await answer.content.readany()):
                    content += more
        except RefusedError as refusal:  # the name has no address that may be dialled
            return NotRenewed(message=refusal.message, is_final=False)
        except (ClientError, TimeoutError, OSError) as problem:
            return NotRenewed(message=f"{url.host} does not answer: {reason_of(problem)}", is_final=False)
        if len(content) > ANSWER_BYTES_MAX:
            return NotRenewed(message=f"{url.host} answered with more than a token", is_final=False)
        return answer_from(answer.status, content, str(url.host), answer.headers.get("Content-Type", ""))
